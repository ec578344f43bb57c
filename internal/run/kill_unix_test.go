//go:build unix

package run_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// victimDir starts this binary again as a process that is killed.
const victimDir = "FRESHET_TEST_RUN_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// victim runs without end, and says what it was told is durable.
func victim(dir string) error {
	ctx := context.Background()
	st, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		return err
	}
	j := run.New(run.Options{Store: st, Alone: true})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				r, err := j.Begin(ctx, run.Start{Name: "victim", Key: fmt.Sprint(os.Getpid(), "/", i, "/", n)})
				if err != nil {
					return
				}
				fmt.Println("begun " + r.ID())
				for range 5 {
					r.Step(run.Step{Message: "step"})
				}
				if i == 0 {
					if r.Suspend(ctx) != nil {
						return
					}
					fmt.Println("suspended " + r.ID())
					continue
				}
				if r.End(ctx, run.End{}) != nil {
					return
				}
				fmt.Println("finished " + r.ID())
			}
		})
	}
	wg.Wait()
	return nil
}

// What Begin, Suspend and End have said survives the process; what was running
// is found, and found to be interrupted.
func TestF94_a_killed_process_loses_no_run(t *testing.T) {
	dir := t.TempDir()
	told := map[string]string{} // id → what is known of it at least
	found := 0
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		scan := bufio.NewScanner(out)
		for n := 0; scan.Scan(); n++ {
			if n == 100+37*round {
				cmd.Process.Kill()
			}
			what, id, ok := strings.Cut(scan.Text(), " ")
			if ok && len(id) == 26 {
				told[id] = what
			}
		}
		cmd.Wait()

		w := newWorld(t, dir)
		list, err := w.Interrupted(w.ctx, 1000)
		w.ok(err)
		interrupted := map[string]bool{}
		for _, v := range list {
			interrupted[v.ID] = true
			w.ok(w.Interrupt(w.ctx, v.ID))
		}
		begun := 0
		for id, what := range told {
			v := w.get(id)
			steps := len(w.steps(id))
			switch {
			case what == "begun":
				begun++
				if v.Status == run.Running || v.Status == run.Faulted && v.Fault.Message != run.InterruptedMessage {
					t.Errorf("run %s was begun and is %s", id, v.Status)
				}
			case string(v.Status) != what || steps != 5 || interrupted[id]:
				t.Errorf("run %s: %s was durable; it is %s with %d steps", id, what, v.Status, steps)
			}
		}
		found += len(list)
		if n := len(w.list(run.Filter{Status: run.Running})); n != 0 {
			t.Errorf("%d runs are left running", n)
		}
		t.Logf("round %d: %d runs told of, %d begun only, %d interrupted", round, len(told), begun, len(list))
		w.ok(w.Close(w.ctx))
		w.ok(w.store.Close())
	}
	if len(told) < 100 || found == 0 {
		t.Errorf("%d runs, %d of them interrupted: the test is void", len(told), found)
	}
}
