package script

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestIdleMachinesAreTakenAway(t *testing.T) {
	e := open(t, Options{Spare: -1, Idle: 2})
	var sessions []*Session
	for i := range 5 {
		s := e.Open()
		defer s.Close()
		sessions = append(sessions, s)
		if v, err := eval(t, e, s, world{}, fmt.Sprint(i)); v != int64(i) || err != nil {
			t.Fatalf("%d: %v, %v", i, v, err)
		}
	}
	warm := 0
	for _, s := range sessions {
		if s.machine != nil {
			warm++
		}
	}
	if warm != 2 || e.idle.Len() != 2 {
		t.Errorf("%d machines are warm, %d in the list; want 2", warm, e.idle.Len())
	}
	// A session whose machine was taken goes on with a new one.
	if v, err := eval(t, e, sessions[0], world{}, "7"); v != int64(7) || err != nil {
		t.Errorf("= %v, %v", v, err)
	}
}

func TestMachinesAreNotShared(t *testing.T) {
	e := open(t, Options{Spare: 2})
	a, b := e.Open(), e.Open()
	defer a.Close()
	defer b.Close()
	for _, s := range []*Session{a, b} {
		if _, err := eval(t, e, s, world{}, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if a.machine == nil || a.machine == b.machine {
		t.Errorf("machines %p and %p", a.machine, b.machine)
	}
	used := a.machine
	a.Close()
	for range 8 {
		s := e.Open()
		if _, err := eval(t, e, s, world{}, "1"); err != nil {
			t.Fatal(err)
		}
		if s.machine == used {
			t.Error("a machine was used by two runs")
		}
		s.Close()
	}
}

func TestClosed(t *testing.T) {
	e, err := New(Options{Prelude: testPrelude})
	if err != nil {
		t.Fatal(err)
	}
	s := e.Open()
	p, err := e.Prepare("1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Eval(t.Context(), p, world{}, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Eval(t.Context(), p, world{}, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("Eval = %v", err)
	}
	if _, err := e.Prepare("2"); !errors.Is(err, ErrClosed) {
		t.Errorf("Prepare = %v", err)
	}
	s.Close()
	if _, err := New(Options{Prelude: "not a function("}); err == nil {
		t.Error("a prelude that does not compile was taken")
	}
}

func TestConcurrentSessions(t *testing.T) {
	e := open(t, Options{Idle: 2, Spare: 1})
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			s := e.Open()
			defer s.Close()
			for i := range 20 {
				v, err := eval(t, e, s, world{globals: map[string]any{"x": int64(i)}}, fmt.Sprintf("x * %d", w))
				if v != int64(i*w) || err != nil {
					t.Errorf("%d * %d = %v, %v", i, w, v, err)
				}
			}
		})
	}
	wait.Wait()
}

func TestExtras(t *testing.T) {
	e := open(t, Options{Spare: -1, Extras: []Extra{{Names: []string{"extra"}, Source: `(k => { k.define("extra", () => k.call("f")) })`}}})
	s := e.Open()
	defer s.Close()
	w := world{funcs: map[string]func([]any) (any, error){"f": func([]any) (any, error) { return "f", nil }}}
	for _, c := range []struct {
		text string
		want any
	}{
		{`1`, int64(1)},
		{`extra()`, "f"},
		{`var extra = 1; extra`, int64(1)},
		{`extra()`, "f"},
		{`globalThis["ex" + "tra"]()`, "f"},
	} {
		if v, err := eval(t, e, s, w, c.text); v != c.want || err != nil {
			t.Errorf("%s = %v, %v", c.text, v, err)
		}
	}
	fresh := e.Open()
	defer fresh.Close()
	if v, err := eval(t, e, fresh, w, `globalThis["ex" + "tra"]()`); v != "f" || err != nil {
		t.Errorf("in a machine that has no extra yet: %v, %v", v, err)
	}
}

// nested is a world whose function runs another script.
type nested struct {
	world
	waits bool
}

func (n nested) Waits(string) bool { return n.waits }

func TestAScriptInAScriptNeedsNoSecondSlot(t *testing.T) {
	e := open(t, Options{Spare: -1, Slots: 1})
	w := nested{waits: true, world: world{funcs: map[string]func([]any) (any, error){"inner": func([]any) (any, error) {
		s := e.Open()
		defer s.Close()
		return eval(t, e, s, world{}, "20 + 1")
	}}}}
	s := e.Open()
	defer s.Close()
	if v, err := eval(t, e, s, w, `call("inner") * 2`); v != int64(42) || err != nil {
		t.Errorf("= %v, %v", v, err)
	}
	if len(e.slots) != 0 {
		t.Errorf("%d slots are taken at the end", len(e.slots))
	}
}

func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Options{Prelude: testPrelude, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		s := e.Open()
		defer s.Close()
		time.Sleep(36 * time.Hour)
		v, err := eval(t, e, s, world{}, `new Date().toISOString()`)
		if want := time.Now().UTC().Format("2006-01-02T15:04:05.000Z"); v != want || err != nil {
			t.Errorf("= %v, %v; want %s", v, err, want)
		}
	})
}

// TestMemoryOfAMachine reports what an idle machine keeps.
func TestMemoryOfAMachine(t *testing.T) {
	if resident(t) == 0 {
		t.Skip("the memory of the process is not told here")
	}
	e := open(t, Options{Spare: -1})
	runtime.GC()
	before := resident(t)
	const n = 64
	var sessions []*Session
	for range n {
		s := e.Open()
		if _, err := eval(t, e, s, world{}, "1"); err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	each := (resident(t) - before) / n
	t.Logf("an idle machine keeps %d KiB", each>>10)
	if each > 4<<20 {
		t.Errorf("an idle machine keeps %d bytes", each)
	}
	for _, s := range sessions {
		s.Close()
	}
}
