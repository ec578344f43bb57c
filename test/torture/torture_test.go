//go:build unix

package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func number(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv("FRESHET_TORTURE_" + name)); err == nil && n > 0 {
		return n
	}
	return or
}

func TestTorture(t *testing.T) {
	p := plan{
		seed: uint64(number("SEED", int(time.Now().UnixNano()%1_000_000))), replicas: 3, connections: number("CONNECTIONS", 40),
		refreshes: number("REFRESHES", 400), kills: number("KILLS", 12), pgKills: number("PG_KILLS", 2),
		limit: time.Duration(number("MINUTES", 4)) * time.Minute,
	}
	t.Logf("seed %d: FRESHET_TORTURE_SEED=%d repeats the plan", p.seed, p.seed)
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), p.limit)
	w.ctx = ctx
	began := time.Now()
	over := func() bool {
		return w.granted() >= p.refreshes && w.counted("replicas killed") >= p.kills && w.counted("databases killed") >= p.pgKills
	}
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() { w.call(n) })
	}
	for n := range p.replicas - 1 { // one is left alone, most of the time
		wg.Go(func() { w.tormentReplicas(n) })
	}
	wg.Go(w.tormentProvider)
	w.tormentDatabase(t, over)
	if err := ctx.Err(); err != nil && !over() {
		t.Errorf("in %s there were %d refreshes of %d, %d of %d kills, %d of %d kills of the database", p.limit, w.granted(), p.refreshes,
			w.counted("replicas killed"), p.kills, w.counted("databases killed"), p.pgKills)
	}
	cancel()
	wg.Wait()
	took := time.Since(began)

	// The storm is over. Everything must come right by itself.
	calm, end := context.WithTimeout(t.Context(), 8*time.Minute)
	defer end()
	w.ctx = calm
	w.provider.heal()
	for _, r := range w.replicas {
		r.mu.Lock()
		r.db.heal()
		r.unfreeze()
		select {
		case <-r.done:
			if err := r.revive(w.random("last")); err != nil {
				t.Error(err)
			}
		default:
		}
		r.mu.Unlock()
	}
	for name, why := range w.settle(calm) {
		w.breach("O4: %s does not come right: %s", name, why)
	}
	if len(w.breaches) == 0 {
		w.fsyncs(calm, t)
	}
	w.look(t)
	for _, r := range w.replicas {
		r.stop(t)
	}
	for _, b := range w.breaches {
		t.Error(b)
	}
	if t.Failed() {
		t.Logf("seed %d", p.seed)
		for _, r := range w.replicas {
			if dir := os.Getenv("FRESHET_TORTURE_LOGS"); dir != "" {
				os.WriteFile(filepath.Join(dir, fmt.Sprintf("replica-%d.log", r.n)), r.log.bytes(), 0o600)
			}
		}
	}
	w.report(t, took)
}

// refreshOnce is O4: one more refresh works; or the connection says by name that
// its grant was lost, where no client could have kept it.
func (w *world) refreshOnce(ctx context.Context, r *replica, name string) error {
	c := r.client.Load()
	if c == nil {
		return errDown
	}
	var tok api.Token
	if err := c.Do(ctx, "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, nil); err != nil {
		w.judge(r, name, err)
		return err
	}
	if err := c.Do(ctx, "GET", "/api/v1/connections/"+name+"/token", nil, &tok); err != nil {
		return err
	}
	if err := w.em.Valid(tok.AccessToken); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if tok.Generation < w.seen[name] {
		return fmt.Errorf("it is at generation %d, but a caller was shown %d", tok.Generation, w.seen[name])
	}
	return nil
}

// fsyncs refreshes every connection once more, one after the other, and counts
// how often the database forced its log to the disk: a claim and a commit each,
// although its default is not to wait for that.
func (w *world) fsyncs(ctx context.Context, t *testing.T) {
	c, err := pgx.Connect(ctx, w.pg.SuperURL(pgtest.Name(w.db)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	syncs := func() (n int) {
		if err := c.QueryRow(ctx, `SELECT wal_sync FROM pg_stat_wal`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before, given := syncs(), w.granted()
	for _, name := range w.names() {
		w.refreshOnce(ctx, w.replicas[0], name)
	}
	given = w.granted() - given
	n := syncs() - before
	for n < 2*given && ctx.Err() == nil { // backends tell their figures a second late
		time.Sleep(100 * time.Millisecond)
		n = syncs() - before
	}
	if n < 2*given {
		w.breach("F70: %d tokens were stored with %d fsyncs of the database's log", given, n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[fmt.Sprintf("fsyncs of the database's log for %d refreshes one after the other", given)] = n
}

// look asks the provider and the places where tokens must not be.
func (w *world) look(t *testing.T) {
	// What the server recorded as open, by connection.
	open := map[string][]time.Time{}
	c, err := pgx.Connect(t.Context(), w.db)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	rows, err := c.Query(t.Context(), `SELECT connection, at FROM events WHERE type = 'refresh.uncertain' ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var at int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &at}, func() error {
		open[name] = append(open[name], time.UnixMilli(at))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	allowed := func(r emulator.Reuse) bool {
		if string(r.FirstOutcome) == "refused" && w.model[r.Client].loses {
			return true // a dead token, which a person's forced refresh tries once more
		}
		first, second := w.began.Add(time.Duration(r.First)), w.began.Add(time.Duration(r.Second))
		for _, at := range open[r.Client] {
			for _, clock := range clocks { // of the replica that wrote it down
				wrong, err := time.ParseDuration(clock)
				if err != nil {
					panic(err)
				}
				if at := at.Add(-wrong); at.After(first.Add(-time.Second)) && at.Before(second.Add(time.Second)) {
					return true
				}
			}
		}
		return false
	}
	family := regexp.MustCompile(`^O3: (\d+) families of client (\S+) `)
	for _, b := range w.em.CheckOracles(allowed) {
		if m := family.FindStringSubmatch(b); m != nil && w.model[m[2]].loses {
			n, _ := strconv.Atoi(m[1])
			w.count("families that a lost answer cost")
			_ = n
			continue
		}
		w.breach("%s", b)
	}

	// O6: logs, metrics, files, and every row of the database.
	for _, r := range w.replicas {
		emulatortest.NoCanary(t, w.em, fmt.Sprintf("the log of replica %d", r.n), r.log.bytes())
		if strings.Contains(string(r.log.bytes()), w.masterKey) {
			w.breach("O6: replica %d prints the master key", r.n)
		}
		filepath.WalkDir(r.dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil
			}
			if b, err := os.ReadFile(path); err == nil {
				emulatortest.NoCanary(t, w.em, path, b)
			}
			return nil
		})
		if m := regexp.MustCompile(`metrics[^\n]*?(127\.0\.0\.1:\d+)`).FindAllStringSubmatch(string(r.log.bytes()), -1); len(m) > 0 {
			if res, err := http.Get("http://" + m[len(m)-1][1] + "/metrics"); err == nil {
				b, _ := io.ReadAll(res.Body)
				res.Body.Close()
				emulatortest.NoCanary(t, w.em, "metrics", b)
			}
		}
	}
	tables, err := c.Query(t.Context(), `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(tables, pgx.RowTo[string])
	if err != nil || len(list) < 5 {
		t.Fatal(list, err)
	}
	for _, table := range list {
		if table == "torture_state" {
			continue
		}
		var dump search
		// As text: what is sealed shows as hexadecimal digits, what is not as itself.
		if _, err := c.PgConn().CopyTo(t.Context(), &dump, `COPY `+pgx.Identifier{table}.Sanitize()+` TO STDOUT`); err != nil {
			t.Fatal(err)
		}
		emulatortest.NoCanary(t, w.em, "table "+table, dump.b)
	}
}

// search keeps what is copied into it.
type search struct{ b []byte }

// Write appends.
func (s *search) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	if len(s.b) > 1<<30 {
		return 0, errors.New("more than a run can have left behind")
	}
	return len(p), nil
}
