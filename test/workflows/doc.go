// Package workflows proves the workflow half against the real binary and the
// provider emulator: what the documents on access tokens say that their
// workflows do, on the embedded store and on PostgreSQL, through restarts and
// kills.
package workflows
