//go:build race

package storetest

// rounds thins out repetition: the race detector sees a race in few rounds, and
// makes an embedded database ten times slower.
func rounds(n int) int { return max(n/10, 5) }
