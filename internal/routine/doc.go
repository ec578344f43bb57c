// Package routine lets connections refresh by a routine of their own
// (Policy.By): a workflow, or a function of an app's script, in place of the
// built-in token request.
//
//	refresh claims the row ──► routine: input ──► workflow or script
//	                                               │
//	refresh commits or fails ◄── token set, error ─┘
//
// The routine runs inside the refresher's claim, once, with the connection's
// credentials as its input, under the deadline of any exchange with a provider.
// The token set that it returns is read like an answer of the provider, and is
// committed under the same guarantees.
//
// What went wrong is classed like any other failure. An error that the routine
// returns as RFC 6749 words it (error, error_description) means what it says.
// Everything else that breaks a routine off after it began is uncertain: it may
// have spent the refresh token before. So is a routine that takes longer than
// the deadline; it is cancelled first, so that no two are under way.
//
// The journal of such a run knows the connection's secrets as secrets.
package routine
