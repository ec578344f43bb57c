// Package refresh is the one source of fresh tokens. Every read of a token, by
// whatever door it came, ends here.
//
// A fresh token is one atomic load and one comparison away. For the rest, one
// refresh goes through these steps; whatever happens between two of them, no
// rotated refresh token is lost that any process could still hold:
//
//	coalesce  callers of one connection share one attempt; each waits on its
//	          own context, and leaving ends nothing            (flight.go)
//	claim     one durable conditional UPDATE of the very row that the answer
//	          will go to: if it fails nothing is sent          (attempt.go)
//	send      exactly once, detached from the callers, with a deadline
//	          shorter than the claim's lease                   (package grant)
//	commit    compare-and-swap on attempt and generation; if the database
//	          will not take it, a sealed record is forced into a local file
//	          and the commit is tried on                       (commit.go, spill.go)
//	publish   to this process and to other replicas            (conn.go)
//	answer    everybody who waits
//
// An attempt that a dead process left open is uncertain: the provider may have
// rotated the refresh token. The same token is sent again at once, inside the
// grace that many providers give (recover.go). What an unsuccessful answer
// means is decided in one pure function (verdict.go); when the background looks
// at a connection is a column in its row, never a timer (schedule.go).
package refresh
