// Package examples holds the files of this folder, so that the demo applies
// the very ones that people read.
package examples

import "embed"

// Connections are the files of connections/: one connection for each grant.
//
//go:embed connections/*.yaml
var Connections embed.FS
