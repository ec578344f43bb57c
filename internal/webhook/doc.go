// Package webhook tells somebody outside about events: connections that need a
// person, refreshes, clients that are misconfigured.
//
// What is to be told is read from the event table behind a cursor, and queued as
// letters in the same transaction that moves the cursor, so that an event is
// told although the process died right after it. Letters are sent through the
// guarded dialer until the receiver answers 2xx, with longer and longer pauses,
// for three days. A receiver may get a letter twice and knows it by its id.
//
// A request is signed with HMAC-SHA256 over the timestamp, a dot and the body.
// It holds no secret of a connection.
package webhook
