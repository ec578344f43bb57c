// Package audit is the append-only record of who used or changed what: each
// reading of a token, each call made as a connection, each change.
//
// Rows are chained: each carries a keyed hash over itself and the hash before
// it. The key comes from the vault, so that whoever has only the database can
// neither change nor remove a row in the middle without [Log.Verify] saying so.
// Rows cut off at the end leave no trace in the table; a [Checkpoint] that was
// noted elsewhere shows them.
//
// Rows are written in groups by one goroutine. In the default mode a caller
// hands its entry over and goes on. As long as the database takes writes, a
// queue that is full makes callers wait; while it does not, tokens that live
// are still served, entries that no longer fit are counted, and their number is
// the first row after it. In strict mode a caller waits until its row is
// durable, and an answer that cannot be recorded is not given: [ErrUnrecorded].
package audit
