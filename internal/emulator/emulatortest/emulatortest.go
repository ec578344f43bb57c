// Package emulatortest starts provider emulators for tests and checks, when a
// test ends, what it says it will keep.
package emulatortest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/emulator"
)

// Start serves an emulator on a free loopback port until the test ends.
func Start(t testing.TB, o emulator.Options) (*emulator.Emulator, string) {
	t.Helper()
	e, err := emulator.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	base, err := e.Start("")
	if err != nil {
		t.Fatal(err)
	}
	return e, base
}

// Oracles fails the test for every breach of O1 to O4; see
// emulator.CheckOracles.
func Oracles(t testing.TB, e *emulator.Emulator, allowed func(emulator.Reuse) bool, held ...string) {
	t.Helper()
	for _, breach := range e.CheckOracles(allowed, held...) {
		t.Error(breach)
	}
}

// NoCanary is oracle O6: it fails the test for every token of the emulator that
// stands in text, which came from where, in whatever encoding.
func NoCanary(t testing.TB, e *emulator.Emulator, where string, text []byte) {
	t.Helper()
	if forgotten := e.Stats().TokensForgotten; forgotten > 0 {
		t.Errorf("%d tokens were forgotten unsearched: raise Options.Keep", forgotten)
	}
	for _, core := range e.Canaries() {
		if i := bytes.Index(text, []byte(core)); i >= 0 {
			around := text[max(0, i-60):i]
			t.Errorf("%s holds a token (after %q)", where, strings.ToValidUTF8(string(around), "?"))
		}
	}
}
