// Package harden keeps the secrets in this process's memory from leaving it by
// the side doors: core dumps, debuggers of the same user, files that others may
// read, and the environment that child processes inherit.
//
// What it cannot do: the kernel keeps the environment that a process was
// started with, and unsetting a variable does not change that copy. On Linux
// the copy is /proc/PID/environ; once [Apply] has run, only root can read it,
// and the same holds for /proc/PID/mem and for attaching a debugger. Elsewhere
// the same user can still see it, and everywhere so can whoever reads the unit
// file or the container's definition. A master key is better kept in a file or
// given as a systemd credential. Swap is not locked: encrypt it or do without.
package harden

import (
	"os"

	"github.com/freshet-dev/freshet"
)

// Apply hardens this process, as early as possible in main. It does what the
// system can and returns one error for each thing that it refused; they are for
// a warning, not for ending. On Linux, a side effect is that only root can read
// most of /proc/PID of the process: who has to debug it needs to be root.
func Apply() []error {
	var errs []error
	for _, m := range measures {
		if err := m(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Take returns an environment variable and removes it, so that no child process
// inherits it and no later dump of the environment shows it; false if it was
// not set. The package comment says what remains of it.
func Take(name string) (freshet.Secret, bool) {
	value, ok := os.LookupEnv(name)
	if !ok {
		return freshet.Secret{}, false
	}
	os.Unsetenv(name)
	return freshet.NewSecret(value), true
}
