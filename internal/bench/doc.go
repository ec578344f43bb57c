// Package bench measures the product on the machine that it runs on, against
// the plainest thing that could do the same, in one run: paired rounds that
// alternate between the two, and their ratio. Absolute numbers belong to a
// machine; a ratio travels.
//
// Servers run as processes of their own, the baselines too (child.go), and the
// load comes from a client that does little more than write and read sockets
// (load.go), so that what is measured is the server.
package bench
