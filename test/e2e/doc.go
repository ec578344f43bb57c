// Package e2e holds the binary to its promises from outside: each test starts
// freshet serve as a process of its own, with a provider emulator or a fake
// endpoint beside it, and knows it only by its command line, its HTTP interface
// and its files.
//
//	corpus    every answer of the corpus through the running binary
//	life      what people do with tokens: the rows capNNN
//	connect   an authorization, walked by a plain client and by a browser
//	canary    no token outside its place, after a scenario with every grant
//	faults    a store that takes no writes, a full disk, a stopped process,
//	          SIGTERM at every fail point
//	stranger  what README says, as it stands there
//
// FRESHET_BINARY names a binary to use in place of one that is built from the
// source tree; the tests that need fail points build their own in any case.
package e2e
