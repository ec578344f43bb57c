package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/failpoint"
)

// tryToken reads a token and returns the problem that came instead.
func (s *server) tryToken(name string) (api.Token, error) {
	var tok api.Token
	err := s.client.Do(context.Background(), "GET", "/api/v1/connections/"+name+"/token", nil, &tok)
	return tok, err
}

// TestReplicas is what callers of several servers on one database see of each
// other.
func TestReplicas(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, emulator.Options{}, numbered(clusterConfig, "rotates", 5))
	a, b := c.members[0], c.members[1]
	t.Run("cap071 of 100 calls over two processes one asks for a token", func(t *testing.T) {
		for n := range 5 {
			name := fmt.Sprint("rotates", n)
			c.issue(t, name, "rotate-app", 0)
			before := c.em.Count("token")
			var mu sync.Mutex
			got := map[string]int{}
			c.together(50, func(s *server) {
				tok, err := s.tryToken(name)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got[tok.AccessToken]++
			})
			if n := c.em.Count("token") - before; n != 1 {
				t.Errorf("%d token requests", n)
			}
			if len(got) != 1 {
				t.Errorf("callers got %d tokens", len(got))
			}
		}
	})
	t.Run("a token that one obtained is served by the other", func(t *testing.T) {
		c.issue(t, "live", "strict-app", time.Hour)
		first := b.token(t, "live")
		tok, p := a.refresh(t, "live")
		if p != nil {
			t.Fatal(p)
		}
		took := soon(t, "the other has it", func() bool { return b.token(t, "live").AccessToken == tok.AccessToken })
		t.Logf("heard after %v", took)
		if first.AccessToken == tok.AccessToken {
			t.Error("nothing changed")
		}
	})
	t.Run("a revoked connection is served nowhere", func(t *testing.T) {
		c.issue(t, "live", "strict-app", time.Hour)
		b.token(t, "live")
		if err := a.client.Do(t.Context(), "POST", "/api/v1/connections/live/revoke", nil, nil); err != nil {
			t.Fatal(err)
		}
		soon(t, "the other refuses it", func() bool {
			_, err := b.tryToken("live")
			return err != nil
		})
	})
	t.Run("a changed definition and a deleted connection are in force everywhere", func(t *testing.T) {
		c.issue(t, "lent", "grace-app", time.Hour)
		if r := b.call(t, "GET", "lent", "/me", nil); r.status != http.StatusOK {
			t.Fatal(r)
		}
		def := fmt.Sprintf(`connections: { lent: { client: lends, grant: refresh_token, api: { base_url: "%s/elsewhere" } } }`, c.base)
		if r := a.ask(t, "POST", "/api/v1/apply", strings.NewReader(def), "Content-Type", "application/yaml"); r.status != http.StatusOK {
			t.Fatal(r)
		}
		soon(t, "the other calls elsewhere", func() bool { return b.call(t, "GET", "lent", "/me", nil).status != http.StatusOK })
		if r := a.ask(t, "DELETE", "/api/v1/connections/lent", nil); r.status >= 300 {
			t.Fatal(r)
		}
		soon(t, "the other does not know it", func() bool { return b.call(t, "GET", "lent", "/me", nil).status == http.StatusNotFound })
	})
	t.Run("a key that one revoked opens nothing at the other", func(t *testing.T) {
		var made struct{ Key string }
		if err := a.client.Do(t.Context(), "POST", "/api/v1/keys", map[string]any{"name": "short", "scopes": []string{"read"}}, &made); err != nil {
			t.Fatal(err)
		}
		list := func() int {
			return b.ask(t, "GET", "/api/v1/connections", nil, "Authorization", "", "Authorization", "Bearer "+made.Key).status
		}
		soon(t, "the other knows it", func() bool { return list() == http.StatusOK })
		if err := a.client.Do(t.Context(), "DELETE", "/api/v1/keys/short", nil, nil); err != nil {
			t.Fatal(err)
		}
		soon(t, "the other refuses it", func() bool { return list() == http.StatusUnauthorized })
	})
	t.Run("both look after the background, and say who they are", func(t *testing.T) {
		r := a.ask(t, "GET", "/api/v1/doctor", nil)
		if !strings.Contains(string(r.body), "2 live") {
			t.Error(r)
		}
		if n := query[int](t, c.url, `SELECT count(*) FROM replicas`); n != 2 {
			t.Errorf("%d replicas are listed", n)
		}
	})
	c.oracles(t)
	b.stop(t)
	if n := query[int](t, c.url, `SELECT count(*) FROM replicas`); n != 1 {
		t.Errorf("%d replicas are listed after one has stopped", n)
	}
}

// F13: three processes want the same refresh at the same moment, again and
// again; the provider sees one request for each.
func TestF13_three_processes_race_for_one_refresh(t *testing.T) {
	t.Parallel()
	rounds := 25
	if n, err := strconv.Atoi(os.Getenv("FRESHET_ROUNDS")); err == nil {
		rounds = n
	}
	c := newCluster(t, 3, emulator.Options{}, numbered(clusterConfig, "strict", rounds))
	for n := range rounds {
		name := fmt.Sprint("strict", n)
		c.issue(t, name, "strict-app", 0)
		before := c.em.Count("token")
		c.together(3, func(s *server) {
			if tok, err := s.tryToken(name); err != nil || c.em.Valid(tok.AccessToken) != nil {
				t.Errorf("round %d: %v %v", n, err, c.em.Valid(tok.AccessToken))
			}
		})
		if got := c.em.Count("token") - before; got != 1 {
			t.Fatalf("round %d: %d token requests", n, got)
		}
	}
	c.oracles(t)
}

// F14: a provider that answers as late as it may, and later than that. The
// connection's grace makes the deadline 2 s and the lease 3 s.
func TestF14_a_provider_slower_than_the_lock(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, emulator.Options{}, clusterConfig)
	for _, late := range []string{"1800ms", "2600ms"} {
		c.issue(t, "lent", "grace-app", 0)
		if err := c.em.Next(emulator.Fault{At: "token", Mode: emulator.Modes{"slow:" + late}}); err != nil {
			t.Fatal(err)
		}
		c.together(2, func(s *server) {
			eventually(t, "a token", func() error {
				tok, err := s.tryToken("lent")
				if err != nil {
					return err
				}
				return c.em.Valid(tok.AccessToken)
			})
		})
	}
	for _, breach := range c.em.CheckOracles(func(emulator.Reuse) bool { return true }) {
		t.Error(breach)
	}
}

// hold is a fail point that a member waits at until the file is removed.
func hold(t *testing.T, point string) (set, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "held")
	return point + "=hold:" + file + "#1", file
}

// background reads a token of a member without waiting for it.
func (s *server) later(name string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.tryToken(name)
		done <- err
	}()
	return done
}

// F15: a process that is paused between its claim and its request, and wakes
// after the lease, sends nothing.
func TestF15_paused_before_it_sends(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, emulator.Options{}, clusterConfig)
	set, file := hold(t, failpoint.SendBefore)
	a, b := c.failing(t, 0, set), c.members[1]
	c.issue(t, "lent", "grace-app", 0)
	first := a.later("lent")
	exists(t, file)
	a.signal(t, syscall.SIGSTOP)
	began := time.Now()
	tok, err := b.tryToken("lent")
	if err != nil || c.em.Valid(tok.AccessToken) != nil {
		t.Fatalf("the other: %v", err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("it did not wait for the lease: %v", took)
	}
	os.Remove(file)
	a.signal(t, syscall.SIGCONT)
	if err := <-first; err != nil {
		t.Logf("its caller: %v", err)
	}
	if n := c.em.Count("token"); n != 1 {
		t.Errorf("%d token requests: the one that slept sent its own", n)
	}
	eventually(t, "it serves the other's token", func() error {
		got, err := a.tryToken("lent")
		if err == nil && got.AccessToken != tok.AccessToken {
			err = errors.New("another token")
		}
		return err
	})
	c.oracles(t)
}

// F16: a process that is paused after it sent, and has its answer after another
// one took over, keeps that aside.
func TestF16_paused_after_it_sent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, emulator.Options{}, clusterConfig)
	set, file := hold(t, failpoint.RespBody)
	a, b := c.failing(t, 0, set), c.members[1]
	c.issue(t, "lent", "grace-app", 0)
	first := a.later("lent")
	exists(t, file) // the provider has answered
	a.signal(t, syscall.SIGSTOP)
	tok, err := b.tryToken("lent")
	if err != nil || c.em.Valid(tok.AccessToken) != nil {
		t.Fatalf("the other, inside the provider's grace: %v", err)
	}
	os.Remove(file)
	a.signal(t, syscall.SIGCONT)
	<-first
	eventually(t, "the late answer is an orphan", func() error {
		if n := query[int](t, c.url, `SELECT count(*) FROM orphans`); n != 1 {
			return fmt.Errorf("%d orphans", n)
		}
		return nil
	})
	for i, s := range c.members {
		if got := s.token(t, "lent"); got.AccessToken != tok.AccessToken {
			t.Errorf("server %d has another token than the winner's", i)
		}
	}
	if n := c.em.Count("token"); n != 2 {
		t.Errorf("%d token requests", n)
	}
	if _, p := b.refresh(t, "lent"); p != nil {
		t.Errorf("one more refresh: %v", p)
	}
	var types []string
	for _, e := range b.events(t, "lent") {
		types = append(types, e.Type)
	}
	for _, want := range []string{"refresh.uncertain", "token.orphaned"} {
		if !slices.Contains(types, want) {
			t.Errorf("no %s in %v", want, types)
		}
	}
}

// F18: where the provider refuses a former refresh token, the second process is
// told no; then the first one's success arrives and counts.
func TestF18_a_success_after_the_other_gave_up(t *testing.T) {
	t.Parallel()
	config := strings.Replace(clusterConfig, "rotation: { kind: always, reuse: refused }", "rotation: { kind: always, grace: 6s, reuse: refused }", 1)
	c := newCluster(t, 2, emulator.Options{}, config)
	set, file := hold(t, failpoint.RespBody)
	a, b := c.failing(t, 0, set), c.members[1]
	c.issue(t, "crm", "rotate-app", 0)
	first := a.later("crm")
	exists(t, file)
	a.signal(t, syscall.SIGSTOP)
	if _, err := b.tryToken("crm"); err == nil {
		t.Fatal("the provider took a refresh token twice")
	}
	eventually(t, "the grant is given up", func() error {
		if st := b.connection(t, "crm"); string(st.State) != "reauth" {
			return fmt.Errorf("%s", st.State)
		}
		return nil
	})
	os.Remove(file)
	a.signal(t, syscall.SIGCONT)
	<-first
	for _, s := range c.members {
		eventually(t, "the success counts", func() error {
			tok, err := s.tryToken("crm")
			if err != nil {
				return err
			}
			return c.em.Valid(tok.AccessToken)
		})
	}
	if _, p := b.refresh(t, "crm"); p != nil {
		t.Errorf("one more refresh: %v", p)
	}
}

// F20: a process that cannot reach the database serves what lives and asks for
// nothing; the other goes on.
func TestF20_cut_off_from_the_database(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, emulator.Options{}, clusterConfig)
	cable, over := newLink(t, c.url)
	a := c.join(t, func(s *setup) { s.env = append(s.env, "FRESHET_DATABASE_URL="+over) })
	b := c.server
	c.issue(t, "live", "strict-app", time.Hour)
	c.issue(t, "due", "strict-app", 0)
	live := a.token(t, "live")
	cable.cut()
	if tok, err := a.tryToken("live"); err != nil || tok.AccessToken != live.AccessToken {
		t.Errorf("what lives is not served: %v", err)
	}
	sent := c.em.Count("token")
	if _, err := a.tryToken("due"); err == nil {
		t.Error("it got a token that it cannot store")
	}
	if n := c.em.Count("token") - sent; n != 0 {
		t.Errorf("%d token requests without a database", n)
	}
	if r := a.ask(t, "GET", "/readyz", nil); r.status != http.StatusServiceUnavailable {
		t.Errorf("it says that it is ready: %s", r)
	}
	tok, err := b.tryToken("due")
	if err != nil {
		t.Fatalf("the other: %v", err)
	}
	cable.mend()
	eventually(t, "it comes back", func() error {
		got, err := a.tryToken("due")
		if err == nil && got.AccessToken != tok.AccessToken {
			err = errors.New("another token")
		}
		return err
	})
	eventually(t, "it is ready", func() error {
		if r := a.ask(t, "GET", "/readyz", nil); r.status != http.StatusOK {
			return errors.New(r.String())
		}
		return nil
	})
	c.oracles(t)
}

// F21: a process that cannot reach the provider does not keep the other from
// it.
func TestF21_cut_off_from_the_provider(t *testing.T) {
	c := newCluster(t, 2, emulator.Options{}, clusterConfig)
	a, b := c.failing(t, 0, failpoint.SendBefore+"=error"), c.members[1]
	c.issue(t, "due", "strict-app", 0)
	if _, err := a.tryToken("due"); err == nil {
		t.Fatal("it got a token")
	}
	began := time.Now()
	eventually(t, "the other gets one", func() error {
		tok, err := b.tryToken("due")
		if err != nil {
			// Attempts of the other may have used up those that are made soon.
			b.ask(t, "POST", "/api/v1/connections/due/refresh", nil)
			return err
		}
		return c.em.Valid(tok.AccessToken)
	})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the other had to wait for %v: the lease was not given back", took)
	}
	if n := c.em.Count("token"); n != 1 {
		t.Errorf("%d token requests", n)
	}
	c.oracles(t)
}
