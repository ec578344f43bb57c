// Package outbound makes the HTTP requests of workflows: SendHttpRequest as the
// platform's documents describe it, CallConnection and GetAccessToken, which
// name a connection instead of handling its token.
//
//	build    url, method, body, headers from evaluated fields    (url.go, request.go)
//	send     through the guarded dialler, or as a connection      (send.go, redirect.go)
//	answer   read to a limit, parsed by media type                (answer.go)
//	specs    the activities                                       (activity.go, token.go)
//
// What it gives: outcomes in the platform's order, redirects followed as the
// platform follows them, faults that name the step, the host and the cause.
// What it refuses: a target that the dialler refuses, a redirect that would
// carry what the workflow sent to another origin, header values that are more
// than one line, answers beyond the limit.
package outbound
