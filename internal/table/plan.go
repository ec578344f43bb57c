package table

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/table/odata"
)

// versionName orders and filters the versions of a row.
const versionName = "Version"

// A plan is a query that was understood.
type plan struct {
	filter odata.Expr     // bound; nil: all rows
	cond   *store.RowCond // what the index knows of it; nil: nothing
	exact  bool           // cond says all of filter
	order  []orderKey     // nil: by number
	sorted bool           // the index can order by it
	by     []store.RowOrder
}

// An orderKey is one column to order by; nil: the row's number.
type orderKey struct {
	column  *Column
	version bool
	desc    bool
}

// plan understands filter and order. In a history there is a Version, too.
func (s *Schema) plan(q Query, history bool) (*plan, error) {
	p := &plan{exact: true}
	x, err := odata.Parse(q.Filter)
	if err == nil {
		x, err = odata.Bind(x, func(name string) (string, odata.Kind, error) { return s.bind(name, history) })
	}
	if err != nil {
		if e, ok := errors.AsType[*odata.Error](err); ok {
			return nil, &FilterError{Table: s.Name, What: "filter", At: e.At, Detail: e.Detail, Hint: e.Hint}
		}
		return nil, err
	}
	p.filter = x
	if x != nil {
		cond, exact := s.cond(x)
		p.exact = exact
		if cond.Op != store.RowAll {
			p.cond = &cond
		}
	}
	return p, s.order(p, q.OrderBy, history)
}

// bind tells a filter what a column is.
func (s *Schema) bind(name string, history bool) (string, odata.Kind, error) {
	c, ok := s.Column(name)
	switch {
	case ok && c.Secret:
		return "", 0, &odata.Error{Detail: fmt.Sprintf("column %s is secret: what rows a filter finds would tell its value", c.Name), Hint: "filter by another column and read the secret from the row"}
	case ok:
		return c.Name, c.Type.kind(), nil
	case name == ObjectID:
		return ObjectID, odata.Num, nil
	case name == versionName && history:
		return versionName, odata.Num, nil
	}
	return "", 0, &odata.Error{Detail: fmt.Sprintf("there is no column %s", short(name)), Hint: s.like(name)}
}

// like says which columns there are, the one that may be meant first.
func (s *Schema) like(name string) string {
	hint := "the columns are " + strings.Join(s.Names(), ", ")
	for _, n := range s.Names() {
		if strings.EqualFold(n, name) {
			return fmt.Sprintf("it is written %s; %s", n, hint)
		}
	}
	return hint
}

// order reads "LastName asc, Version desc".
func (s *Schema) order(p *plan, text string, history bool) error {
	p.sorted = !history
	if strings.TrimSpace(text) == "" {
		if history {
			p.order = []orderKey{{version: true, desc: true}}
		}
		return nil
	}
	bad := func(format string, args ...any) error {
		return &FilterError{Table: s.Name, What: "order", Detail: fmt.Sprintf(format, args...), Hint: "it is written: Column desc, Other asc"}
	}
	if len(text) > 4096 || !utf8.ValidString(text) {
		return bad("is no list of columns")
	}
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		k := orderKey{}
		switch {
		case len(words) == 2 && strings.EqualFold(words[1], "desc"):
			k.desc = true
		case len(words) == 2 && strings.EqualFold(words[1], "asc"), len(words) == 1:
		case len(words) == 0:
			return bad("a column is missing")
		default:
			return bad("%s is neither asc nor desc", short(words[1]))
		}
		if len(p.order) == 8 {
			return bad("it has more than 8 columns")
		}
		name, _, err := s.bind(words[0], history)
		if err != nil {
			e, _ := errors.AsType[*odata.Error](err)
			return &FilterError{Table: s.Name, What: "order", Detail: strings.Replace(e.Detail, "a filter finds would tell", "come first would tell", 1), Hint: strings.Replace(e.Hint, "filter by", "order by", 1)}
		}
		k.column, _ = s.Column(name)
		if k.column == nil {
			k.version = name == versionName
		} else if !k.column.indexed() {
			p.sorted = false
		}
		o := store.RowOrder{Desc: k.desc}
		if k.column != nil {
			o.Column, o.Text = k.column.ID, k.column.Type.text()
		}
		p.order, p.by = append(p.order, k), append(p.by, o)
	}
	return nil
}

// cond makes of a filter what the index knows: all rows that the filter finds
// meet it, and if it is exact, no others.
func (s *Schema) cond(x odata.Expr) (c store.RowCond, exact bool) {
	all := store.RowCond{Op: store.RowAll}
	switch x := x.(type) {
	case *odata.Logic:
		op := store.RowAnd
		if x.Or {
			op = store.RowOr
		}
		out := store.RowCond{Op: op}
		exact := true
		for _, of := range x.Of {
			c, ok := s.cond(of)
			exact = exact && ok
			if c.Op == store.RowAll && !ok {
				if x.Or {
					return all, false
				}
				continue
			}
			out.Of = append(out.Of, c)
		}
		if len(out.Of) == 0 {
			return all, exact
		}
		if len(out.Of) == 1 {
			return out.Of[0], exact
		}
		return out, exact
	case *odata.Not:
		if c, ok := s.cond(x.X); ok {
			return not(c), true
		}
		return all, false
	case *odata.Literal:
		if x.Value == true {
			return all, true
		}
		return store.RowCond{Op: store.RowNone}, true
	case *odata.Column:
		if c, _ := s.Column(x.Name); c != nil && c.indexed() {
			return store.RowCond{Op: store.RowEqual, Column: c.ID, Num: 1}, true
		}
	case *odata.Compare:
		lit, ok := x.R.(*odata.Literal)
		if col, isColumn := x.L.(*odata.Column); ok && isColumn {
			if c, found := s.lookup(col.Name); found {
				return compareCond(c, x.Op, lit.Value)
			}
		}
	case *odata.In:
		if col, ok := x.X.(*odata.Column); ok {
			if c, found := s.lookup(col.Name); found {
				return oneOf(c, x.List)
			}
		}
	case *odata.Call:
		if x.Name != "startswith" {
			break
		}
		col, ok := x.Args[0].(*odata.Column)
		lit, isLit := x.Args[1].(*odata.Literal)
		if !ok || !isLit {
			break
		}
		prefix, isText := lit.Value.(string)
		if c, found := s.lookup(col.Name); found && isText && c.Type.text() && wholeKey(prefix) {
			return begins(c, prefix), true
		}
	}
	return all, false
}

// objectColumn stands for a row's number.
var objectColumn = &Column{Name: ObjectID, Type: BigInteger}

// lookup returns a column that is in the index.
func (s *Schema) lookup(name string) (*Column, bool) {
	if c, ok := s.Column(name); ok {
		return c, c.indexed()
	}
	return objectColumn, name == ObjectID
}

func not(c store.RowCond) store.RowCond {
	switch c.Op {
	case store.RowAll:
		return store.RowCond{Op: store.RowNone}
	case store.RowNone:
		return store.RowCond{Op: store.RowAll}
	case store.RowNot:
		return c.Of[0]
	}
	return store.RowCond{Op: store.RowNot, Of: []store.RowCond{c}}
}

func present(c *Column) store.RowCond {
	return store.RowCond{Op: store.RowPresent, Column: c.ID, TextColumn: c.Type.text()}
}

// equal is that an indexed column has the cell; of a long text, that it begins
// like it.
func equal(c *Column, v cell) store.RowCond {
	out := store.RowCond{Op: store.RowEqual, Column: c.ID}
	entry, _ := indexCell(c, v)
	if out.Text = entry.Text; entry.Num != nil {
		out.Num = *entry.Num
	}
	return out
}

// compareCond is a comparison with a literal.
func compareCond(c *Column, op odata.Op, v any) (store.RowCond, bool) {
	none := store.RowCond{Op: store.RowNone}
	if v == nil {
		switch op {
		case odata.Eq:
			return not(present(c)), true
		case odata.Ne:
			return present(c), true
		}
		return none, true
	}
	if op == odata.Ne {
		if is, ok := compareCond(c, odata.Eq, v); ok {
			return not(is), true
		}
		return store.RowCond{Op: store.RowAll}, false
	}
	out := store.RowCond{Column: c.ID, Op: map[odata.Op]store.RowOp{odata.Eq: store.RowEqual, odata.Gt: store.RowGreater,
		odata.Ge: store.RowGreaterEqual, odata.Lt: store.RowLess, odata.Le: store.RowLessEqual}[op]}
	switch v := v.(type) {
	case string:
		k := key(v)
		out.Text = &k
		if wholeKey(v) {
			return out, true
		}
		if op == odata.Eq {
			return out, false // all that begin alike
		}
		return store.RowCond{Op: store.RowAll}, false
	case bool:
		if v {
			out.Num = 1
		}
	case odata.Number:
		whole, exact := v.At(c.Type.scale())
		out.Num = whole
		if exact {
			break
		}
		// Between two numbers that the column can hold.
		switch op {
		case odata.Eq:
			return none, true
		case odata.Ge:
			out.Op = store.RowGreater
		case odata.Lt:
			out.Op = store.RowLessEqual
		}
	default:
		k, detail := convert(c, v)
		n, ok := k.(int64)
		if detail != "" || !ok {
			return store.RowCond{Op: store.RowAll}, false
		}
		out.Num = n
	}
	return out, true
}

// oneOf is that a column has one of several values.
func oneOf(c *Column, list []*odata.Literal) (store.RowCond, bool) {
	out := store.RowCond{Op: store.RowOneOf, Column: c.ID}
	null, exact := false, true
	for _, l := range list {
		if l.Value == nil {
			null = true
			continue
		}
		one, ok := compareCond(c, odata.Eq, l.Value)
		exact = exact && ok
		switch {
		case one.Op == store.RowAll:
			return one, false
		case one.Op == store.RowNone:
		case one.Text != nil:
			out.Texts = append(out.Texts, *one.Text)
		default:
			out.Nums = append(out.Nums, one.Num)
		}
	}
	if len(out.Texts)+len(out.Nums) == 0 {
		out = store.RowCond{Op: store.RowNone}
	}
	if null {
		out = store.RowCond{Op: store.RowOr, Of: []store.RowCond{out, not(present(c))}}
	}
	return out, exact
}

// begins is that a text begins with another: it lies between that one and the
// next that does not.
func begins(c *Column, prefix string) store.RowCond {
	r := []rune(prefix)
	for len(r) > 0 && r[len(r)-1] == utf8.MaxRune {
		r = r[:len(r)-1]
	}
	if len(r) == 0 {
		if prefix == "" {
			return present(c)
		}
		return store.RowCond{Op: store.RowGreaterEqual, Column: c.ID, Text: &prefix}
	}
	if r[len(r)-1]++; r[len(r)-1] == 0xd800 { // surrogates are no characters
		r[len(r)-1] = 0xe000
	}
	return store.RowCond{Op: store.RowBetween, Column: c.ID, Text: &prefix, Texts: []string{string(r)}}
}
