package store

// Protocol is the version of the refresh protocol that this code speaks. A row
// with a higher one is claimed by newer processes only.
//
// It goes up when an older process could not finish what a newer one has begun:
// from the release before on, processes of both versions work on one database
// during an upgrade. The build tag nextprotocol makes a binary for tests that
// speaks one version more.
const Protocol = 1 + nextProtocol
