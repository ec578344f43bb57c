// Package proxy carries calls to APIs as connections: a caller with the right
// key calls /proxy/NAME/path, and the call goes to the connection's API with the
// connection's credential.
//
//	front    what no part of the server takes: other forms of a request's target,
//	         CONNECT, TRACE; what is ours goes on by its raw bytes  (front.go)
//	admit    who may call what, how many at once; on record          (handler.go)
//	call     package upstream
//	answer   streamed as it comes, both ways at once                 (stream.go)
//	tunnel   websockets, bytes opaque                                (tunnel.go)
//
// Connections that carry HTTP/1 in a form that another server might read in
// another way are closed before a handler sees them (strict.go).
//
// What it gives: path and query byte for byte; answers undecoded, uncached and
// flushed as they come, cut where the API cut them; an end to everything that a
// revoked key holds open. What it refuses: to be a proxy for anything but its
// connections' own APIs.
package proxy
