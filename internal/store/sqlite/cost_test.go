package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// A planner reads how SQLite goes about each SELECT of the store.
type planner struct {
	*DB
	t     *testing.T
	plans []string
}

func (p *planner) Read() store.Querier { return planning{p.DB.Read(), p} }

type planning struct {
	store.Querier
	p *planner
}

func (q planning) Query(ctx context.Context, query string, args ...any) (store.Rows, error) {
	q.explain(query, args)
	return q.Querier.Query(ctx, query, args...)
}

func (q planning) QueryRow(ctx context.Context, query string, args ...any) store.Scanner {
	q.explain(query, args)
	return q.Querier.QueryRow(ctx, query, args...)
}

func (q planning) explain(query string, args []any) {
	rows, err := q.p.read.Query("EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		q.p.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			q.p.t.Fatal(err)
		}
		q.p.plans = append(q.p.plans, detail)
	}
}

// With 100,000 idle connections, what the server asks again and again is
// answered from an index, and its cost follows what it finds.
func TestIdleRowsCostNothing(t *testing.T) {
	dir := t.TempDir()
	st := makeDB(t, dir, "one")
	ctx := t.Context()
	idle := 100_000
	if raced {
		idle = 2_000
	}
	if err := st.DB().Tx(ctx, func(tx store.Querier) error {
		_, err := tx.Exec(ctx, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO tokens (id, name, client, provider, gen, sealed, digest, state, next_at, updated_at)
			SELECT 'id-' || i, 'c' || i, 'c', 'p', 1, x'00', CAST('d' || i AS BLOB), 'ok', $2 + i, 0 FROM n`, idle, time.Now().Add(time.Hour).UnixMilli())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	p := &planner{DB: st.DB().(*DB), t: t}
	s := store.New(p)
	for name, c := range map[string]struct {
		ask   func() error
		index string
	}{
		"what is due":                    {func() error { _, err := s.Due(ctx, 100); return err }, "tokens_due (next_at>? AND next_at<?)"},
		"when something is due":          {func() error { _, err := s.NextDue(ctx); return err }, "SEARCH tokens USING COVERING INDEX tokens_due"},
		"what nobody works on":           {func() error { _, err := s.OpenAttempts(ctx, "me", 100); return err }, "tokens_open"},
		"a connection":                   {func() error { _, err := s.Token(ctx, "id-7"); return err }, "sqlite_autoindex_tokens_1 (id=?)"},
		"a connection by name":           {func() error { _, err := s.TokenByName(ctx, "c7"); return err }, "sqlite_autoindex_tokens_2 (name=?)"},
		"a page of connections":          {func() error { _, err := s.Tokens(ctx, "c7", "", 10); return err }, "sqlite_autoindex_tokens_2 (name>?)"},
		"a page of those in trouble":     {func() error { _, err := s.Tokens(ctx, "c7", freshet.StateReauth, 10); return err }, "tokens_state (state=? AND name>?)"},
		"the same refresh token":         {func() error { _, err := s.SameRefreshToken(ctx, "p", []byte("d9"), "id-1"); return err }, "tokens_digest (provider=? AND digest=?)"},
		"refresh tokens that end":        {func() error { _, err := s.Lapsing(ctx, time.Now(), time.Now(), 10); return err }, "tokens_lapse (refresh_expires>? AND refresh_expires<?)"},
		"events of a connection":         {func() error { _, err := s.Events(ctx, "c7", 0, 10); return err }, "events_connection (connection=? AND seq>?)"},
		"the last events":                {func() error { _, err := s.LastEvents(ctx, "", 10); return err }, "INTEGER PRIMARY KEY (rowid<?)"},
		"the last events of one":         {func() error { _, err := s.LastEvents(ctx, "c7", 10); return err }, "events_connection (connection=? AND seq<?)"},
		"letters":                        {func() error { _, err := s.DueLetters(ctx, "revoke", 10); return err }, "outbox_due (next_at<?)"},
		"a resource":                     {func() error { _, err := s.Resource(ctx, "clients", "a"); return err }, "(kind=? AND name=?)"},
		"a page of resources":            {func() error { _, err := s.Resources(ctx, "clients", "a", 10); return err }, "(kind=? AND name>?)"},
		"what refers to a resource":      {func() error { _, err := s.Referrers(ctx, "clients", "a", 10); return err }, "resource_refs_target (kind=? AND name=?)"},
		"a page of what is sealed":       {func() error { _, _, err := s.SealedAfter(ctx, nil, "tokens:id-5", 10); return err }, "(id>?)"},
		"the last runs":                  {func() error { _, err := s.Runs(ctx, store.RunFilter{}, 10); return err }, "sqlite_autoindex_runs_1 (id>? AND id<?)"},
		"the last runs of a name":        {func() error { _, err := s.Runs(ctx, store.RunFilter{Name: "a"}, 10); return err }, "runs_name (name=? AND id>? AND id<?)"},
		"the last runs of a status":      {func() error { _, err := s.Runs(ctx, store.RunFilter{Status: "running"}, 10); return err }, "runs_status (status=? AND id>? AND id<?)"},
		"the last runs that faulted":     {func() error { _, err := s.Runs(ctx, store.RunFilter{Name: "a", Status: "faulted"}, 10); return err }, "runs_faulted (name=? AND id>? AND id<?)"},
		"what a run started":             {func() error { _, err := s.Runs(ctx, store.RunFilter{Parent: "a"}, 10); return err }, "runs_parent (parent=? AND id>? AND id<?)"},
		"runs by correlation id":         {func() error { _, err := s.Runs(ctx, store.RunFilter{Correlation: "a"}, 10); return err }, "SEARCH run_correlations USING PRIMARY KEY (head=? AND run>? AND run<?)"},
		"the run with a key":             {func() error { _, err := s.RunByKey(ctx, "a"); return err }, "runs_key (key=?)"},
		"steps of a run":                 {func() error { _, err := s.RunStepLists(ctx, "a", 1, 10); return err }, "sqlite_autoindex_run_steps_1 (run=? AND first>?)"},
		"where a name's old runs begin":  {func() error { _, err := s.RunAt(ctx, "a", false, 100); return err }, "COVERING INDEX runs_name (name=?)"},
		"the end of the audit":           {func() error { _, err := s.LastAudit(ctx); return err }, "SCAN audit"}, // backwards, of one row
		"the end of the audit, filtered": {func() error { _, err := s.AuditBefore(ctx, 1<<60, store.AuditFilter{}, 10); return err }, "INTEGER PRIMARY KEY (rowid<?)"},
	} {
		t.Run(name, func(t *testing.T) {
			p.plans = nil
			if err := c.ask(); err != nil && !strings.Contains(err.Error(), "no such row") {
				t.Fatal(err)
			}
			plan := strings.Join(p.plans, "; ")
			if !strings.Contains(plan, c.index) {
				t.Errorf("%s\nwant %s", plan, c.index)
			}
			if name != "what refers to a resource" && strings.Contains(plan, "TEMP B-TREE FOR ORDER BY") {
				t.Errorf("it reads all that it finds and sorts it: %s", plan)
			}
		})
	}
	due, err := s.Due(ctx, 100)
	if err != nil || len(due) != 0 {
		t.Errorf("%d are due, %v", len(due), err)
	}
}

// A start on a database of the present schema is a handful of statements: it
// does not go through the migrations to learn that there is nothing to do.
func TestStartIsShort(t *testing.T) {
	dir := t.TempDir()
	makeDB(t, dir, "one").Close()
	n := 0
	st, err := Open(t.Context(), dir, Options{connector: func(c driver.Connector) driver.Connector {
		return tripConnector{c, func() { n++ }}
	}})
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	if n > 6 {
		t.Errorf("it took %d statements", n)
	}
}

// BenchmarkStart opens an existing database of so many connections.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			st, err := Open(b.Context(), dir, Options{})
			if err != nil {
				b.Fatal(err)
			}
			if err := st.DB().Tx(b.Context(), func(tx store.Querier) error { return fillTokens(tx, n) }); err != nil {
				b.Fatal(err)
			}
			st.Close()
			for b.Loop() {
				st, err := Open(b.Context(), dir, Options{})
				if err != nil {
					b.Fatal(err)
				}
				st.Close()
			}
		})
	}
}
