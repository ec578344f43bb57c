package refresh

import (
	"time"

	"golang.org/x/sys/unix"
)

// asleep is the difference of two clocks that both began at the boot: one goes
// on while the machine is suspended, the other, by which Go measures, stands.
func asleep() time.Duration {
	var with, without unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &without) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &with) != nil {
		return 0
	}
	return time.Duration(with.Nano() - without.Nano())
}
