//go:build unix && !linux

package harden

var measures = []func() error{noCore, ownFilesOnly}
