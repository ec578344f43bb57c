// Package replica keeps processes that share a database in step: each tells the
// others what it has changed, and all look for what they were not told.
//
// What is said is only ever a reason to look at the database again, never a
// value: a connection's token and its generation, resources and the revision
// that they have together, the keyring's revision. So it does not matter how
// often something is said, in which order, or that it comes late.
//
//	told      by LISTEN/NOTIFY, within milliseconds, where there is a way to
//	          the server that no pooler shares
//	looked    every few seconds: revisions of resources and keyring, events
//	          of connections since the last look. A look that finds what was
//	          not told forgets all that is cached of its kind
//
// A Group also lists this process among the replicas for the others to see, and
// reports those that fell silent: what they could not store lies in a spill
// file on their disk.
package replica
