//go:build !failpoints || !unix

package failpoint

// Enabled reports whether this build has fail points.
const Enabled = false

// Hit marks an instant; in this build it does nothing.
func Hit(string) error { return nil }
