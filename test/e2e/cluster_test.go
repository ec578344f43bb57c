package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

// A cluster is several servers on one PostgreSQL, and a provider. The first of
// them is the world's own server.
type cluster struct {
	*world
	url     string // of the database
	members []*server
}

// clusterConfig has a connection for each model of provider whose grace is short
// enough for a lease to lapse while a test waits: the deadline is a third of it,
// the lease half.
const clusterConfig = `
providers:
  rotates: { token_url: "${EMULATOR}/token", revocation_url: "${EMULATOR}/revoke", client_auth: basic, rotation: { kind: always, reuse: refused } }
  strict:  { token_url: "${EMULATOR}/token", revocation_url: "${EMULATOR}/revoke", client_auth: basic, rotation: { kind: always, reuse: revokes } }
  lends:   { token_url: "${EMULATOR}/token", revocation_url: "${EMULATOR}/revoke", client_auth: basic, rotation: { kind: always, grace: 6s, reuse: revokes } }
clients:
  rotates: { provider: rotates, id: rotate-app, secret: rotate-secret }
  strict:  { provider: strict, id: strict-app, secret: strict-secret }
  lends:   { provider: lends, id: grace-app, secret: grace-secret }
connections:
  crm:    { client: rotates, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  due:    { client: strict, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  live:   { client: strict, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  each:   { client: strict, grant: refresh_token, refresh: { when: every_use } }
  lent:   { client: lends, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
`

// numbered is a configuration with n more connections of a client, which no
// server has heard of before a test asks for one.
func numbered(config, client string, n int) string {
	for i := range n {
		config += fmt.Sprintf("  %s%d: { client: %s, grant: refresh_token }\n", client, i, client)
	}
	return config
}

// newCluster starts n servers on a fresh database of the shared PostgreSQL.
func newCluster(t *testing.T, n int, o emulator.Options, config string) *cluster {
	t.Helper()
	return newClusterOn(t, pgtest.Database(t), n, o, config)
}

func newClusterOn(t *testing.T, url string, n int, o emulator.Options, config string) *cluster {
	t.Helper()
	em, base := emulatortest.Start(t, o)
	c := &cluster{url: url}
	c.world = &world{em: em, base: base, server: start(t, setup{config: "network: { allow: [\"127.0.0.0/8\"] }\n" + config, env: []string{"EMULATOR=" + base, "FRESHET_DATABASE_URL=" + url}})}
	c.members = []*server{c.server}
	for range n - 1 {
		c.join(t, nil)
	}
	return c
}

// join starts one more server, with the master key of the first and a copy of
// its admin key.
func (c *cluster) join(t *testing.T, change func(*setup)) *server {
	t.Helper()
	s := setup{dir: filepath.Join(t.TempDir(), "data"), env: slices.Clone(c.set.env)}
	share(t, c.dir, s.dir)
	if change != nil {
		change(&s)
	}
	v := start(t, s)
	c.members = append(c.members, v)
	return v
}

// share brings what replicas have in common from one data directory to another.
func share(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"master.key", "admin.key"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// with starts a member again with other settings, or another build.
func (c *cluster) with(t *testing.T, i int, change func(*setup)) *server {
	t.Helper()
	c.members[i].stop(t)
	c.members[i] = c.members[i].again(t, change)
	if i == 0 {
		c.server = c.members[0]
	}
	return c.members[i]
}

// failing has a member's refreshes meet a fail point.
func (c *cluster) failing(t *testing.T, i int, set string) *server {
	t.Helper()
	return c.with(t, i, func(s *setup) { s.build, s.env = points, append(slices.Clone(s.env), "FRESHET_FAILPOINTS="+set) })
}

// together calls fn for every member at once, n times each.
func (c *cluster) together(n int, fn func(s *server)) {
	var ready, done sync.WaitGroup
	go_ := make(chan struct{})
	for _, s := range c.members {
		for range n {
			ready.Add(1)
			done.Go(func() {
				ready.Done()
				<-go_
				fn(s)
			})
		}
	}
	ready.Wait()
	close(go_)
	done.Wait()
}

// query reads one value from the database.
func query[T any](t testing.TB, url, sql string, args ...any) (v T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// alter changes the database behind the servers' backs.
func alter(t testing.TB, url, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// A link passes bytes on to the database of a URL until it is cut.
type link struct {
	l    net.Listener
	to   string
	mu   sync.Mutex
	open map[net.Conn]bool
	down bool
}

// newLink returns a link, and the URL that leads over it.
func newLink(t *testing.T, url string) (*link, string) {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	to := net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{l: l, to: to, open: map[net.Conn]bool{}}
	t.Cleanup(func() {
		l.Close()
		k.cut()
	})
	go k.serve()
	return k, strings.Replace(url, to, l.Addr().String(), 1)
}

func (k *link) serve() {
	for {
		in, err := k.l.Accept()
		if err != nil {
			return
		}
		k.mu.Lock()
		down := k.down
		k.mu.Unlock()
		if down {
			in.Close()
			continue
		}
		out, err := net.Dial("tcp", k.to)
		if err != nil {
			in.Close()
			continue
		}
		k.mu.Lock()
		k.open[in], k.open[out] = true, true
		k.mu.Unlock()
		for _, p := range [][2]net.Conn{{in, out}, {out, in}} {
			go func() {
				defer p[0].Close()
				defer p[1].Close()
				b := make([]byte, 32<<10)
				for {
					n, err := p[0].Read(b)
					if n > 0 {
						if _, err := p[1].Write(b[:n]); err != nil {
							return
						}
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}
}

// cut ends all connections, and refuses new ones until mend.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = true
	for c := range k.open {
		c.Close()
	}
	clear(k.open)
}

func (k *link) mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down = false
}

var errNotYet = errors.New("not yet")

// soon fails the test unless what holds becomes true well before anybody looks
// by himself: it was heard.
func soon(t testing.TB, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	eventually(t, what, func() error {
		if holds() {
			return nil
		}
		return errNotYet
	})
	return time.Since(began)
}
