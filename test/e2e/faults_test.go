//go:build linux

package e2e

import (
	"context"
	"database/sql"
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

	_ "modernc.org/sqlite"

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
  # The background leaves these alone: whoever meets a fail point is the test.
  due:  { client: strict, grant: refresh_token, refresh: { when: on_401 }, api: { base_url: "${EMULATOR}/api" } }
  lent: { client: grace, grant: refresh_token, refresh: { when: on_401 }, api: { base_url: "${EMULATOR}/api" } }
`

// TestReadOnly is a store that takes no writes any more: another process holds
// it, as a backup that never ends would.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{}, setup{config: faultsConfig})
	w.issue(t, "live", "strict-app", time.Hour)
	w.issue(t, "due", "strict-app", 0)
	live := w.token(t, "live")
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "freshet.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), `PRAGMA busy_timeout(5000); BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	t.Run("F66 F68 G3 nothing is sent whose answer could not be stored", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, target := range []string{"/api/v1/connections/due/refresh", "/proxy/due/me"} {
			wg.Go(func() {
				if r, err := w.try(t.Context(), "POST", target, nil); err != nil || r.status != http.StatusServiceUnavailable || !r.ours() {
					t.Errorf("%s: %s, %v", target, r, err)
				}
			})
		}
		wg.Go(func() {
			if r, err := w.try(t.Context(), "GET", "/readyz", nil); err != nil || r.status != http.StatusServiceUnavailable {
				t.Errorf("/readyz: %s, %v", r, err)
			}
		})
		wg.Wait()
		if n := w.em.Count("token"); n != 0 {
			t.Errorf("%d token requests", n)
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
	t.Run("F68 the store is free again: everything goes on, and nothing is lost", func(t *testing.T) {
		if _, err := db.ExecContext(t.Context(), `ROLLBACK`); err != nil {
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
		w.oracles(t)
	})
	w.stop(t)
}

// TestDiskFull is a disk that fills up between the claim and the commit: the
// worst moment, because the provider has rotated.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir, own := disk(t, "8m")
	hold := filepath.Join(t.TempDir(), "held")
	w := newWorld(t, emulator.Options{}, setup{dir: filepath.Join(dir, "data"), config: faultsConfig})
	w.issue(t, "due", "strict-app", 0)
	w.issue(t, "live", "strict-app", time.Hour)
	w.stop(t)
	fail := failpoint.RespBody + "=hold:" + hold + "#1"
	if !own {
		fail += "," + failpoint.CommitBefore + "=error"
	}
	w.server = w.again(t, func(s *setup) { s.build, s.env = points, append(slices.Clone(s.env), "FRESHET_FAILPOINTS="+fail) })

	done := make(chan reply, 1)
	go func() {
		r, err := w.try(context.Background(), "POST", "/api/v1/connections/due/refresh", nil)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	exists(t, hold)
	filler := filepath.Join(dir, "filler")
	if own {
		fill(t, filler)
	}
	os.Remove(hold)
	answer := <-done
	var got api.Token
	t.Run("F67 G1 the answer is served and kept in the spill file", func(t *testing.T) {
		if answer.status != http.StatusOK {
			t.Fatal(answer)
		}
		answer.decode(t, &got)
		if err := w.em.Valid(got.AccessToken); err != nil {
			t.Error(err)
		}
		eventually(t, "the alarm", func() error {
			if s := w.err.String(); !strings.Contains(s, "token.spilled") {
				return errors.New(s)
			}
			return nil
		})
		if tok := w.token(t, "due"); tok.AccessToken != got.AccessToken {
			t.Error("the next reader gets another token")
		}
		if tok := w.token(t, "live"); w.em.Valid(tok.AccessToken) != nil {
			t.Error(w.em.Valid(tok.AccessToken))
		}
		if !own {
			return
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
		if own {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		}
		w.server = w.again(t, func(s *setup) { s.build = plain })
		sent := w.em.Count("token")
		if tok := w.token(t, "due"); tok.AccessToken != got.AccessToken || tok.Generation != got.Generation {
			t.Errorf("generation %d came back as %d, or another token", got.Generation, tok.Generation)
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

// disk mounts a small file system of its own for a data directory, where that is
// allowed. Elsewhere it is a folder, and a fail point makes the database refuse
// the commit as it would on a full disk.
func disk(t *testing.T, size string) (dir string, own bool) {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-e2e-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		t.Logf("no disk of its own may be mounted here (%v): a fail point stands for it", err)
		return dir, false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir, true
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
		r, err := w.try(context.Background(), "POST", "/api/v1/connections/due/refresh", nil)
		if err != nil {
			t.Errorf("the caller got %v", err)
		}
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
