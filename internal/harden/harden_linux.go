package harden

import (
	"fmt"

	"golang.org/x/sys/unix"
)

var measures = []func() error{noCore, notDumpable, ownFilesOnly}

// notDumpable shuts out debuggers of the same user and core dumps that go to a
// program (core_pattern "|…"), which the limit on core files does not stop.
func notDumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep debuggers of the same user out: %w", err)
	}
	return nil
}
