package table

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/table/odata"
)

// maxColumns bounds a table: its rows are read whole.
const maxColumns = 500

// tableName is safe in a URL, a key's scope and a filter's error.
var tableName = regexp.MustCompile(`^[\pL_0-9][\pL\pN _.-]{0,127}$`)

// ParseType reads a type as files, workflows and people write it: a name in any
// case, or the number by which workflows know it. secret is a string that is
// kept sealed.
func ParseType(s string) (t Type, secret bool, err error) {
	word := strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "", "/", "").Replace(s))
	if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil && n >= 0 && n < len(Types) {
		return Types[n], false, nil
	}
	switch word {
	case "string", "text":
		return String, false, nil
	case "secret":
		return String, true, nil
	case "integer", "int":
		return Integer, false, nil
	case "bigint", "biginteger", "long":
		return BigInteger, false, nil
	case "decimal2":
		return Decimal2, false, nil
	case "decimal5", "decimal":
		return Decimal5, false, nil
	case "boolean", "bool", "truefalse":
		return Boolean, false, nil
	case "datetime", "date":
		return DateTime, false, nil
	case "url":
		return URL, false, nil
	case "embed":
		return Embed, false, nil
	case "reference":
		return Reference, false, nil
	}
	return "", false, fmt.Errorf("%q is not a type; there are string, integer, bigint, decimal2, decimal5, boolean, datetime, url, embed, reference and secret", short(s))
}

// Number is what workflows know the type by.
func (t Type) Number() int { return slices.Index(Types[:], t) }

// scale is how many digits a decimal has after its point.
func (t Type) scale() int {
	switch t {
	case Decimal2:
		return 2
	case Decimal5:
		return 5
	}
	return 0
}

// text reports whether cells of the type are texts; the others are numbers.
func (t Type) text() bool { return t == String || t == URL || t == Embed }

// kind is what the type is in a filter.
func (t Type) kind() odata.Kind {
	switch {
	case t.text():
		return odata.Text
	case t == Boolean:
		return odata.Bool
	case t == DateTime:
		return odata.Time
	}
	return odata.Num
}

// short bounds what an error shows of a text.
func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// spec is a Schema as its row keeps it.
type spec struct {
	Description string   `json:"description,omitempty"`
	Title       string   `json:"title"`
	Columns     []Column `json:"columns"`
	Next        int64    `json:"next"`
	Declared    bool     `json:"declared,omitempty"`
}

func (s *Schema) encode() (string, error) {
	b, err := json.Marshal(spec{s.Description, s.Title, s.Columns, s.Next, s.Declared})
	return string(b), err
}

func decodeSchema(t store.Table) (*Schema, error) {
	var sp spec
	if err := json.Unmarshal([]byte(t.Spec), &sp); err != nil {
		return nil, fmt.Errorf("read table %s: %w", t.Name, err)
	}
	return &Schema{ID: t.ID, Name: t.Name, Description: sp.Description, Title: sp.Title, Columns: sp.Columns, Next: sp.Next, Declared: sp.Declared,
		Rows: t.Rows, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt, revision: t.Revision}, nil
}

// clone returns a Schema that may be changed.
func (s *Schema) clone() *Schema {
	c := *s
	c.Columns = slices.Clone(s.Columns)
	return &c
}

// byID returns the column with the number.
func (s *Schema) byID(id int64) *Column {
	for i := range s.Columns {
		if s.Columns[i].ID == id {
			return &s.Columns[i]
		}
	}
	return nil
}

// check says what is wrong with a table, whoever declares it.
func (s *Schema) check() error {
	bad := func(column, format string, args ...any) error {
		return &SchemaError{Table: s.Name, Column: column, Detail: fmt.Sprintf(format, args...)}
	}
	if !tableName.MatchString(s.Name) || strings.TrimSpace(s.Name) != s.Name || strings.Trim(s.Name, "0123456789") == "" {
		return &SchemaError{Table: short(s.Name), Detail: "a name begins with a letter, digit or underscore, has letters, digits, blanks, dots, hyphens and underscores, is not a number and at most 128 long"}
	}
	if len(s.Columns) == 0 {
		return bad("", "a table has at least one column")
	}
	if len(s.Columns) > maxColumns {
		return bad("", "a table has at most %d columns", maxColumns)
	}
	seen := map[string]bool{}
	for i := range s.Columns {
		c := &s.Columns[i]
		switch {
		case c.Name == ObjectID:
			return bad(c.Name, "the name is that of a row's number")
		case !odata.IsName(c.Name) || len(c.Name) > 128:
			return bad(short(c.Name), "a name has letters, digits and underscores, begins with a letter, is no word of filters and at most 128 long")
		case seen[c.Name]:
			return bad(c.Name, "is given twice")
		case c.Type.Number() < 0:
			return bad(c.Name, "%q is not a type", short(string(c.Type)))
		case c.Type == Reference && c.To == "":
			return bad(c.Name, "a reference names the table that it refers to")
		case c.Type != Reference && c.To != "":
			return bad(c.Name, "only a reference refers to a table")
		case c.Type == Reference && c.Secret:
			return bad(c.Name, "a reference is not kept sealed: who deletes what it refers to has to see it")
		case c.Secret && c.Indexed:
			return bad(c.Name, "a secret is in no index: filters do not see it")
		}
		seen[c.Name] = true
	}
	title, ok := s.Column(s.Title)
	switch {
	case !ok:
		return bad(s.Title, "is the title and no column")
	case title.Secret:
		return bad(s.Title, "names rows, so it is no secret: choose another title")
	}
	return nil
}

// maxKey is how many bytes of a text an index keeps; a database bounds what an
// index entry may hold.
const maxKey = 256

// key is what an index keeps of a text. Keys order as texts do up to there: a
// text of less than maxKey-4 bytes compares with a key as with the whole text.
func key(s string) string {
	if len(s) <= maxKey {
		return s
	}
	n := maxKey
	for n > maxKey-4 && s[n]&0xc0 == 0x80 { // not inside a character
		n--
	}
	return s[:n]
}

// wholeKey reports whether comparing keys with s is comparing texts with s.
func wholeKey(s string) bool { return len(s) < maxKey-4 }

// schema reads a table by its name or number.
func (t *Tables) schema(ctx context.Context, name string) (*Schema, error) {
	row, err := t.o.Store.Table(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		if id, ok := number(name); ok {
			row, err = t.o.Store.TableByID(ctx, id)
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, &NotFoundError{Table: short(name)}
	}
	if err != nil {
		return nil, err
	}
	return t.decode(row)
}

func (t *Tables) schemaByID(ctx context.Context, id int64) (*Schema, error) {
	row, err := t.o.Store.TableByID(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &NotFoundError{Table: strconv.FormatInt(id, 10)}
	}
	if err != nil {
		return nil, err
	}
	return t.decode(row)
}

// number reads a table's number as a document writes it.
func number(s string) (int64, bool) {
	id, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return id, err == nil && id > 0
}

// decode reads a schema, once for each revision.
func (t *Tables) decode(row store.Table) (*Schema, error) {
	t.mu.Lock()
	known := t.known[row.ID]
	t.mu.Unlock()
	if known == nil || known.revision != row.Revision || known.Name != row.Name {
		s, err := decodeSchema(row)
		if err != nil {
			return nil, err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if len(t.known) >= maxKnown {
			clear(t.known)
		}
		t.known[row.ID] = s
		return s, nil
	}
	if known.Rows != row.Rows {
		c := *known // the columns are shared
		c.Rows = row.Rows
		return &c, nil
	}
	return known, nil
}

// maxKnown bounds the schemas that are kept decoded.
const maxKnown = 1024
