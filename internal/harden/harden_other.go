//go:build !unix

package harden

// measures is empty: what the package does elsewhere is the default here, or
// has no counterpart.
var measures []func() error
