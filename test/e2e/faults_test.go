//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
	"github.com/freshet-dev/freshet/internal/failpoint"
)

const faultsConfig = `
providers:
  strict: { token_url: "${EMULATOR}/token", client_auth: basic, rotation: { kind: always, reuse: revokes } }
  grace:  { token_url: "${EMULATOR}/token", client_auth: basic, rotation: { kind: always, grace: 30s, reuse: revokes } }
clients:
  strict: { provider: strict, id: strict-app, secret: strict-secret }
  grace:  { provider: grace, id: grace-app, secret: grace-secret }
connections:
  live: { client: strict, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  due:  { client: strict, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  lent: { client: grace, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
`

// disk mounts a file system of its own for a data directory.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-e2e-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		unable(t, "a small disk of its own needs the right to mount (root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// TestReadOnly is a store on a disk that takes no writes any more.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := disk(t, "64m")
	w := newWorld(t, emulator.Options{}, setup{dir: filepath.Join(dir, "data"), config: faultsConfig})
	w.issue(t, "live", "strict-app", time.Hour)
	set := w.issue(t, "due", "strict-app", 0)
	live := w.token(t, "live")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		unable(t, "the disk cannot be made read-only while it is in use here: %v", err)
	}
	t.Run("F66 G3 nothing is sent whose answer could not be stored", func(t *testing.T) {
		for range 5 {
			if _, p := w.refresh(t, "due"); p == nil || p.Status != http.StatusServiceUnavailable {
				t.Fatalf("%+v, want 503", p)
			}
		}
		if r := w.call(t, "GET", "due", "/me", nil); r.status != http.StatusServiceUnavailable || !r.ours() {
			t.Error(r)
		}
		if n := w.em.Count("token"); n != 0 {
			t.Errorf("%d token requests", n)
		}
		if r := w.ask(t, "GET", "/readyz", nil); r.status != http.StatusServiceUnavailable {
			t.Errorf("/readyz: %s", r)
		}
		if r := w.ask(t, "GET", "/healthz", nil); r.status != http.StatusOK {
			t.Errorf("/healthz: %s", r)
		}
	})
	t.Run("F66 G12 a live token is served all the while", func(t *testing.T) {
		if tok := w.token(t, "live"); tok.AccessToken != live.AccessToken || w.em.Valid(tok.AccessToken) != nil {
			t.Errorf("another token: %v", w.em.Valid(tok.AccessToken))
		}
		if r := w.call(t, "GET", "live", "/me", nil); r.status != http.StatusOK {
			t.Error(r)
		}
	})
	t.Run("F66 writes again: everything goes on, and nothing is lost", func(t *testing.T) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, ""); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a refresh", func() error {
			tok, p := w.refresh(t, "due")
			if p != nil {
				return p
			}
			return w.em.Valid(tok.AccessToken)
		})
		eventually(t, "/readyz", func() error {
			if r := w.ask(t, "GET", "/readyz", nil); r.status != http.StatusOK {
				return errors.New(r.String())
			}
			return nil
		})
		if w.em.Usable(set.Refresh) == nil {
			t.Error("the old refresh token still works: this test's provider does not rotate")
		}
		w.oracles(t)
	})
	w.stop(t)
}

// TestDiskFull is a disk that fills up between the claim and the commit: the
// worst moment, because the provider has rotated.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := disk(t, "8m")
	hold := filepath.Join(t.TempDir(), "held")
	w := newWorld(t, emulator.Options{}, setup{dir: filepath.Join(dir, "data"), config: faultsConfig})
	w.issue(t, "due", "strict-app", 0)
	w.issue(t, "live", "strict-app", time.Hour)
	w.stop(t)
	w.server = w.again(t, func(s *setup) {
		s.build, s.env = points, append(s.env, "FRESHET_FAILPOINTS="+failpoint.RespBody+"=hold:"+hold+"#1")
	})

	type outcome struct {
		tok api.Token
		p   *api.Problem
	}
	done := make(chan outcome, 1)
	go func() {
		tok, p := w.refresh(t, "due")
		done <- outcome{tok, p}
	}()
	exists(t, hold)
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	os.Remove(hold)
	got := <-done
	t.Run("F67 G1 the answer is served and kept in the spill file", func(t *testing.T) {
		if got.p != nil {
			t.Fatal(got.p)
		}
		if err := w.em.Valid(got.tok.AccessToken); err != nil {
			t.Error(err)
		}
		if !strings.Contains(w.err.String(), "token.spilled") {
			t.Errorf("no alarm: %s", w.err.String())
		}
		if tok := w.token(t, "due"); tok.AccessToken != got.tok.AccessToken {
			t.Error("the next reader gets another token")
		}
		if tok := w.token(t, "live"); w.em.Valid(tok.AccessToken) != nil {
			t.Error(w.em.Valid(tok.AccessToken))
		}
		sent := w.em.Count("token")
		if _, p := w.refresh(t, "live"); p == nil {
			t.Error("the disk is full, and a refresh went through")
		}
		if n := w.em.Count("token") - sent; n != 0 {
			t.Errorf("%d token requests while the disk is full", n)
		}
	})
	t.Run("F67 G1 it survives kill -9 on the full disk", func(t *testing.T) {
		w.kill(t)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		w.server = w.again(t, nil)
		sent := w.em.Count("token")
		if tok := w.token(t, "due"); tok.AccessToken != got.tok.AccessToken || tok.Generation != got.tok.Generation {
			t.Errorf("generation %d came back as %d, or another token", got.tok.Generation, tok.Generation)
		}
		if n := w.em.Count("token") - sent; n != 0 {
			t.Errorf("%d token requests", n)
		}
		if _, p := w.refresh(t, "due"); p != nil {
			t.Errorf("one more refresh: %v", p)
		}
		w.oracles(t)
	})
}

// fill takes all that is left of a disk.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// exists waits for a file.
func exists(t *testing.T, file string) {
	t.Helper()
	eventually(t, file+" is made", func() error {
		_, err := os.Stat(file)
		return err
	})
}

// TestStopped is SIGTERM in the middle of a refresh, at each of its points.
func TestStopped(t *testing.T) {
	t.Parallel()
	for _, point := range failpoint.Points {
		if point == failpoint.SpillAfter {
			continue // below, with a database that refuses
		}
		t.Run("F92 SIGTERM at "+point, func(t *testing.T) {
			t.Parallel()
			stopped(t, point+"=hold:%s#1")
		})
	}
	t.Run("F92 SIGTERM at "+failpoint.SpillAfter, func(t *testing.T) {
		t.Parallel()
		stopped(t, failpoint.CommitBefore+"=error,"+failpoint.SpillAfter+"=hold:%s#1")
	})
	t.Run("F92 a second SIGTERM ends it at once and the lost answer is recovered", func(t *testing.T) {
		t.Parallel()
		hold := filepath.Join(t.TempDir(), "held")
		w := pointed(t, failpoint.RespBody+"=hold:"+hold+"#1", "lent")
		go w.try(context.Background(), "POST", "/api/v1/connections/lent/refresh", nil)
		exists(t, hold)
		w.signal(t, syscall.SIGTERM)
		eventually(t, "it drains", func() error {
			if _, err := w.try(t.Context(), "GET", "/healthz", nil); err == nil {
				return errors.New("it still takes requests")
			}
			return nil
		})
		if w.ended() {
			t.Fatal("it did not wait for the refresh")
		}
		w.signal(t, syscall.SIGTERM)
		w.exit(t)
		os.Remove(hold)
		w.server = w.again(t, func(s *setup) { s.build = plain })
		eventually(t, "the grant is recovered", func() error {
			if c := w.connection(t, "lent"); c.State != "ok" || c.Generation != 2 {
				return fmt.Errorf("%s (%s), generation %d", c.State, c.Reason, c.Generation)
			}
			return nil
		})
		if _, p := w.refresh(t, "lent"); p != nil {
			t.Errorf("one more refresh: %v", p)
		}
		// The first attempt was recorded as open: presenting its token again is right.
		emulatortest.Oracles(t, w.em, func(emulator.Reuse) bool { return true })
	})
}

// pointed starts a world whose server has fail points, with one connection that
// is due.
func pointed(t *testing.T, set, name string) *world {
	t.Helper()
	w := newWorld(t, emulator.Options{}, setup{config: faultsConfig})
	client := "strict-app"
	if name == "lent" {
		client = "grace-app"
	}
	w.issue(t, name, client, 0)
	w.stop(t)
	w.server = w.again(t, func(s *setup) { s.build, s.env = points, append(slices.Clone(s.env), "FRESHET_FAILPOINTS="+set) })
	return w
}

// stopped has a refresh held at a point, asks the server to end, lets the
// refresh go on, and looks at what is left. The provider revokes on reuse: a
// token that is presented twice, or one that is lost, shows.
func stopped(t *testing.T, set string) {
	hold := filepath.Join(t.TempDir(), "held")
	w := pointed(t, fmt.Sprintf(set, hold), "due")
	answered := make(chan reply, 1)
	go func() {
		r, _ := w.try(context.Background(), "POST", "/api/v1/connections/due/refresh", nil)
		answered <- r
	}()
	exists(t, hold)
	w.signal(t, syscall.SIGTERM)
	eventually(t, "it drains", func() error {
		if _, err := w.try(t.Context(), "GET", "/healthz", nil); err == nil {
			return errors.New("it still takes requests")
		}
		return nil
	})
	if w.ended() {
		t.Fatal("it did not wait for the refresh")
	}
	os.Remove(hold)
	if code := w.exit(t); code != 0 {
		t.Errorf("exit %d\n%s", code, w.err.String())
	}
	// Who waited was answered before the end.
	if r := <-answered; r.status != http.StatusOK && r.status != http.StatusServiceUnavailable {
		t.Errorf("the caller got %s", r)
	}
	sent := w.em.Count("token")
	w.server = w.again(t, func(s *setup) { s.build, s.env = plain, s.env[:len(s.env)-1] })
	c := w.connection(t, "due")
	if c.State != "ok" || c.Generation != int64(1+sent) {
		t.Errorf("%s (%s), generation %d after %d token requests", c.State, c.Reason, c.Generation, sent)
	}
	tok, p := w.refresh(t, "due")
	if p != nil || w.em.Valid(tok.AccessToken) != nil {
		t.Errorf("one more refresh: %v, %v", p, w.em.Valid(tok.AccessToken))
	}
	w.oracles(t)
}

// TestSuspended is a process that sleeps while its tokens expire.
func TestSuspended(t *testing.T) {
	t.Parallel()
	const connections, life, sleep = 40, 4 * time.Second, 5 * time.Second
	config := "providers:\n  p: { token_url: \"${EMULATOR}/token\", client_auth: basic }\nclients:\n  c: { provider: p, id: rotate-app, secret: rotate-secret }\nconnections:\n"
	for i := range connections {
		config += fmt.Sprintf("  c%02d: { client: c, grant: refresh_token }\n", i)
	}
	w := newWorld(t, emulator.Options{Default: emulator.Profile{Lifetime: freshet.Duration(life)}}, setup{config: config})
	for i := range connections {
		w.issue(t, fmt.Sprintf("c%02d", i), "rotate-app", life)
	}
	for i := range connections {
		w.token(t, fmt.Sprintf("c%02d", i))
	}
	w.next(t, emulator.Fault{At: "refresh", Count: -1, Mode: emulator.Modes{"slow:30ms"}})
	t.Run("F59 what is overdue after a sleep ramps up under the cap, and nobody gets an expired token", func(t *testing.T) {
		w.signal(t, syscall.SIGSTOP)
		asleep := time.Now()
		time.Sleep(sleep) // this is the fault
		w.em.ResetStats()
		w.signal(t, syscall.SIGCONT)
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				name := fmt.Sprintf("c%02d", i)
				var tok api.Token
				if err := w.client.Do(t.Context(), "GET", "/api/v1/connections/"+name+"/token", nil, &tok); err != nil {
					t.Errorf("%s: %v", name, err)
				} else if err := w.em.Valid(tok.AccessToken); err != nil {
					t.Errorf("O5: %s: %v", name, err)
				}
			})
		}
		wg.Wait()
		eventually(t, "every connection is caught up", func() error {
			for i := range connections {
				if c := w.connection(t, fmt.Sprintf("c%02d", i)); c.State != "ok" || c.ExpiresAt == nil || c.ExpiresAt.Before(asleep.Add(sleep)) {
					return fmt.Errorf("%s is %s, its token ends %v", c.Name, c.State, c.ExpiresAt)
				}
			}
			return nil
		})
		// Ten readers at most, and four of the background.
		if n := w.em.Stats().InFlightMax["token"]; n > 14 {
			t.Errorf("%d token requests at once", n)
		}
		w.oracles(t)
	})
}

// TestLeavers is callers who go away, and callers who take their time.
func TestLeavers(t *testing.T) {
	t.Parallel()
	var began, gone atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
			began.Add(1)
			<-r.Context().Done()
			gone.Add(1)
		case "/bulk":
			chunk := make([]byte, 64<<10)
			for range 512 { // 32 MiB
				if _, err := rw.Write(chunk); err != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(upstream.Close)
	w := newWorld(t, emulator.Options{}, setup{env: []string{"UPSTREAM=" + upstream.URL}, config: strings.ReplaceAll(faultsConfig, "${EMULATOR}/api", "${UPSTREAM}")})
	t.Run("F88 the call to the API ends with its caller", func(t *testing.T) {
		w.issue(t, "live", "strict-app", time.Hour)
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := w.try(ctx, "GET", "/proxy/live/wait", nil)
			done <- err
		}()
		eventually(t, "the call arrives", func() error {
			if began.Load() == 0 {
				return errors.New("no call")
			}
			return nil
		})
		leave()
		if err := <-done; err == nil {
			t.Error("the caller got an answer")
		}
		eventually(t, "the API's side ends", func() error {
			if gone.Load() == 0 {
				return errors.New("it goes on")
			}
			return nil
		})
	})
	t.Run("F88 a refresh does not", func(t *testing.T) {
		w.issue(t, "due", "strict-app", 0)
		w.next(t, emulator.Fault{At: "refresh", Mode: emulator.Modes{"hold"}})
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := w.try(ctx, "GET", "/proxy/due/wait", nil)
			done <- err
		}()
		if err := w.em.AwaitHeld(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		leave()
		<-done
		w.em.Release()
		eventually(t, "the refresh is stored", func() error {
			if c := w.connection(t, "due"); c.Generation != 2 || c.State != "ok" {
				return fmt.Errorf("%s, generation %d", c.State, c.Generation)
			}
			return nil
		})
		w.oracles(t)
	})
	t.Run("F90 callers who do not read cost little", func(t *testing.T) {
		const callers = 300
		before := w.resident(t)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		slow := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: -1, ReadBufferSize: 4 << 10}}
		var bodies []io.Closer
		for range callers {
			req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/proxy/live/bulk", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+w.key)
			res, err := slow.Do(req)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(res, err)
			}
			bodies = append(bodies, res.Body)
		}
		if grown := w.resident(t) - before; grown > callers*256<<10 {
			t.Errorf("%d callers who read nothing cost %d MiB", callers, grown>>20)
		}
		for _, b := range bodies {
			b.Close()
		}
		// Whoever reads is served meanwhile.
		if tok := w.token(t, "live"); tok.AccessToken == "" {
			t.Error("no token")
		}
	})
}

// resident returns how much memory the process holds.
func (s *server) resident(t testing.TB) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
