// Package examples holds the files of this folder, so that the demo applies
// the very ones that people read.
package examples

import "embed"

// Connections are the files of connections/: one connection for each grant.
//
//go:embed connections/*.yaml
var Connections embed.FS

// Workflows are the files of world-of-workflows/: the document's two workflows
// with their table and a schedule, and the same with a connection.
//
//go:embed world-of-workflows/*.yaml world-of-workflows/definitions/*
var Workflows embed.FS
