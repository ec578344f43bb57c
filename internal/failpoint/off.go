//go:build !failpoints || !unix

package failpoint

import "time"

// Enabled reports whether this build has fail points.
const Enabled = false

// Now is the time.
func Now() time.Time { return time.Now() }

// Hit marks an instant; in this build it does nothing.
func Hit(string) error { return nil }
