//go:build unix

package script

import (
	"syscall"
	"time"
)

// spent is the processor time that this process has had.
func spent() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return time.Since(birth)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var birth = time.Now()
