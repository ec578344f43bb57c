// Package upstream makes one API call as a connection: it puts the connection's
// credential into the request, sends it to where the credential may go, and when
// the API does not accept the token has it renewed once and asks once more.
//
//	plan     what a definition means for its calls, compiled once     (plan.go)
//	target   where the bytes go; nowhere else                         (target.go, path.go)
//	token    fresh, or no call                                        (transport.go)
//	inject   every copy of the caller's out, exactly one in           (header.go, inject.go, dpop.go)
//	send     once; the transport follows no redirect                  (package dial)
//	refused? status, challenge and body of the answer                 (rejected.go, challenge.go)
//	replay   only a body that is still whole                          (body.go)
//	answer   as it came; optionally without the credential's echo     (echo.go)
//
// What it refuses: a destination that the grant was not made for, a path whose
// meaning depends on who reads it where paths are restricted, a call without its
// token, and a second send after anything but a rejected token.
package upstream
