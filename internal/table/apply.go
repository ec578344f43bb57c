package table

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// applied is who a declared table and its seeds are from, on record.
const applied = "apply"

// Fits looks at a table as somebody declares it, beside the table that is there:
// it reports every fault with its field, and whether an apply would change
// anything. It changes nothing.
func (t *Tables) Fits(ctx context.Context, name string, d *freshet.Table, fault func(field, detail string)) (differs bool, err error) {
	n := 0
	count := func(field, detail string) { n++; fault(field, detail) }
	want, ok := declared(name, d, count)
	if !ok {
		return true, nil
	}
	if checkSeeds(want, d, count); n > 0 {
		return true, nil
	}
	// Whether it can be done, the doing tells best.
	err = t.retry(ctx, func(tx *store.TableTx) error {
		var err error
		if differs, err = t.apply(tx, want, d, true); err != nil {
			return err
		}
		return errUndo
	})
	switch {
	case errors.Is(err, errUndo):
		return differs, nil
	case err == nil:
		return differs, nil
	}
	if e, ok := errors.AsType[*SchemaError](err); ok {
		field := "columns"
		if e.Column != "" {
			field += "." + e.Column
		}
		fault(field, e.Detail)
		return true, nil
	}
	if e, ok := errors.AsType[*ValueError](err); ok {
		fault("rows", strings.TrimPrefix(e.Error(), "table "+e.Table+", "))
		return true, nil
	}
	return false, err
}

// errUndo ends a transaction whose changes were only tried.
var errUndo = errors.New("only tried")

// Apply makes a table as it is declared, or changes the one that is there, and
// inserts the seeds whose titles no row has. It is part of the change c. Columns
// that runs have added stay; those that the declaration had and has no more go,
// unless a row has a value in them.
func (t *Tables) Apply(c *store.Change, name string, d *freshet.Table) error {
	var detail string
	want, ok := declared(name, d, func(field, text string) { detail = field + ": " + text })
	if !ok {
		return &SchemaError{Table: name, Detail: detail}
	}
	_, err := t.apply(c.Tables(), want, d, false)
	return err
}

// Remove removes a declared table with its rows, as part of the change c.
func (t *Tables) Remove(c *store.Change, name string) error {
	w, err := t.hold(c.Tables(), applied, name)
	if errors.Is(err, ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.drop()
}

// declared makes a Schema of a declaration.
func declared(name string, d *freshet.Table, fault func(field, detail string)) (*Schema, bool) {
	s := &Schema{Name: name, Description: d.Description, Title: d.TitleColumn(), Declared: true, Next: 1}
	ok := true
	for i := range d.Columns {
		c := &d.Columns[i]
		t, secret, err := ParseType(c.Type)
		if err != nil {
			fault("columns."+c.Name+".type", err.Error())
			ok = false
		}
		s.Columns = append(s.Columns, Column{ID: s.Next, Name: c.Name, Type: t, To: c.To, Secret: secret || c.Secret, Indexed: c.Indexed, Display: c.Display,
			Description: c.Description, Order: c.Order, Hidden: c.Hidden, Declared: true})
		s.Next++
	}
	if !ok {
		return nil, false
	}
	if title, ok := s.Column(s.Title); ok && title.Type != Reference {
		title.Indexed = !title.Secret
	}
	if err := s.check(); err != nil {
		e, _ := errors.AsType[*SchemaError](err)
		field := "columns"
		switch {
		case e.Column == "":
		case d.Title != "" && e.Column == d.Title:
			field = "title"
		default:
			field += "." + e.Column
		}
		if e.Column != "" && field == "columns."+e.Column && strings.ContainsAny(e.Column, " .") {
			field = "columns"
		}
		fault(field, strings.TrimPrefix(e.Error(), "table "+name+", column "+e.Column+": "))
		return nil, false
	}
	return s, true
}

// checkSeeds reports what is wrong with rows whatever is stored.
func checkSeeds(s *Schema, d *freshet.Table, fault func(field, detail string)) {
	seen := map[string]int{}
	for i, r := range d.Rows {
		at := fmt.Sprintf("rows[%d]", i)
		title := r[s.Title]
		if title == nil && s.Title != TitleAlias {
			title = r[TitleAlias]
		}
		if title == nil || title == "" {
			fault(at, fmt.Sprintf("has no %s, by which a row that is there already is known", s.Title))
		} else if first, twice := seen[fmt.Sprint(title)]; twice {
			fault(at+"."+s.Title, fmt.Sprintf("is the %s of rows[%d], too", s.Title, first))
		} else {
			seen[fmt.Sprint(title)] = i
		}
		for _, name := range slices.Sorted(maps.Keys(r)) {
			c, ok := s.Column(name)
			if !ok {
				fault(at+"."+short(name), (&ColumnError{Table: s.Name, Column: short(name), Columns: s.Names()}).Error())
				continue
			}
			if c.Type == Reference {
				continue // the row may come with the same apply
			}
			v := r[name]
			if secret, ok := v.(freshet.Secret); ok {
				v = secret.Reveal()
			}
			if _, err := s.convert(c, v); err != nil {
				fault(at+"."+name, strings.TrimPrefix(err.Error(), "table "+s.Name+", column "+c.Name+": "))
			}
		}
	}
}

// apply brings a table to what is wanted. try: it will be undone, and what comes
// with other tables of the same apply may not be there yet.
func (t *Tables) apply(tx *store.TableTx, want *Schema, d *freshet.Table, try bool) (differs bool, err error) {
	w, err := t.hold(tx, applied, want.Name)
	switch {
	case errors.Is(err, ErrNoTable):
		made, err := t.create(tx, *want)
		if err != nil {
			return false, err
		}
		w, differs = &writer{t: t, tx: tx, s: made, by: applied}, true
	case err != nil:
		return false, err
	default:
		if differs, err = w.alter(want); err != nil {
			return false, err
		}
	}
	title, _ := w.s.Column(w.s.Title)
	for _, r := range d.Rows {
		values := map[string]any(r)
		v, ok := values[title.Name]
		if !ok {
			v = values[TitleAlias]
		}
		if title.Type == Reference {
			if v, err = w.reference(title, v); err != nil {
				if try {
					continue
				}
				return false, err
			}
		}
		rows, err := w.find(w.s, title, v)
		if err != nil {
			return false, err
		}
		if len(rows) > 0 {
			continue
		}
		if differs = true; try {
			values = w.withoutReferences(values)
		}
		if _, err := w.insert(values); err != nil {
			return false, err
		}
	}
	return differs, w.done()
}

// withoutReferences is a row without what other tables may be needed for.
func (w *writer) withoutReferences(values map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range values {
		if c, ok := w.s.Column(name); !ok || c.Type != Reference {
			out[name] = v
		}
	}
	return out
}

// alter changes the columns of a table that is there.
func (w *writer) alter(want *Schema) (differs bool, err error) {
	old := w.s
	n := old.clone()
	n.Description, n.Title, n.Declared = want.Description, want.Title, true
	n.Columns = nil
	var fill, empty []int64
	for i := range want.Columns {
		c := want.Columns[i]
		was, ok := old.named(c.Name)
		switch {
		case !ok:
			c.ID = n.Next
			n.Next++
		case was.Secret == c.Secret && was.To == c.To && (was.Type == c.Type || widens(was.Type, c.Type)):
			c.ID = was.ID
			c.Indexed = c.Indexed || was.Indexed && !c.Secret // a run may have asked for it
			if c.indexed() && !was.indexed() {
				fill = append(fill, c.ID)
			}
		default:
			// Another column of the same name: what is on record of the old one
			// must not be read as the new.
			if filled, err := w.filled(was); err != nil {
				return false, err
			} else if filled {
				return false, &SchemaError{Table: old.Name, Column: c.Name, Detail: changeText(was, &c)}
			}
			empty = append(empty, was.ID)
			c.ID = n.Next
			n.Next++
		}
		n.Columns = append(n.Columns, c)
	}
	for i := range old.Columns {
		c := old.Columns[i]
		if _, kept := want.named(c.Name); kept {
			continue
		}
		if !c.Declared { // by a run
			n.Columns = append(n.Columns, c)
			continue
		}
		if filled, err := w.filled(&c); err != nil {
			return false, err
		} else if filled {
			return false, &SchemaError{Table: old.Name, Column: c.Name, Detail: "is not in the file any more, and rows have values in it: clear them first, or keep the column"}
		}
		empty = append(empty, c.ID)
	}
	// Compared as they are kept.
	before, err := old.encode()
	if err != nil {
		return false, err
	}
	after, err := n.encode()
	if err != nil || before == after {
		return false, err
	}
	if err := w.setSchema(n); err != nil {
		return false, err
	}
	for _, id := range empty {
		if err := w.tx.DropCells(n.ID, id); err != nil {
			return false, err
		}
	}
	for _, id := range fill {
		if err := w.fillIndex(n.byID(id)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// named is Column without the alias.
func (s *Schema) named(name string) (*Column, bool) {
	i := slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return nil, false
	}
	return &s.Columns[i], true
}

// widens reports whether all values of a type are values of the other, kept
// alike.
func widens(from, to Type) bool {
	return from == Integer && to == BigInteger || from.text() && to.text()
}

func changeText(was, is *Column) string {
	switch {
	case is.Secret && !was.Secret:
		return "is to be secret, and rows have values in it that are on record in clear: make a secret column of another name, move the values, and drop this one"
	case was.Secret && !is.Secret:
		return "is secret, and rows have values in it: they would be shown. Clear them first"
	case was.To != is.To && was.Type == is.Type:
		return fmt.Sprintf("refers to table %s, not %s, and rows have values in it: clear them first", was.To, is.To)
	}
	return fmt.Sprintf("is %s, and rows have values in it: it can become %s when they are cleared", was.Type, is.Type)
}

// filled reports whether a row has a value in a column.
func (w *writer) filled(c *Column) (bool, error) {
	if c.indexed() {
		cond := present(c)
		rows, err := w.tx.Find(store.RowQuery{Table: w.s.ID, Where: &cond, Limit: 1})
		return len(rows) > 0, err
	}
	after := int64(0)
	for {
		rows, err := w.tx.RowsAfter(w.s.ID, after, 500)
		if err != nil {
			return false, err
		}
		for _, r := range rows {
			after = r.ID
			data, err := decodeCells(r.Data)
			if err != nil {
				return false, err
			}
			if data[c.ID] != nil {
				return true, nil
			}
		}
		if len(rows) < 500 {
			return false, nil
		}
	}
}

// Declaration writes a table as a file would declare it, without rows.
func (s *Schema) Declaration() *freshet.Table {
	d := &freshet.Table{Name: s.Name, Description: s.Description}
	if len(s.Columns) > 0 && s.Columns[0].Name != s.Title {
		d.Title = s.Title
	}
	for i := range s.Columns {
		c := &s.Columns[i]
		d.Columns = append(d.Columns, freshet.TableColumn{Name: c.Name, Type: string(c.Type), To: c.To, Secret: c.Secret, Display: c.Display, Description: c.Description,
			Indexed: c.Indexed && c.Name != s.Title, Order: c.Order, Hidden: c.Hidden})
	}
	return d
}
