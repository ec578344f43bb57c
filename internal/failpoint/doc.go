// Package failpoint marks the instants of a refresh at which a test may kill,
// stall or fail the process. It does nothing unless the binary is built with
// the tag failpoints; then the environment variable FRESHET_FAILPOINTS holds
// "name=action" pairs separated by commas:
//
//	kill          end the process as SIGKILL would
//	stop          stop the process as SIGSTOP would
//	error         return an error
//	stall:DUR     wait for DUR
//	hold:FILE     create FILE and wait until it is gone
//
// An action may carry a condition, "name=kill#3": only the third hit.
//
// FRESHET_CLOCK=-10m makes the process believe that it is ten minutes earlier
// than it is.
package failpoint

// The points of one refresh, in order.
const (
	ClaimAfter    = "claim.after"
	SendBefore    = "send.before"
	SendWritten   = "send.written"
	RespHeaders   = "resp.headers"
	RespBody      = "resp.body"
	SpillAfter    = "spill.after"
	CommitBefore  = "commit.before"
	CommitAfter   = "commit.after"
	PublishBefore = "publish.before"
)

// Points lists every point, in the order in which a refresh meets them.
var Points = []string{ClaimAfter, SendBefore, SendWritten, RespHeaders, RespBody, SpillAfter, CommitBefore, CommitAfter, PublishBefore}
