//go:build unix

package harden

import (
	"fmt"
	"syscall"
)

// noCore keeps a crash from writing memory to a file.
func noCore() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("turn core dumps off: %w", err)
	}
	return nil
}

// ownFilesOnly makes files private that are created without a thought.
func ownFilesOnly() error {
	syscall.Umask(0o077)
	return nil
}
