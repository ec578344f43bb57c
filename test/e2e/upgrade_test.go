package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

// newer speaks one version of the refresh protocol more.
var newer = newBuild("nextprotocol")

// F22: during an upgrade the older binary leaves alone what the newer one has
// in hand, says so, and goes on with the rest.
func TestF22_an_older_and_a_newer_binary(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, emulator.Options{}, clusterConfig)
	old := c.server
	c.issue(t, "live", "strict-app", time.Hour)
	next := c.join(t, func(s *setup) { s.build = newer })
	tok, p := next.refresh(t, "live")
	if p != nil {
		t.Fatal(p)
	}
	eventually(t, "the older one serves what the newer one obtained", func() error {
		got, err := old.tryToken("live")
		if err == nil && got.AccessToken != tok.AccessToken {
			err = errors.New("another token")
		}
		return err
	})
	alter(t, c.url, `UPDATE tokens SET expires_at = 1, next_at = NULL WHERE name = 'live'`)
	sent := c.em.Count("token")
	if _, p := old.refresh(t, "live"); p == nil || !strings.Contains(fmt.Sprint(p)+p.Detail, "newer") {
		t.Errorf("the older one, asked for a refresh: %v", p)
	}
	if n := c.em.Count("token") - sent; n != 0 {
		t.Errorf("%d token requests of the older one", n)
	}
	if _, p := next.refresh(t, "live"); p != nil {
		t.Error(p)
	}
	// What the newer one has not touched is the older one's as before.
	c.issue(t, "crm", "rotate-app", time.Hour)
	if _, p := old.refresh(t, "crm"); p != nil {
		t.Error(p)
	}
	c.oracles(t)
}

// F19: a replica whose clock is ten minutes off claims, waits and serves by the
// database's clock and its own monotonic one.
func TestF19_clocks_that_differ(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, emulator.Options{}, numbered(clusterConfig, "strict", 6))
	for _, off := range []string{"10m", "-10m"} {
		c.join(t, func(s *setup) { s.build, s.env = points, append(s.env, "FRESHET_CLOCK="+off) })
	}
	for n := range 6 {
		name := fmt.Sprint("strict", n)
		c.issue(t, name, "strict-app", 0)
		before := c.em.Count("token")
		c.together(4, func(s *server) {
			tok, err := s.tryToken(name)
			if err != nil {
				t.Error(err)
			} else if err := c.em.Valid(tok.AccessToken); err != nil {
				t.Error(err)
			}
		})
		// A clock that is ahead takes a token for spent that is not; it may ask
		// once more, one after the other.
		if n := c.em.Count("token") - before; n < 1 || n > 3 {
			t.Errorf("%d token requests", n)
		}
	}
	c.oracles(t)
}

// F26: what people do on one replica while a refresh is under way on another.
func TestF26_people_on_one_replica_and_a_refresh_on_the_other(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) (c *cluster, a, b *server, first <-chan error, go_on func()) {
		t.Helper()
		c = newCluster(t, 2, emulator.Options{}, clusterConfig)
		set, file := hold(t, failpoint.RespBody)
		a, b = c.failing(t, 0, set), c.members[1]
		c.issue(t, "crm", "rotate-app", 0)
		first = a.later("crm")
		exists(t, file)
		return c, a, b, first, func() { os.Remove(file) }
	}
	t.Run("F26 reconnecting wins", func(t *testing.T) {
		t.Parallel()
		c, a, b, first, goOn := begin(t)
		set, err := c.em.Issue("rotate-app", "user-of-crm", "read")
		if err != nil {
			t.Fatal(err)
		}
		b.put(t, "crm", map[string]any{"access_token": set.Access, "refresh_token": set.Refresh, "token_type": "Bearer", "expires_in": 3600})
		goOn()
		<-first
		for _, s := range []*server{a, b} {
			eventually(t, "the person's token is served", func() error {
				tok, err := s.tryToken("crm")
				if err == nil && tok.AccessToken != set.Access {
					err = errors.New("another token")
				}
				return err
			})
		}
		if n := query[int](t, c.url, `SELECT count(*) FROM orphans`); n != 1 {
			t.Errorf("%d orphans", n)
		}
	})
	t.Run("F26 deleting leaves nothing, and the late token is revoked", func(t *testing.T) {
		t.Parallel()
		c, _, b, first, goOn := begin(t)
		if r := b.ask(t, "DELETE", "/api/v1/connections/crm", nil); r.status >= 300 {
			t.Fatal(r)
		}
		goOn()
		if err := <-first; err == nil {
			t.Error("its caller got a token of a connection that is gone")
		}
		eventually(t, "the token and its grant are revoked", func() error {
			if n := c.em.Count("revoke"); n < 2 {
				return fmt.Errorf("%d revocations", n)
			}
			return nil
		})
		if n := query[int](t, c.url, `SELECT (SELECT count(*) FROM tokens WHERE name = 'crm') + (SELECT count(*) FROM orphans)`); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	})
	t.Run("F26 an edit is in force for the next request", func(t *testing.T) {
		t.Parallel()
		c, a, b, first, goOn := begin(t)
		def := fmt.Sprintf(`connections: { crm: { client: rotates, grant: refresh_token, api: { base_url: "%s/elsewhere" } } }`, c.base)
		if r := b.ask(t, "POST", "/api/v1/apply", strings.NewReader(def), "Content-Type", "application/yaml"); r.status != http.StatusOK {
			t.Fatal(r)
		}
		goOn()
		if err := <-first; err != nil {
			t.Error(err)
		}
		soon(t, "the edit is in force where the refresh was", func() bool { return a.call(t, "GET", "crm", "/me", nil).status == http.StatusNotFound })
		tok := b.token(t, "crm")
		if err := c.em.Valid(tok.AccessToken); err != nil {
			t.Error(err)
		}
		c.oracles(t)
	})
}

// F69: the database is killed again and again while two replicas refresh, with
// synchronous_commit off as its default. No rotated token that was handed out is
// lost.
func TestF69_the_database_is_killed_in_a_storm(t *testing.T) {
	t.Parallel()
	kills, connections := 4, 12
	if testing.Short() {
		kills = 1
	}
	pg := pgtest.Start(t, "synchronous_commit=off", "wal_writer_delay=10s")
	c := newClusterOn(t, pg.Database(t), 2, emulator.Options{}, numbered(clusterConfig, "strict", connections))
	var names []string
	for n := range connections {
		names = append(names, fmt.Sprint("strict", n))
		c.issue(t, names[n], "strict-app", time.Hour)
	}
	var stop atomic.Bool
	var served atomic.Int64
	generation := map[string]*atomic.Int64{}
	var wg sync.WaitGroup
	for i, name := range names {
		seen := &atomic.Int64{}
		generation[name] = seen
		s := c.members[i%2]
		wg.Go(func() {
			for !stop.Load() {
				if tok, err := s.forced(name); err == nil {
					seen.Store(tok.Generation)
					served.Add(1)
				} else {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	for range kills {
		goal := served.Load() + int64(2*connections)
		eventually(t, "the storm goes on", func() error {
			if served.Load() < goal {
				return errNotYet
			}
			return nil
		})
		pg.Kill9(t)
		pg.Restart(t)
	}
	stop.Store(true)
	wg.Wait()
	for _, s := range c.members {
		eventually(t, "it is ready, and all answers are stored", func() error {
			if r := s.ask(t, "GET", "/readyz", nil); r.status != http.StatusOK {
				return errors.New(r.String())
			}
			if n := query[int](t, c.url, `SELECT count(*) FROM tokens WHERE attempt <> ''`); n != 0 {
				return fmt.Errorf("%d attempts are open", n)
			}
			return nil
		})
	}
	for _, name := range names {
		eventually(t, "each grant works once more", func() error {
			tok, err := c.forced(name)
			if err != nil {
				return err
			}
			if last := generation[name].Load(); tok.Generation <= last {
				t.Fatalf("%s: generation %d was handed out, the next is %d", name, last, tok.Generation)
			}
			return c.em.Valid(tok.AccessToken)
		})
	}
	for _, breach := range c.em.CheckOracles(func(emulator.Reuse) bool { return false }) {
		t.Error(breach)
	}
	t.Logf("%d refreshes over %d kills", served.Load(), kills)
}

// F71: a standby that had not received the last commits takes over. Nobody sends
// a refresh token before a person has looked, whichever replica it is, and both
// go on when one is told.
func TestF71_a_standby_that_lags_takes_over(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t)
	url := primary.Database(t)
	standby := primary.Standby(t)
	both := pgtest.Either(pgtest.Name(url), primary, standby)
	c := newClusterOn(t, both, 2, emulator.Options{}, clusterConfig)
	a, b := c.members[0], c.members[1]
	c.issue(t, "due", "strict-app", time.Hour)
	c.issue(t, "live", "strict-app", time.Hour)
	eventually(t, "the standby has it all", func() error {
		if n := query[int](t, standby.URL(pgtest.Name(url)), `SELECT count(*) FROM tokens WHERE gen = 1`); n != 2 {
			return errNotYet
		}
		return nil
	})
	standby.Lag(t)
	tok, p := a.refresh(t, "due") // rotated, and nobody but the primary knows
	if p != nil {
		t.Fatal(p)
	}
	sent := c.em.Count("token")
	primary.Kill9(t)
	standby.Promote(t)
	for _, s := range c.members {
		eventually(t, "it rests", func() error {
			r, err := s.try(t.Context(), "GET", "/api/v1/doctor", nil)
			if err == nil && !bytes.Contains(r.body, []byte("last commits may be missing")) {
				err = errors.New(r.String())
			}
			return err
		})
	}
	// What lives is served; what was rotated is not sent again.
	if got, err := a.tryToken("due"); err != nil || got.AccessToken != tok.AccessToken {
		t.Errorf("what was obtained is not served: %v", err)
	}
	b.token(t, "live")
	time.Sleep(3 * time.Second) // longer than any look takes
	if n := c.em.Count("token") - sent; n != 0 {
		t.Errorf("%d token requests before anybody looked", n)
	}
	if err := b.client.Do(t.Context(), "POST", "/api/v1/resume", nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.members {
		eventually(t, "it goes on", func() error {
			if _, p := s.refresh(t, "live"); p != nil {
				return p
			}
			return nil
		})
	}
}

// F12: a shared store is restored from a backup; no replica refreshes anything
// by itself before a person has looked, and one word to one replica is enough.
func TestF12_a_restored_database(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, emulator.Options{}, clusterConfig)
	c.issue(t, "due", "strict-app", time.Hour)
	each := c.issue(t, "each", "strict-app", time.Hour)
	file := filepath.Join(t.TempDir(), "backup.db")
	if code := c.cli(t, "backup", file).exit(t); code != 0 {
		t.Fatal("no backup")
	}
	if _, p := c.refresh(t, "due"); p != nil { // what the backup has is spent
		t.Fatal(p)
	}
	for _, s := range c.members {
		s.stop(t)
	}
	empty := pgtest.Database(t)
	restore := c.set.build.run(t, nil, "restore", file, "--database-url", empty, "--master-key-file", filepath.Join(c.dir, "master.key"), "--data", t.TempDir())
	if code := restore.exit(t); code != 0 {
		t.Fatal(restore.err.String())
	}
	for i := range c.members {
		c.members[i] = c.members[i].again(t, func(s *setup) {
			s.env = append(slices.Clone(s.env), "FRESHET_DATABASE_URL="+empty)
			s.config = ""
		})
	}
	sent := c.em.Count("token")
	for i, s := range c.members {
		// What lives is served, although its policy wants a new one at each use.
		if tok, err := s.tryToken("each"); err != nil || tok.AccessToken != each.Access {
			t.Errorf("server %d: %v", i, err)
		}
		if r := s.ask(t, "GET", "/api/v1/doctor", nil); !bytes.Contains(r.body, []byte("restored backup")) {
			t.Errorf("server %d does not say that it rests: %s", i, r)
		}
	}
	time.Sleep(3 * time.Second) // longer than any look takes
	if n := c.em.Count("token") - sent; n != 0 {
		t.Errorf("%d token requests before anybody confirmed", n)
	}
	if code := c.members[1].cli(t, "resume").exit(t); code != 0 {
		t.Fatal("resume")
	}
	for _, s := range c.members {
		eventually(t, "it goes on", func() error {
			r := s.ask(t, "GET", "/api/v1/doctor", nil)
			if bytes.Contains(r.body, []byte("it rests")) {
				return errors.New(r.String())
			}
			return nil
		})
	}
	before := c.em.Count("token")
	c.members[0].token(t, "each")
	if n := c.em.Count("token") - before; n != 1 {
		t.Errorf("%d token requests afterwards", n)
	}
}

// forced is refresh without a test to fail.
func (s *server) forced(name string) (tok struct {
	AccessToken string `json:"access_token"`
	Generation  int64  `json:"generation"`
}, err error) {
	err = s.client.Do(context.Background(), "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, &tok)
	return tok, err
}
