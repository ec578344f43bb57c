// Package endpoint is the HTTP side of workflows: the activities HttpEndpoint,
// WriteHttpResponse and Redirect, and the handler that serves the endpoints of
// published workflows at the server's root, where their documents have them.
//
//	request ─► route (route.go)        path without case, method; 405, 404, OPTIONS
//	        ─► admit (security.go)     declared header, API key, or public; nothing runs before
//	        ─► read  (request.go)      the request model, with the body if the endpoint reads it
//	        ─► run   (handler.go)      a new run at this activity, or one that waits here
//	        ─► answer (answer.go)      what the run wrote, else its output
//
// Security fails closed: an endpoint that declares none asks for an API key, a
// declared header whose name or expected value is blank lets nobody in, and an
// expression that fails is a refusal. The expected value is evaluated for each
// request, so that a rotated token counts from the next one on. Values are
// compared in constant time and never logged.
//
// The index of routes is built from published versions and swapped as a whole;
// requests read it without a lock.
package endpoint
