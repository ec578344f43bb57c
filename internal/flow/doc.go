// Package flow is an authorization under way: from the moment somebody asks for
// a link or a device code to the moment a token is stored, or is not.
//
//	Start        a state of 256 bits, a PKCE verifier and a nonce are made and
//	             sealed; whoever asked gets a link to us, not to the provider
//	Open         the link is opened: the flow belongs to that browser from now
//	             on, by a cookie, and the browser goes on to the provider
//	Callback     the provider sends the browser back. The state names the flow,
//	             the cookie proves the browser; then the flow is used up,
//	             whatever happens next; then the issuer is checked; then the
//	             code is sent, once
//	Wait         whoever asked learns how it ended
//
// A device flow has no browser: the poller asks the provider, at the pace that
// the provider sets, also after a restart.
//
// States are 256 random bits of which only a keyed hash is stored. A flow lives
// ten minutes. What it refuses: a state that is unknown, used, or out of time; a
// browser other than the one that opened the link; a connection that was changed
// meanwhile; an answer from another issuer; a path to return to that is not one
// of ours.
package flow
