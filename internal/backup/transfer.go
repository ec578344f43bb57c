package backup

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/vault"
)

// A dialect asks a database what it holds.
type dialect struct {
	tables, columns, parents string // parents "": not asked
}

var (
	embedded = dialect{
		tables:  `SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`,
		columns: `SELECT name FROM pragma_table_info($1) ORDER BY cid`,
		parents: `SELECT DISTINCT "table" FROM pragma_foreign_key_list($1) ORDER BY 1`,
	}
	server = dialect{
		tables: `SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY 1`,
		columns: `SELECT column_name::text FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1
			ORDER BY ordinal_position`,
	}
)

// A table is one that both stores have.
type table struct {
	name    string
	columns []string
	parents []string
}

// notStores are tables of the databases' own, and of who happens to run.
func notStores(name string) bool {
	return name == "goose_db_version" || name == "replicas" || strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, "river_")
}

func list(ctx context.Context, q store.Querier, query string, args ...any) (out []string, err error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func (d dialect) list(ctx context.Context, q store.Querier) (map[string]table, error) {
	names, err := list(ctx, q, d.tables)
	if err != nil {
		return nil, err
	}
	out := map[string]table{}
	for _, n := range names {
		if notStores(n) {
			continue
		}
		t := table{name: n}
		if t.columns, err = list(ctx, q, d.columns, n); err != nil {
			return nil, err
		}
		slices.Sort(t.columns)
		if d.parents != "" {
			if t.parents, err = list(ctx, q, d.parents, n); err != nil {
				return nil, err
			}
		}
		out[n] = t
	}
	return out, nil
}

// common lists the tables of two stores, those that others refer to first. Both
// must have the same.
func common(a, b map[string]table) ([]table, error) {
	var out []table
	done := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if done[name] {
			return
		}
		done[name] = true
		t := a[name]
		if t.parents == nil {
			t.parents = b[name].parents
		}
		for _, p := range t.parents {
			visit(p)
		}
		out = append(out, t)
	}
	var names []string
	for n, t := range a {
		u, ok := b[n]
		if !ok {
			return nil, fmt.Errorf("one store has a table %s and the other has not: they are of different versions", n)
		}
		if !slices.Equal(t.columns, u.columns) {
			return nil, fmt.Errorf("the stores' tables %s have different columns: they are of different versions", n)
		}
		names = append(names, n)
	}
	for n := range b {
		if _, ok := a[n]; !ok {
			return nil, fmt.Errorf("one store has a table %s and the other has not: they are of different versions", n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		visit(n)
	}
	return out, nil
}

// A side is a store that rows come from or go to, within a transaction or on a
// file that nobody else uses.
type side struct {
	dialect
	q store.Querier
}

// rowsAtOnce is how many rows go in one statement.
const rowsAtOnce = 50

// transfer copies every row of every table into a store that has none, reads
// all of them back and compares. It returns how many there were. The epoch stays
// behind: it belongs to the place.
func transfer(ctx context.Context, from, to side, progress func(table string, rows int64)) (rows int64, err error) {
	a, err := from.list(ctx, from.q)
	if err != nil {
		return 0, err
	}
	b, err := to.list(ctx, to.q)
	if err != nil {
		return 0, err
	}
	tables, err := common(a, b)
	if err != nil {
		return 0, err
	}
	for _, t := range tables {
		var n int64
		if err := to.q.QueryRow(ctx, `SELECT count(*) FROM `+t.name).Scan(&n); err != nil {
			return 0, err
		}
		if n > 0 {
			return 0, fmt.Errorf("%w: table %s has %d rows", ErrNotEmpty, t.name, n)
		}
	}
	for _, t := range tables {
		was, err := t.copy(ctx, from.q, to.q)
		if err != nil {
			return rows, fmt.Errorf("copy table %s: %w", t.name, err)
		}
		is, err := t.sum(ctx, to.q, nil)
		if err != nil {
			return rows, fmt.Errorf("read table %s back: %w", t.name, err)
		}
		if was != is {
			return rows, fmt.Errorf("table %s: %d rows were copied, and the %d that are there now are not the same", t.name, was.rows, is.rows)
		}
		rows += was.rows
		if progress != nil {
			progress(t.name, was.rows)
		}
	}
	return rows, to.sequences(ctx, tables)
}

// A sum tells two sets of rows apart, whatever their order.
type sum struct {
	rows  int64
	lanes [4]uint64
}

// sum reads all rows, gives each to fn if there is one, and adds them up.
func (t table) sum(ctx context.Context, q store.Querier, fn func(values []any) error) (s sum, err error) {
	query := `SELECT ` + strings.Join(t.columns, ", ") + ` FROM ` + t.name
	if t.name == "meta" {
		query += ` WHERE key <> '` + store.EpochKey + `'`
	}
	rows, err := q.Query(ctx, query)
	if err != nil {
		return s, err
	}
	defer rows.Close()
	h := sha256.New()
	values, into := make([]any, len(t.columns)), make([]any, len(t.columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return s, err
		}
		h.Reset()
		for i, v := range values {
			if err := writeValue(h, v); err != nil {
				return s, fmt.Errorf("column %s: %w", t.columns[i], err)
			}
		}
		digest := h.Sum(nil)
		for i := range s.lanes {
			s.lanes[i] += binary.BigEndian.Uint64(digest[8*i:])
		}
		s.rows++
		if fn != nil {
			if err := fn(values); err != nil {
				return s, err
			}
		}
	}
	return s, rows.Err()
}

// writeValue writes a value so that no two values are written alike.
func writeValue(h hash.Hash, v any) error {
	var head [9]byte
	var body []byte
	switch v := v.(type) {
	case nil:
	case int64:
		head[0] = 1
		binary.BigEndian.PutUint64(head[1:], uint64(v))
	case float64:
		head[0] = 2
		binary.BigEndian.PutUint64(head[1:], math.Float64bits(v))
	case string:
		head[0], body = 3, []byte(v)
		binary.BigEndian.PutUint64(head[1:], uint64(len(v)))
	case []byte:
		head[0], body = 4, v
		binary.BigEndian.PutUint64(head[1:], uint64(len(v)))
	default:
		return fmt.Errorf("a value of type %T", v)
	}
	h.Write(head[:])
	h.Write(body)
	return nil
}

// copy brings all rows over and adds them up.
func (t table) copy(ctx context.Context, from, to store.Querier) (sum, error) {
	var waiting []any
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		_, err := to.Exec(ctx, t.insert(n), waiting...)
		waiting, n = waiting[:0], 0
		return err
	}
	s, err := t.sum(ctx, from, func(values []any) error {
		for _, v := range values {
			if b, ok := v.([]byte); ok {
				v = append([]byte{}, b...) // the driver uses it again
			}
			waiting = append(waiting, v)
		}
		if n++; n == rowsAtOnce {
			return flush()
		}
		return nil
	})
	return s, errors.Join(err, flush())
}

// insert is a statement for n rows.
func (t table) insert(n int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO ` + t.name + ` (` + strings.Join(t.columns, ", ") + `) VALUES `)
	arg := 0
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		for j := range t.columns {
			arg++
			b.WriteString([]string{", ", "("}[btoi(j == 0)])
			fmt.Fprintf(&b, "$%d", arg)
		}
		b.WriteByte(')')
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sequences has numbers that the database gives go on after those that came.
func (s side) sequences(ctx context.Context, tables []table) error {
	if s.parents != "" {
		return nil // SQLite does so by itself
	}
	for _, t := range tables {
		columns, err := list(ctx, s.q, `SELECT column_name::text FROM information_schema.columns
			WHERE table_schema = current_schema() AND table_name = $1 AND (is_identity = 'YES' OR column_default LIKE 'nextval(%')`, t.name)
		if err != nil {
			return err
		}
		for _, c := range columns {
			var next int64
			if err := s.q.QueryRow(ctx, fmt.Sprintf(`SELECT setval(pg_get_serial_sequence('%s', '%s'), coalesce(max(%s), 0) + 1, false) FROM %s`, t.name, c, c, t.name)).Scan(&next); err != nil {
				return err
			}
		}
	}
	return nil
}

// within is a database as one transaction sees it, for reading.
type within struct {
	store.DB
	q store.Querier
}

func (w within) Read() store.Querier { return w.q }

// all opens every sealed value of a store with the master key.
func all(ctx context.Context, st *store.Store, key vault.MasterKey) (s Summary, err error) {
	ring, revision, err := st.LoadKeyring(ctx)
	if err != nil {
		return s, err
	}
	if ring == nil {
		return s, nil
	}
	v, err := vault.Open(ctx, keyring{ring, revision}, key)
	if err != nil {
		return s, fmt.Errorf("the master key at hand does not open the store: %w", err)
	}
	if err := openAll(ctx, st, v, &s); err != nil {
		return s, err
	}
	states, err := st.CountTokens(ctx)
	for _, n := range states {
		s.Connections += n
	}
	return s, err
}

// shared is a PostgreSQL store's database, or an error.
func shared(st *store.Store) (*postgres.DB, error) {
	db, ok := st.DB().(*postgres.DB)
	if !ok {
		return nil, errors.New("this is no PostgreSQL store")
	}
	return db, nil
}
