// Package grant asks providers for tokens and makes of each answer the one
// thing that it means.
//
// A [Sender] turns a connection's definition into one HTTP request, in the
// words of RFC 6749 and its kin or in those that the provider's profile has
// instead, and sends it once: on a connection of its own, without redirects,
// cookies, probing of ways to authenticate or repetition by the transport. A
// refresh token that arrives twice may cost the whole grant.
//
// [Parse] reads what came back as leniently as providers deserve and classes
// what went wrong as retryable, permanent or misconfigured. A refresh token
// that an answer carries is never lost to what is odd about the rest.
//
// The package stores nothing and decides nothing about when to ask: that is
// refresh. It knows no provider by name: that is the catalogue.
package grant
