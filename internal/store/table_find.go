package store

import (
	"context"
	"strconv"
	"strings"
)

// A RowQuery finds rows of a table by their cells. Everything in it is a number,
// an argument, or one of a few words of this file; no text becomes SQL.
type RowQuery struct {
	Table int64
	Where *RowCond // nil: all
	Order []RowOrder
	Skip  int
	Limit int // 0: all
}

// A RowOrder orders by a column, those without a value first.
type RowOrder struct {
	Column int64 // 0: the row's number
	Text   bool  // its cells are texts
	Desc   bool
}

// A RowCond is a condition over a row's cells. It has two values: a cell that is
// not there meets no comparison.
type RowCond struct {
	Op RowOp
	Of []RowCond // of And and Or; the one of Not

	Column     int64 // of comparisons; 0: the row's number
	Num        int64 // compared with, or
	Text       *string
	Nums       []int64 // of OneOf
	Texts      []string
	TextColumn bool // of Present
}

// A RowOp is what a condition does.
type RowOp int

// The operations.
const (
	RowAll RowOp = iota // every row
	RowNone
	RowAnd
	RowOr
	RowNot
	RowPresent // the column has a value
	RowEqual
	RowLess
	RowLessEqual
	RowGreater
	RowGreaterEqual
	RowOneOf
	RowBetween // from Text to Texts[0], without that one
)

// FindRows calls visit for each row that q finds, in its order and then by
// number, until visit has enough. visit must not use the store.
func (s *Store) FindRows(ctx context.Context, q RowQuery, visit func(Row) (more bool, err error)) error {
	return findRows(ctx, s.db.Read(), q, visit)
}

func findRows(ctx context.Context, db Querier, q RowQuery, visit func(Row) (bool, error)) error {
	f := finder{}
	query := f.statement(q)
	rows, err := db.Query(ctx, query, f.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		v, err := scanRow(rows)
		if err != nil {
			return err
		}
		if more, err := visit(v); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// A finder puts a statement together out of the words below, and collects its
// arguments.
type finder struct {
	args []any
	b    strings.Builder
}

func (f *finder) arg(v any) string {
	f.args = append(f.args, v)
	return "$" + strconv.Itoa(len(f.args))
}

// maxUnion is how many comparisons joined by or are looked up one by one, rather
// than tried on each row of the table.
const maxUnion = 50

// statement has one of three forms. If one comparison must hold, rows are looked
// up by it, and the rest is tried on those. If one of several must, they are
// looked up by each. Otherwise all rows of the table are tried.
func (f *finder) statement(q RowQuery) string {
	var where RowCond
	if q.Where != nil {
		where = *q.Where
	}
	driver, rest, driven := where.driver()
	f.b.WriteString(`SELECT ` + rowColumns)
	id := `r.id`
	if driven {
		id = `c.row_id` // the index has it, in order
		f.b.WriteString(` FROM table_cells c JOIN table_rows r ON r.id = c.row_id LEFT JOIN table_secrets s ON s.row_id = r.id AND s.version = r.version`)
	} else {
		f.b.WriteString(rowFrom)
	}
	for i, o := range q.Order {
		if o.Column != 0 {
			n := strconv.Itoa(i)
			f.b.WriteString(` LEFT JOIN table_cells o` + n + ` ON o` + n + `.row_id = r.id AND o` + n + `.column_id = ` + f.arg(o.Column))
		}
	}
	table := f.arg(q.Table)
	switch {
	case driven:
		f.b.WriteString(` WHERE c.table_id = ` + table + ` AND c.column_id = ` + f.arg(driver.Column) + ` AND `)
		f.compare("c", driver)
		for _, c := range rest {
			f.b.WriteString(` AND `)
			if c.positive() && c.Column == driver.Column {
				f.compare("c", c) // the other end of a range
			} else {
				f.cond(c)
			}
		}
	default:
		f.b.WriteString(` WHERE r.table_id = ` + table + ` AND `)
		if union := where.union(); union != nil {
			f.b.WriteString(`r.id IN (`)
			for i, c := range union {
				if i > 0 {
					f.b.WriteString(` UNION ALL `)
				}
				f.b.WriteString(`SELECT u.row_id FROM table_cells u WHERE u.table_id = ` + table + ` AND u.column_id = ` + f.arg(c.Column) + ` AND `)
				f.compare("u", c)
			}
			f.b.WriteString(`)`)
		} else {
			f.cond(where)
		}
	}
	f.b.WriteString(` ORDER BY `)
	done := false
	for i, o := range q.Order {
		way := ""
		if o.Desc {
			way = ` DESC`
		}
		if o.Column == 0 {
			f.b.WriteString(id + way)
			done = true
			break
		}
		value := `o` + strconv.Itoa(i) + `.num`
		if o.Text {
			value = `o` + strconv.Itoa(i) + `.txt`
		}
		f.b.WriteString(`CASE WHEN ` + value + ` IS NULL THEN 0 ELSE 1 END` + way + `, ` + value + way + `, `)
	}
	if !done {
		f.b.WriteString(id)
	}
	if q.Limit > 0 || q.Skip > 0 {
		limit := int64(q.Limit)
		if limit <= 0 {
			limit = 1<<63 - 1
		}
		f.b.WriteString(` LIMIT ` + f.arg(limit) + ` OFFSET ` + f.arg(int64(q.Skip)))
	}
	return f.b.String()
}

// positive reports whether c is a comparison that only rows with a cell meet, so
// that cells can be looked up by it.
func (c *RowCond) positive() bool { return c.Op >= RowPresent && c.Column != 0 }

// narrow orders comparisons by how few rows they are likely to leave.
func (c *RowCond) narrow() int {
	switch c.Op {
	case RowEqual:
		return 4
	case RowOneOf:
		return 3
	case RowBetween:
		return 2
	case RowPresent:
		return 0
	}
	return 1
}

// driver picks the comparison that rows are looked up by, and what is left.
func (c RowCond) driver() (driver RowCond, rest []RowCond, ok bool) {
	of := []RowCond{c}
	if c.Op == RowAnd {
		of = c.Of
	}
	best := -1
	for i := range of {
		if of[i].positive() && (best < 0 || of[i].narrow() > of[best].narrow()) {
			best = i
		}
	}
	// A union of lookups is better than all that have a value at all.
	if best < 0 || of[best].Op == RowPresent && len(of) > 1 {
		return driver, nil, false
	}
	for i := range of {
		if i != best {
			rest = append(rest, of[i])
		}
	}
	return of[best], rest, true
}

// union lists the comparisons of which one must hold; nil: it is not so simple.
func (c RowCond) union() []RowCond {
	if c.Op != RowOr || len(c.Of) > maxUnion {
		return nil
	}
	for i := range c.Of {
		if !c.Of[i].positive() {
			return nil
		}
	}
	return c.Of
}

// cond writes a condition over row r.
func (f *finder) cond(c RowCond) {
	switch c.Op {
	case RowAll:
		f.b.WriteString(`1 = 1`)
	case RowNone:
		f.b.WriteString(`1 = 0`)
	case RowAnd, RowOr:
		if len(c.Of) == 0 {
			f.cond(RowCond{Op: map[RowOp]RowOp{RowAnd: RowAll, RowOr: RowNone}[c.Op]})
			return
		}
		f.b.WriteString(`(`)
		for i := range c.Of {
			if i > 0 && c.Op == RowAnd {
				f.b.WriteString(` AND `)
			} else if i > 0 {
				f.b.WriteString(` OR `)
			}
			f.cond(c.Of[i])
		}
		f.b.WriteString(`)`)
	case RowNot:
		f.b.WriteString(`NOT (`)
		f.cond(c.Of[0])
		f.b.WriteString(`)`)
	default:
		if c.Column == 0 {
			f.compare("", c)
			return
		}
		f.b.WriteString(`EXISTS (SELECT 1 FROM table_cells x WHERE x.row_id = r.id AND x.column_id = ` + f.arg(c.Column) + ` AND `)
		f.compare("x", c)
		f.b.WriteString(`)`)
	}
}

var rowOps = map[RowOp]string{RowEqual: ` = `, RowLess: ` < `, RowLessEqual: ` <= `, RowGreater: ` > `, RowGreaterEqual: ` >= `}

// compare writes a comparison of the cell of an alias, "" for the row's number.
func (f *finder) compare(alias string, c RowCond) {
	num, txt := alias+`.num`, alias+`.txt`
	if alias == "" {
		num = `r.id`
	}
	switch c.Op {
	case RowPresent:
		switch {
		case alias == "":
			f.b.WriteString(`1 = 1`)
		case c.TextColumn:
			f.b.WriteString(txt + ` IS NOT NULL`)
		default:
			f.b.WriteString(num + ` IS NOT NULL`)
		}
	case RowBetween:
		f.b.WriteString(`(` + txt + ` >= ` + f.arg(*c.Text) + ` AND ` + txt + ` < ` + f.arg(c.Texts[0]) + `)`)
	case RowOneOf:
		if c.Texts != nil {
			f.b.WriteString(txt + ` IN (`)
			for i, v := range c.Texts {
				f.comma(i, f.arg(v))
			}
		} else {
			f.b.WriteString(num + ` IN (`)
			for i, v := range c.Nums {
				f.comma(i, f.arg(v))
			}
		}
		f.b.WriteString(`)`)
	default:
		if c.Text != nil {
			f.b.WriteString(txt + rowOps[c.Op] + f.arg(*c.Text))
		} else {
			f.b.WriteString(num + rowOps[c.Op] + f.arg(c.Num))
		}
	}
}

func (f *finder) comma(i int, s string) {
	if i > 0 {
		f.b.WriteString(`, `)
	}
	f.b.WriteString(s)
}
