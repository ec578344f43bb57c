package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Table is a table of rows: its columns are in Spec, which the store does not
// read.
type Table struct {
	ID        int64
	Name      string
	Spec      string // JSON, without secrets
	Rows      int64
	Revision  int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// A Row is one of a table. Data is JSON without secrets; those are sealed as one
// map, bound to ("table_rows", ID, "secrets", Version).
type Row struct {
	ID, Table, Version   int64
	Data                 string
	Sealed               []byte // nil: it has none
	CreatedAt, UpdatedAt time.Time
}

// A Cell is a value of a row as it is looked up: a number or a text.
type Cell struct {
	Column int64
	Num    *int64
	Text   *string
}

// A RowChange is one version of a row.
type RowChange struct {
	Row, Version, Table int64
	Action              string
	Data                string
	Sealed              []byte
	At                  time.Time
	By                  string
}

const tableColumns = `id, name, spec, row_count, revision, created_at, updated_at`

func scanTable(r Scanner) (Table, error) {
	var v Table
	var created, updated *int64
	err := r.Scan(&v.ID, &v.Name, &v.Spec, &v.Rows, &v.Revision, &created, &updated)
	v.CreatedAt, v.UpdatedAt = at(created), at(updated)
	return v, err
}

const rowColumns = `r.id, r.table_id, r.version, r.data, s.sealed, r.created_at, r.updated_at`

const rowFrom = ` FROM table_rows r LEFT JOIN table_secrets s ON s.row_id = r.id AND s.version = r.version`

func scanRow(r Scanner) (Row, error) {
	var v Row
	var created, updated *int64
	err := r.Scan(&v.ID, &v.Table, &v.Version, &v.Data, &v.Sealed, &created, &updated)
	v.CreatedAt, v.UpdatedAt = at(created), at(updated)
	return v, err
}

// Table returns the table of the name, or ErrNotFound.
func (s *Store) Table(ctx context.Context, name string) (Table, error) {
	return table(ctx, s.db.Read(), name)
}

func table(ctx context.Context, q Querier, name string) (Table, error) {
	return scanTable(q.QueryRow(ctx, `SELECT `+tableColumns+` FROM tables WHERE name = $1`, name))
}

// TableByID returns a table by its number, or ErrNotFound.
func (s *Store) TableByID(ctx context.Context, id int64) (Table, error) {
	return tableByID(ctx, s.db.Read(), id)
}

func tableByID(ctx context.Context, q Querier, id int64) (Table, error) {
	return scanTable(q.QueryRow(ctx, `SELECT `+tableColumns+` FROM tables WHERE id = $1`, id))
}

// Tables lists tables in order of name, after the given name, at most limit.
func (s *Store) Tables(ctx context.Context, after string, limit int) ([]Table, error) {
	return tablesAfter(ctx, s.db.Read(), after, limit)
}

func tablesAfter(ctx context.Context, q Querier, after string, limit int) ([]Table, error) {
	var out []Table
	rows, err := q.Query(ctx, `SELECT `+tableColumns+` FROM tables WHERE name > $1 ORDER BY name LIMIT $2`, after, limit)
	err = each(rows, err, func(r Scanner) error {
		v, err := scanTable(r)
		out = append(out, v)
		return err
	})
	return out, err
}

// Row returns a row by its number, or ErrNotFound. It is read in one statement,
// so that all of it is of one version.
func (s *Store) Row(ctx context.Context, id int64) (Row, error) {
	return row(ctx, s.db.Read(), id)
}

func row(ctx context.Context, q Querier, id int64) (Row, error) {
	return scanRow(q.QueryRow(ctx, `SELECT `+rowColumns+rowFrom+` WHERE r.id = $1`, id))
}

// RowHistory lists versions of a row, newest first, those before a version, at
// most limit. A row that is gone has its versions, too.
func (s *Store) RowHistory(ctx context.Context, id, before int64, limit int) ([]RowChange, error) {
	var out []RowChange
	rows, err := s.db.Read().Query(ctx, `SELECT h.row_id, h.version, h.table_id, h.action, h.data, s.sealed, h.at, h.actor
		FROM table_history h LEFT JOIN table_secrets s ON s.row_id = h.row_id AND s.version = h.version
		WHERE h.row_id = $1 AND h.version < $2 ORDER BY h.version DESC LIMIT $3`, id, before, limit)
	err = each(rows, err, func(r Scanner) error {
		var v RowChange
		var when *int64
		err := r.Scan(&v.Row, &v.Version, &v.Table, &v.Action, &v.Data, &v.Sealed, &when, &v.By)
		v.At = at(when)
		out = append(out, v)
		return err
	})
	return out, err
}

// A TableTx changes tables and rows, whole or not at all.
type TableTx struct {
	ctx context.Context
	s   *Store
	tx  Querier
	now time.Time
}

// ChangeTables runs fn in one transaction.
func (s *Store) ChangeTables(ctx context.Context, fn func(t *TableTx) error) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		return fn(&TableTx{ctx: ctx, s: s, tx: tx, now: now})
	})
}

// Tables changes tables within the change.
func (c *Change) Tables() *TableTx { return &TableTx{ctx: c.ctx, s: c.s, tx: c.tx, now: c.now} }

// Context is that of the transaction.
func (t *TableTx) Context() context.Context { return t.ctx }

// Now is the instant of the change.
func (t *TableTx) Now() time.Time { return t.now }

// Table reads within the transaction.
func (t *TableTx) Table(name string) (Table, error) { return table(t.ctx, t.tx, name) }

// TableByID reads within the transaction.
func (t *TableTx) TableByID(id int64) (Table, error) { return tableByID(t.ctx, t.tx, id) }

// Tables reads within the transaction.
func (t *TableTx) Tables(after string, limit int) ([]Table, error) {
	return tablesAfter(t.ctx, t.tx, after, limit)
}

// Create makes a table without rows at revision 1 and returns it. ErrExists: one
// has the name.
func (t *TableTx) Create(name, spec string) (Table, error) {
	v, err := scanTable(t.tx.QueryRow(t.ctx, `INSERT INTO tables (name, spec, row_count, revision, created_at, updated_at)
		VALUES ($1, $2, 0, 1, $3, $3) ON CONFLICT DO NOTHING RETURNING `+tableColumns, name, spec, t.now.UnixMilli()))
	if errors.Is(err, ErrNotFound) {
		return v, ErrExists
	}
	return v, err
}

// SetSpec writes a table's spec at the next revision. ErrStale: it is not at the
// revision given.
func (t *TableTx) SetSpec(id, revision int64, spec string) error {
	return one(t.tx.Exec(t.ctx, `UPDATE tables SET spec = $1, revision = $2, updated_at = $3 WHERE id = $4 AND revision = $5`,
		spec, revision+1, t.now.UnixMilli(), id, revision))
}

// Drop removes a table with its rows and their history.
func (t *TableTx) Drop(id int64) error {
	return one(t.tx.Exec(t.ctx, `DELETE FROM tables WHERE id = $1`, id))
}

// Hold is the first write of a change of rows: until the end of the transaction
// nobody else changes the table's rows or columns. added counts rows that come,
// less those that go. ErrStale: the table is not at the revision given.
func (t *TableTx) Hold(id, revision, added int64) error {
	return one(t.tx.Exec(t.ctx, `UPDATE tables SET row_count = row_count + $1 WHERE id = $2 AND revision = $3`, added, id, revision))
}

// Row reads within the transaction.
func (t *TableTx) Row(id int64) (Row, error) { return row(t.ctx, t.tx, id) }

// HoldRow keeps a row from being deleted until the end of the transaction.
// ErrStale: the table has no such row.
func (t *TableTx) HoldRow(id, table int64) error {
	return one(t.tx.Exec(t.ctx, `UPDATE table_rows SET version = version WHERE id = $1 AND table_id = $2`, id, table))
}

// InsertRow adds a row at version 1 and returns its number.
func (t *TableTx) InsertRow(table int64, data string) (id int64, err error) {
	err = t.tx.QueryRow(t.ctx, `INSERT INTO table_rows (table_id, version, data, created_at, updated_at)
		VALUES ($1, 1, $2, $3, $3) RETURNING id`, table, data, t.now.UnixMilli()).Scan(&id)
	return id, err
}

// UpdateRow writes a row's data at the next version. ErrStale: it is not at the
// version given.
func (t *TableTx) UpdateRow(id, version int64, data string) error {
	return one(t.tx.Exec(t.ctx, `UPDATE table_rows SET version = $1, data = $2, updated_at = $3 WHERE id = $4 AND version = $5`,
		version+1, data, t.now.UnixMilli(), id, version))
}

// DeleteRow removes a row, its cells and its secrets of every version; its
// history stays. ErrStale: it is not at the version given.
func (t *TableTx) DeleteRow(id, version int64) error {
	if err := one(t.tx.Exec(t.ctx, `DELETE FROM table_rows WHERE id = $1 AND version = $2`, id, version)); err != nil {
		return err
	}
	_, err := t.tx.Exec(t.ctx, `DELETE FROM table_secrets WHERE row_id = $1`, id)
	return err
}

// SetCells puts cells in the place of those that a row has of the columns.
func (t *TableTx) SetCells(row, table int64, columns []int64, cells []Cell) error {
	for _, c := range columns {
		if _, err := t.tx.Exec(t.ctx, `DELETE FROM table_cells WHERE row_id = $1 AND column_id = $2`, row, c); err != nil {
			return err
		}
	}
	for _, c := range cells {
		if _, err := t.tx.Exec(t.ctx, `INSERT INTO table_cells (row_id, column_id, table_id, num, txt) VALUES ($1, $2, $3, $4, $5)`,
			row, c.Column, table, c.Num, c.Text); err != nil {
			return err
		}
	}
	return nil
}

// DropCells removes a column from the index.
func (t *TableTx) DropCells(table, column int64) error {
	for _, query := range []string{
		`DELETE FROM table_cells WHERE table_id = $1 AND column_id = $2 AND num IS NOT NULL`,
		`DELETE FROM table_cells WHERE table_id = $1 AND column_id = $2 AND txt IS NOT NULL`,
	} {
		if _, err := t.tx.Exec(t.ctx, query, table, column); err != nil {
			return err
		}
	}
	return nil
}

// Record puts a version of a row on record, at the instant of the change, with
// its secrets. Of the row's versions the newest keep stay.
func (t *TableTx) Record(c RowChange, keep int64) error {
	if c.Sealed != nil {
		if _, err := t.tx.Exec(t.ctx, `INSERT INTO table_secrets (id, row_id, version, table_id, sealed) VALUES ($1, $2, $3, $4, $5)`,
			fmt.Sprintf("%d.%d", c.Row, c.Version), c.Row, c.Version, c.Table, c.Sealed); err != nil {
			return err
		}
	}
	if _, err := t.tx.Exec(t.ctx, `INSERT INTO table_history (row_id, version, table_id, action, data, at, actor) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		c.Row, c.Version, c.Table, c.Action, c.Data, t.now.UnixMilli(), c.By); err != nil {
		return err
	}
	if c.Version <= keep {
		return nil
	}
	if _, err := t.tx.Exec(t.ctx, `DELETE FROM table_history WHERE row_id = $1 AND version <= $2`, c.Row, c.Version-keep); err != nil {
		return err
	}
	_, err := t.tx.Exec(t.ctx, `DELETE FROM table_secrets WHERE row_id = $1 AND version <= $2`, c.Row, c.Version-keep)
	return err
}

// RowReferrers lists up to limit rows of a table that have the number in a
// column, but the row of that number itself.
func (t *TableTx) RowReferrers(table, column, number int64, limit int) ([]int64, error) {
	var out []int64
	rows, err := t.tx.Query(t.ctx, `SELECT row_id FROM table_cells WHERE table_id = $1 AND column_id = $2 AND num = $3 AND row_id <> $3
		ORDER BY row_id LIMIT $4`, table, column, number, limit)
	err = each(rows, err, func(r Scanner) error {
		var id int64
		err := r.Scan(&id)
		out = append(out, id)
		return err
	})
	return out, err
}

// RowsAfter lists rows of a table in order of number, after the given one, at
// most limit.
func (t *TableTx) RowsAfter(table, after int64, limit int) ([]Row, error) {
	return collect(t.tx.Query(t.ctx, `SELECT `+rowColumns+rowFrom+` WHERE r.table_id = $1 AND r.id > $2 ORDER BY r.id LIMIT $3`, table, after, limit))
}

// Rewrite writes a row's data without counting a version, for a change of the
// table's columns that is not one of the row.
func (t *TableTx) Rewrite(id int64, data string) error {
	return one(t.tx.Exec(t.ctx, `UPDATE table_rows SET data = $1 WHERE id = $2`, data, id))
}

// Find lists the rows that a query finds.
func (t *TableTx) Find(q RowQuery) ([]Row, error) {
	var out []Row
	err := findRows(t.ctx, t.tx, q, func(r Row) (bool, error) {
		out = append(out, r)
		return true, nil
	})
	return out, err
}

func collect(rows Rows, err error) ([]Row, error) {
	var out []Row
	err = each(rows, err, func(r Scanner) error {
		v, err := scanRow(r)
		out = append(out, v)
		return err
	})
	return out, err
}
