package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

// Behind a pooler of transactions, with no way around it, replicas look for each
// other's changes every few seconds, and nothing else is different.
func TestBehindAPooler(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pooler := pgtest.Shared(t).PgBouncer(t, 5)
	c := newClusterOn(t, pooler.URL(url), 2, emulator.Options{}, numbered(clusterConfig, "rotates", 3))
	a, b := c.members[0], c.members[1]
	for n := range 3 {
		name := fmt.Sprint("rotates", n)
		c.issue(t, name, "rotate-app", 0)
		before := c.em.Count("token")
		c.together(20, func(s *server) {
			if _, err := s.tryToken(name); err != nil {
				t.Error(err)
			}
		})
		if n := c.em.Count("token") - before; n != 1 {
			t.Errorf("%d token requests", n)
		}
	}
	c.issue(t, "live", "strict-app", time.Hour)
	b.token(t, "live")
	if err := a.client.Do(t.Context(), "POST", "/api/v1/connections/live/revoke", nil, nil); err != nil {
		t.Fatal(err)
	}
	soon(t, "a revocation is found", func() bool { _, err := b.tryToken("live"); return err != nil })
	if r := a.ask(t, "DELETE", "/api/v1/connections/rotates0", nil); r.status >= 300 {
		t.Fatal(r)
	}
	soon(t, "a deletion is found", func() bool { _, err := b.tryToken("rotates0"); return err != nil })
	if r := a.ask(t, "GET", "/api/v1/doctor", nil); !strings.Contains(string(r.body), "--database-direct-url") {
		t.Errorf("it does not say what would be better: %s", r)
	}
	c.oracles(t)
}

// An answer that a replica could not store lies in its spill file: the others
// say so while it is gone, and it stores it when it is back.
func TestASpillOfAReplica(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, emulator.Options{}, clusterConfig)
	cable, over := newLink(t, c.url)
	set, file := hold(t, failpoint.RespBody)
	a := c.join(t, func(s *setup) {
		s.build, s.env = points, append(s.env, "FRESHET_DATABASE_URL="+over, "FRESHET_FAILPOINTS="+set)
	})
	c.issue(t, "due", "strict-app", 0)
	type outcome struct {
		tok api.Token
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		tok, err := a.tryToken("due")
		done <- outcome{tok, err}
	}()
	exists(t, file)
	cable.cut()
	os.Remove(file)
	first := <-done
	tok := first.tok
	if first.err != nil || c.em.Valid(tok.AccessToken) != nil {
		t.Fatalf("the answer is not served: %v", first.err)
	}
	a.kill(t)
	// As if it had been silent for a minute.
	alter(t, c.url, `UPDATE replicas SET seen_at = seen_at - 60000 WHERE place LIKE '%' || $1`, a.dir)
	eventually(t, "the other says where the answer is", func() error {
		r, err := c.try(t.Context(), "GET", "/api/v1/doctor", nil)
		if err == nil && !(bytes.Contains(r.body, []byte("left without a word")) && bytes.Contains(r.body, []byte(a.dir))) {
			err = errors.New(r.String())
		}
		return err
	})
	cable.mend()
	c.members[1] = a.again(t, func(s *setup) { s.build, s.env = plain, slices.Clone(c.set.env) })
	eventually(t, "the answer is in the database", func() error {
		got, err := c.tryToken("due")
		if err == nil && got.AccessToken != tok.AccessToken {
			err = errors.New("another token")
		}
		return err
	})
	if n := c.em.Count("token"); n != 1 {
		t.Errorf("%d token requests", n)
	}
	eventually(t, "nobody is missed any more", func() error {
		r, err := c.try(t.Context(), "GET", "/api/v1/doctor", nil)
		if err == nil && bytes.Contains(r.body, []byte("left without a word")) {
			err = errors.New(r.String())
		}
		return err
	})
	c.oracles(t)
}

// A replica with another master key, or with none, is refused and changes
// nothing.
func TestF74_a_replica_without_the_key(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, emulator.Options{}, clusterConfig)
	rows := func() string {
		return query[string](t, c.url, `SELECT (SELECT count(*) FROM meta)::text || ' ' || (SELECT count(*) FROM replicas)::text || ' ' || (SELECT count(*) FROM api_keys)::text`)
	}
	before := rows()
	other := newCluster(t, 1, emulator.Options{}, clusterConfig)
	for name, dir := range map[string]string{"no key": filepath.Join(t.TempDir(), "a"), "another installation's": other.dir} {
		if name != "no key" {
			other.stop(t)
		}
		s := plain.run(t, c.set.env, "serve", "--data", dir, "--listen", "127.0.0.1:0")
		if code := s.exit(t); code != 1 {
			t.Errorf("%s: exit %d", name, code)
		}
		text := s.err.String()
		if !strings.Contains(text, "master key") || !strings.Contains(text, "hint: ") || strings.Contains(text, pgtest.Password) {
			t.Errorf("%s: %s", name, text)
		}
	}
	if after := rows(); after != before {
		t.Errorf("rows before %s, after %s", before, after)
	}
}

// What cannot be reached or used is said in words, without the password.
func TestAWrongDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	for name, c := range map[string]struct{ url, says string }{
		"a wrong password": {strings.Replace(url, pgtest.Password, "x"+pgtest.Password, 1), "password"},
		"no such database": {pgtest.Shared(t).URL("none"), "no such database"},
		"nobody there":     {"postgres://freshet:" + pgtest.Password + "@127.0.0.1:1/freshet", "no server answers"},
		"no URL":           {"freshet:" + pgtest.Password, "postgres://"},
	} {
		s := plain.run(t, nil, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--database-url", c.url)
		if code := s.exit(t); code != 1 {
			t.Errorf("%s: exit %d", name, code)
		}
		if text := s.err.String(); !strings.Contains(text, c.says) || !strings.Contains(text, "hint: ") || strings.Contains(text, pgtest.Password) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// The master key is rotated while two replicas work.
func TestTheMasterKeyOfACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, emulator.Options{}, clusterConfig)
	a, b := c.members[0], c.members[1]
	c.issue(t, "live", "strict-app", time.Hour)
	if code := a.cli(t, "master-key", "rotate").exit(t); code == 0 {
		t.Error("one replica replaced a key that the other has a copy of")
	}
	next := filepath.Join(t.TempDir(), "next.key")
	if p := a.cli(t, "master-key", "rotate", "--prepare", next); p.exit(t) != 0 {
		t.Fatal(p.err.String())
	}
	key, err := os.ReadFile(next)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.members {
		if err := os.WriteFile(filepath.Join(s.dir, "master.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if p := a.cli(t, "master-key", "rotate"); p.exit(t) != 0 {
		t.Fatal(p.err.String())
	}
	// What one seals under the new key the other opens at once.
	tok, p := a.refresh(t, "live")
	if p != nil {
		t.Fatal(p)
	}
	eventually(t, "the other has it", func() error {
		got, err := b.tryToken("live")
		if err == nil && got.AccessToken != tok.AccessToken {
			err = errors.New("another token")
		}
		return err
	})
	if _, p := b.refresh(t, "live"); p != nil {
		t.Error(p)
	}
	for _, s := range c.members {
		if strings.Contains(s.err.String(), "connection.unreadable") {
			t.Error("a row did not open for a moment")
		}
	}
	b.stop(t)
	c.members[1] = b.again(t, nil)
	if r := c.members[1].ask(t, "GET", "/readyz", nil); r.status != http.StatusOK {
		t.Error(r)
	}
	c.oracles(t)
}

// A store that has outgrown its machine moves, and several servers go on with
// it.
func TestMigrateStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{}, setup{config: clusterConfig})
	w.issue(t, "live", "strict-app", time.Hour)
	tok, p := w.refresh(t, "live")
	if p != nil {
		t.Fatal(p)
	}
	url := pgtest.Database(t)
	if p := w.set.build.run(t, nil, "migrate-store", "--from", w.dir, "--to", url); p.exit(t) == 0 || !strings.Contains(p.err.String(), "stop the servers") {
		t.Errorf("while a server runs: %s", p.err.String())
	}
	w.stop(t)
	if p := w.set.build.run(t, nil, "migrate-store", "--from", w.dir, "--to", url); p.exit(t) != 0 || !strings.Contains(p.out.String(), "5 connections") {
		t.Fatal(p.out.String(), p.err.String())
	}
	c := &cluster{world: w, url: url}
	w.server = w.again(t, func(s *setup) { s.env = append(slices.Clone(s.env), "FRESHET_DATABASE_URL="+url) })
	c.members = []*server{w.server}
	c.join(t, nil)
	for _, s := range c.members {
		if got := s.token(t, "live"); got.AccessToken != tok.AccessToken {
			t.Error("another token than before")
		}
		if r := s.ask(t, "GET", "/api/v1/doctor", nil); bytes.Contains(r.body, []byte("it rests")) {
			t.Error(r)
		}
	}
	if _, p := c.members[1].refresh(t, "live"); p != nil {
		t.Error(p)
	}
	for _, s := range c.members {
		s.stop(t)
	}
	dir := filepath.Join(t.TempDir(), "back")
	share(t, w.dir, dir)
	if p := w.set.build.run(t, nil, "migrate-store", "--from", url, "--to", dir); p.exit(t) != 0 {
		t.Fatal(p.err.String())
	}
	home := start(t, setup{dir: dir, env: w.set.env[:1]})
	if _, p := home.refresh(t, "live"); p != nil {
		t.Error(p)
	}
	w.oracles(t)
}
