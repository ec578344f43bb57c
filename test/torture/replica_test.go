//go:build unix

package torture

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
)

// binary builds the server once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "freshet-torture")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "freshet")
	if out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", path, "github.com/freshet-dev/freshet/cmd/freshet").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// A journal is what a replica printed, over all its lives.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) bytes() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Clone(j.b.Bytes())
}

// tail is the end of it, for a person.
func (j *journal) tail() string {
	b := j.bytes()
	return string(b[max(0, len(b)-4000):])
}

// A replica is one of the servers, and the machine that it runs on: a data
// directory and a link to the database, which outlive its processes.
type replica struct {
	w      *world
	n      int
	dir    string
	db     *link
	log    journal
	client atomic.Pointer[api.Client] // nil while it is down
	base   atomic.Pointer[string]

	mu   sync.Mutex // held by who does something to the process
	cmd  *exec.Cmd
	done chan struct{}
}

// clocks are what replicas believe the time to be.
var clocks = []string{"0s", "10m", "-10m"}

// start starts a process, which may have a wrong clock, and waits until it is
// ready.
func (r *replica) start(dice *rand.Rand) error {
	path, err := binary()
	if err != nil {
		return err
	}
	file := filepath.Join(r.dir, "server.url")
	os.Remove(file)
	cmd := exec.Command(path, "serve", "--data", r.dir, "--listen", "127.0.0.1:0", "--database-url", r.w.urlOver(r.db), "--metrics-listen", "127.0.0.1:0", "--log-level", "debug")
	clock := clocks[dice.IntN(len(clocks))]
	cmd.Env = append(os.Environ(), "FRESHET_MASTER_KEY="+r.w.masterKey, "FRESHET_CLOCK="+clock)
	cmd.Stdout, cmd.Stderr = &r.log, &r.log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	r.cmd, r.done = cmd, done
	deadline := time.After(60 * time.Second)
	for {
		if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
			base := strings.TrimSpace(string(b))
			r.base.Store(&base)
			r.connect()
			if clock != "0s" {
				r.w.count("lives with a clock that is wrong")
			}
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("replica %d ended at its start\n%s", r.n, r.log.tail())
		case <-deadline:
			cmd.Process.Kill()
			<-done
			return fmt.Errorf("replica %d did not start\n%s", r.n, r.log.tail())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// connect lets callers come.
func (r *replica) connect() {
	if key := r.w.adminKey(); key != "" {
		r.client.Store(api.New(*r.base.Load(), key, api.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 60 * time.Second})))
	}
}

// kill ends the process as a loss of power does.
func (r *replica) kill() {
	r.client.Store(nil)
	r.cmd.Process.Kill()
	<-r.done
}

// revive starts the process again, as a service manager does: until it stays.
func (r *replica) revive(dice *rand.Rand) error {
	var err error
	for range 40 {
		if err = r.start(dice); err == nil {
			return nil
		}
		select {
		case <-r.w.ctx.Done():
			return r.w.ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
	return err
}

func (r *replica) freeze()   { r.cmd.Process.Signal(syscall.SIGSTOP) }
func (r *replica) unfreeze() { r.cmd.Process.Signal(syscall.SIGCONT) }

// stop ends the process as an operator does.
func (r *replica) stop(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	r.unfreeze()
	r.client.Store(nil)
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(45 * time.Second):
		t.Errorf("replica %d does not stop\n%s", r.n, r.log.tail())
		r.cmd.Process.Kill()
		<-r.done
	}
}

// get asks the replica something small.
func (r *replica) get(ctx context.Context, path string, out any) error {
	c := r.client.Load()
	if c == nil {
		return errDown
	}
	return c.Do(ctx, "GET", path, nil, out)
}
