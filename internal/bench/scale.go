package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

// scale measures a server of 100,000 connections.
func (r *runner) scale(ctx context.Context) error {
	return r.crowd(ctx, "scale", 100_000, time.Second, 80<<20)
}

// million measures one of ten times as many.
func (r *runner) million(ctx context.Context) error {
	if err := r.crowd(ctx, "million", 1_000_000, 2*time.Second, 300<<20); err != nil {
		return err
	}
	st, err := r.open(ctx, r.data("million"))
	if err != nil {
		return err
	}
	defer st.Close()
	for _, due := range []int{100, 1000} {
		if err := makeDue(ctx, st, due); err != nil {
			return err
		}
		var took []float64
		for range 21 {
			began := time.Now()
			rows, err := st.Due(ctx, due)
			if err != nil {
				return err
			}
			if len(rows) != due {
				return fmt.Errorf("%d rows are due, want %d", len(rows), due)
			}
			took = append(took, float64(time.Since(began)))
		}
		m := time.Duration(median(took))
		row := Row{Profile: "million", Name: fmt.Sprintf("look for what is due: %d of 1,000,000", due), Value: m.Round(time.Microsecond).String()}
		if due == 100 {
			row.Goal, row.Met = "≤ 10 ms", goal(m <= 10*time.Millisecond)
		}
		r.add(row)
	}
	return nil
}

// makeDue has every row rest until tomorrow but n of them, which are due.
func makeDue(ctx context.Context, st *store.Store, n int) error {
	tomorrow := time.Now().Add(24 * time.Hour).UnixMilli()
	for moved := int64(1); moved > 0; {
		// A million rows in one statement are more than PostgreSQL is given time for.
		if err := st.DB().Tx(ctx, func(tx store.Querier) (err error) {
			moved, err = tx.Exec(ctx, `UPDATE tokens SET next_at = $1 WHERE id IN (SELECT id FROM tokens WHERE next_at IS NULL OR next_at <> $1 LIMIT 50000)`, tomorrow)
			return err
		}); err != nil {
			return err
		}
	}
	return st.DB().Tx(ctx, func(tx store.Querier) error {
		_, err := tx.Exec(ctx, `UPDATE tokens SET next_at = $1 WHERE id IN (SELECT id FROM tokens ORDER BY id LIMIT $2)`, time.Now().Add(-time.Minute).UnixMilli(), n)
		return err
	})
}

// open opens the store of a server that was stopped.
func (r *runner) open(ctx context.Context, dir string) (*store.Store, error) {
	if r.o.DatabaseURL != "" {
		return postgres.Open(ctx, postgres.Options{URL: r.o.DatabaseURL})
	}
	return sqlite.Open(ctx, dir, sqlite.Options{})
}

// crowd measures the start and the memory of a server with many connections.
func (r *runner) crowd(ctx context.Context, profile string, connections int, start time.Duration, most int64) error {
	const perFile = 10_000
	_, base, err := r.provider(time.Hour)
	if err != nil {
		return err
	}
	dir := filepath.Join(r.dir, profile+"-config")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	head := fmt.Sprintf("network: { allow: [\"127.0.0.0/8\"] }\nproviders:\n  p: { token_url: %q }\nclients:\n  c: { provider: p, id: bench, secret: bench-secret-of-some-length }\n", base+"/token")
	if err := os.WriteFile(filepath.Join(dir, "0000.yaml"), []byte(head), 0o600); err != nil {
		return err
	}
	for f := range connections / perFile {
		var b strings.Builder
		b.WriteString("connections:\n")
		for i := range perFile {
			fmt.Fprintf(&b, "  c%03d%06d: { client: c, grant: client_credentials }\n", f, i)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d.yaml", f+1)), []byte(b.String()), 0o600); err != nil {
			return err
		}
	}
	s, err := r.serve(ctx, r.data(profile), append(r.database(), "--config", dir)...)
	if err != nil {
		return err
	}
	r.progress("  %d connections applied in %v", connections, s.took.Round(time.Second))
	s.stop()
	var took []float64
	for range 3 {
		if s, err = r.serve(ctx, r.data(profile), r.database()...); err != nil {
			return err
		}
		took = append(took, float64(s.took))
		s.stop()
	}
	m, many := time.Duration(median(took)), thousands(connections)
	r.add(Row{Profile: profile, Name: "start with " + many + " connections", Value: m.Round(time.Millisecond).String(), Goal: "≤ " + start.String(), Met: goal(m <= start)})
	return r.memory(ctx, profile, "memory with "+many+" connections", profile, most)
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// replicas measures how many refreshes a second one, two and three servers over
// one database make.
func (r *runner) replicas(ctx context.Context) error {
	if r.o.DatabaseURL == "" {
		r.progress("  left out: replicas share a PostgreSQL, see --database-url")
		return nil
	}
	_, base, err := r.provider(time.Hour)
	if err != nil {
		return err
	}
	config, err := r.stormConfig(base)
	if err != nil {
		return err
	}
	key := filepath.Join(r.dir, "master.key")
	if err := masterKey(key); err != nil {
		return err
	}
	var servers []*served
	for n := range 3 {
		args := append(r.database(), "--master-key-file", key)
		if n == 0 {
			args = append(args, "--config", config)
		}
		s, err := r.serve(ctx, r.data(fmt.Sprint("replica-", n)), args...)
		if err != nil {
			return err
		}
		if n > 0 {
			s.key = servers[0].key
		}
		servers = append(servers, s)
		began := time.Now()
		if failed := refreshAll(ctx, servers, stormSize); failed > 0 {
			return fmt.Errorf("%d of %d refreshes failed", failed, stormSize)
		}
		r.add(Row{Profile: "replicas", Name: fmt.Sprintf("refreshes by %d replica(s)", n+1), Value: fmt.Sprintf("%.0f/s", stormSize/time.Since(began).Seconds())})
	}
	return nil
}

// masterKey makes the key file that replicas share.
func masterKey(path string) error {
	key := make([]byte, 32)
	rand.Read(key)
	return os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key)), 0o600)
}
