//go:build !unix

package script

import "time"

// spent stands for the processor time that this process has had, which nobody
// tells here: the time on the wall.
func spent() time.Duration { return time.Since(birth) }

var birth = time.Now()
