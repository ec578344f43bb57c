// Package httpapi is everything under /api/v1, the redirect URI, and the two
// probes.
//
//	gate         who may do what, and the audit row of it, before it is done     (gate.go)
//	token        the hot path: a body rendered once per token, no database        (token.go, render.go)
//	connections  look, refresh, verify, revoke, import, connect                   (connections.go, connect.go, tokens.go)
//	resources    apply, export, kinds, schema                                     (resources.go, apply.go)
//	events       lists and server-sent streams                                    (events.go, stream.go)
//	operate      keys, audit, master key, backup                                  (keys.go, audit.go, operate.go)
//	callback     where a browser comes back from a provider                       (callback.go)
//	docs         the OpenAPI document, and a page of it that needs no network     (openapi.go, docs.go)
//
// Typed endpoints go through huma, which checks a request against its schema
// and writes the OpenAPI document from the same types. Every error becomes a
// problem in one table (errors.go); what a caller may not see goes to the log.
//
// What it refuses: a key without the scope; a field that it does not know, by
// its path; to hand a token to a page in a browser; to show a secret that was
// written, other than a token to a key with the scope for it and an export that
// asks for it.
package httpapi
