package table

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Sealer seals secrets; *vault.Vault is one.
type Sealer interface {
	Seal(b freshet.Binding, plaintext []byte) ([]byte, error)
	Open(b freshet.Binding, sealed []byte) ([]byte, error)
}

// Options are what Tables are made of. Store and Sealer are required.
type Options struct {
	Store  *store.Store
	Sealer Sealer
	Keep   int64 // versions of a row that stay on record; 0: 1000
}

// Tables are the tables of a server. They are safe for concurrent use, also by
// several servers over one store.
type Tables struct {
	o Options

	mu    sync.Mutex
	known map[int64]*Schema // by number, each as it was at its revision

	scan bool // filters are decided row by row: a test compares
}

// New returns the tables of a store.
func New(o Options) *Tables {
	if o.Keep <= 0 {
		o.Keep = 1000
	}
	return &Tables{o: o, known: map[int64]*Schema{}}
}

// A Session reads and changes rows in somebody's name. Sessions are cheap.
type Session struct {
	t      *Tables
	by     string
	reveal bool
	learn  func(...string)
}

// As returns a session in which secrets show as freshet.Redacted. by goes on
// record with every change: key:NAME#ID, config.
func (t *Tables) As(by string) *Session { return &Session{t: t, by: by} }

// ForRun returns a session in which secrets are values and decimals numbers of
// a script. learn is told each secret that the session reads or writes, so that
// the run's journal can mask it.
func (t *Tables) ForRun(by string, learn func(values ...string)) *Session {
	if learn == nil {
		learn = func(...string) {}
	}
	return &Session{t: t, by: by, reveal: true, learn: learn}
}

// List lists tables in order of name, after the given name, at most limit.
func (t *Tables) List(ctx context.Context, after string, limit int) ([]*Schema, error) {
	rows, err := t.o.Store.Tables(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]*Schema, len(rows))
	for i, r := range rows {
		if out[i], err = t.decode(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Schema returns a table by its name, or by its number as a document writes it.
// The error is a NotFoundError if there is none.
func (t *Tables) Schema(ctx context.Context, name string) (*Schema, error) {
	return t.schema(ctx, name)
}

// attempts bounds how often a change starts again because others made one.
const attempts = 16

// retry runs fn in a transaction, again if what it had read is not true any more.
func (t *Tables) retry(ctx context.Context, fn func(tx *store.TableTx) error) error {
	for range attempts {
		err := t.o.Store.ChangeTables(ctx, fn)
		if !errors.Is(err, store.ErrStale) {
			return err
		}
	}
	return ErrBusy
}

// change runs fn over a table that nobody else changes meanwhile.
func (t *Tables) change(ctx context.Context, by, name string, fn func(w *writer) error) error {
	return t.retry(ctx, func(tx *store.TableTx) error {
		w, err := t.hold(tx, by, name)
		if err != nil {
			return err
		}
		if err := fn(w); err != nil {
			return err
		}
		return w.done()
	})
}

// hold reads a table and keeps it from changing.
func (t *Tables) hold(tx *store.TableTx, by, name string) (*writer, error) {
	row, err := tx.Table(name)
	if errors.Is(err, store.ErrNotFound) {
		if id, ok := number(name); ok {
			row, err = tx.TableByID(id)
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, &NotFoundError{Table: short(name)}
	}
	if err != nil {
		return nil, err
	}
	s, err := t.decode(row)
	if err != nil {
		return nil, err
	}
	return &writer{t: t, tx: tx, s: s, by: by}, tx.Hold(s.ID, s.revision, 0)
}

// Create makes a table. Its columns need no ID; without any it has one, Title, a
// string, as a new table of a workflow has. ErrExists: there is one of the name.
func (t *Tables) Create(ctx context.Context, s Schema) (*Schema, error) {
	var made *Schema
	err := t.retry(ctx, func(tx *store.TableTx) (err error) {
		made, err = t.create(tx, s)
		return err
	})
	return made, err
}

func (t *Tables) create(tx *store.TableTx, s Schema) (*Schema, error) {
	n := s.clone()
	if len(n.Columns) == 0 {
		n.Columns = []Column{{Name: TitleAlias, Type: String}}
	}
	if n.Title == "" {
		n.Title = n.Columns[0].Name
	}
	n.Next = 1
	for i := range n.Columns {
		n.Columns[i].ID = n.Next
		n.Next++
	}
	if c, ok := n.Column(n.Title); ok && c.Type != Reference {
		c.Indexed = true
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	text, err := n.encode()
	if err != nil {
		return nil, err
	}
	row, err := tx.Create(n.Name, text)
	if errors.Is(err, store.ErrExists) {
		return nil, fmt.Errorf("table %s %w", n.Name, ErrExists)
	}
	if err != nil {
		return nil, err
	}
	return decodeSchema(row)
}

// AddColumn adds a column to a table and returns its number. ErrExists: it has
// one of the name.
func (t *Tables) AddColumn(ctx context.Context, by, table string, c Column) (id int64, err error) {
	err = t.change(ctx, by, table, func(w *writer) error {
		if _, ok := w.s.Column(c.Name); ok && c.Name != TitleAlias {
			return fmt.Errorf("table %s, column %s %w", w.s.Name, c.Name, ErrExists)
		}
		if c.Type == Reference {
			to, err := w.tableNamed(c.To)
			if err != nil {
				return err
			}
			c.To = to.Name
		}
		n := w.s.clone()
		c.ID, id = n.Next, n.Next
		n.Next++
		n.Columns = append(n.Columns, c)
		return w.setSchema(n)
	})
	return id, err
}

// Drop removes a table with its rows. Columns of other tables that refer to it
// are a ReferencedError.
func (t *Tables) Drop(ctx context.Context, name string) error {
	return t.retry(ctx, func(tx *store.TableTx) error {
		w, err := t.hold(tx, "", name)
		if err != nil {
			return err
		}
		return w.drop()
	})
}

func (w *writer) drop() error {
	e := &ReferencedError{Table: w.s.Name}
	err := w.eachReference(w.s.Name, func(s *Schema, c *Column) error {
		if s.ID != w.s.ID {
			e.By = append(e.By, Referrer{Table: s.Name, Column: c.Name})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(e.By) > 0 {
		return e
	}
	return w.tx.Drop(w.s.ID)
}

// eachReference visits the columns of all tables that refer to one.
func (w *writer) eachReference(to string, visit func(s *Schema, c *Column) error) error {
	after := ""
	for {
		page, err := w.tx.Tables(after, 256)
		if err != nil {
			return err
		}
		for _, row := range page {
			s, err := w.t.decode(row)
			if err != nil {
				return err
			}
			for i := range s.Columns {
				if c := &s.Columns[i]; c.Type == Reference && c.To == to {
					if err := visit(s, c); err != nil {
						return err
					}
				}
			}
			after = row.Name
		}
		if len(page) < 256 {
			return nil
		}
	}
}

// binding is where the secrets of a row's version open.
func binding(row, version int64) freshet.Binding {
	return freshet.Binding{Table: "table_rows", Row: strconv.FormatInt(row, 10), Column: "secrets", Generation: version}
}

// seal seals the values of secret columns; none are no bytes.
func (t *Tables) seal(row, version int64, hidden cells) ([]byte, error) {
	text, err := encodeCells(hidden)
	if err != nil || text == "{}" {
		return nil, err
	}
	sealed, err := t.o.Sealer.Seal(binding(row, version), []byte(text))
	if err != nil {
		return nil, fmt.Errorf("seal row %d: %w", row, err)
	}
	return sealed, nil
}

// open is the inverse of seal.
func (t *Tables) open(row, version int64, sealed []byte) (cells, error) {
	if len(sealed) == 0 {
		return cells{}, nil
	}
	plain, err := t.o.Sealer.Open(binding(row, version), sealed)
	if err != nil {
		return nil, fmt.Errorf("open the secrets of row %d: %w", row, err)
	}
	m, err := decodeCells(string(plain))
	if err != nil {
		return nil, fmt.Errorf("read the secrets of row %d: they are not what was sealed", row)
	}
	return m, nil
}

// row makes a Row of what is stored.
func (s *Session) row(sc *Schema, r store.Row) (*Row, error) {
	out := &Row{ObjectID: r.ID, Table: sc.Name, Title: sc.Title, Version: r.Version, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		Values: make(map[string]any, len(sc.Columns)), names: make([]string, len(sc.Columns))}
	data, err := decodeCells(r.Data)
	if err != nil {
		return nil, fmt.Errorf("read row %d of table %s: %w", r.ID, sc.Name, err)
	}
	var hidden cells
	if s.reveal {
		if hidden, err = s.t.open(r.ID, r.Version, r.Sealed); err != nil {
			return nil, fmt.Errorf("table %s: %w", sc.Name, err)
		}
	}
	for i := range sc.Columns {
		c := &sc.Columns[i]
		out.names[i] = c.Name
		v := data[c.ID]
		switch {
		case v == nil:
			out.Values[c.Name] = nil
		case !c.Secret:
			out.Values[c.Name] = c.value(v, s.reveal)
		case s.reveal:
			shown := c.value(hidden[c.ID], true)
			out.Values[c.Name] = shown
			s.tell(shown)
		default:
			out.Values[c.Name] = freshet.Redacted
		}
	}
	return out, nil
}

// tell makes a secret known to the run that has it.
func (s *Session) tell(v any) {
	if s.learn == nil || v == nil {
		return
	}
	if text, detail := convertText(&Column{Type: String}, v); detail == "" {
		if str, ok := text.(string); ok && str != "" {
			s.learn(str)
		}
	}
}

// ReadJSON reads rows for Insert, Update and Upsert: an object of values or a
// list of them, numbers as they are written.
func ReadJSON(b []byte) (list []map[string]any, one bool, err error) {
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '{' {
		var r freshet.TableRow
		err = json.Unmarshal(b, &r)
		return []map[string]any{r}, true, err
	}
	var rows []freshet.TableRow
	if err := json.Unmarshal(b, &rows); err != nil {
		return nil, false, err
	}
	for _, r := range rows {
		if r == nil {
			return nil, false, errors.New("a row is null")
		}
		list = append(list, r)
	}
	return list, false, nil
}
