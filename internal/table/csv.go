package table

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Blank is an empty field of a CSV file, which cannot tell null from a text
// without characters: given to a column it leaves either as it is, and makes
// any other value null.
var Blank = blank{}

type blank struct{}

// A CSV writes rows as RFC 4180 has it, the number first, then the columns in
// the table's order. Secrets are freshet.Redacted, which keeps what is stored
// when the file is read back.
type CSV struct {
	w     *csv.Writer
	names []string
}

// NewCSV writes the header of a table.
func NewCSV(w io.Writer, s *Schema) (*CSV, error) {
	c := &CSV{w: csv.NewWriter(w), names: s.Names()}
	return c, c.w.Write(append([]string{ObjectID}, c.names...))
}

// Write writes rows.
func (c *CSV) Write(rows ...*Row) error {
	for _, r := range rows {
		record := make([]string, 1, len(c.names)+1)
		record[0] = fmt.Sprint(r.ObjectID)
		for _, name := range c.names {
			record = append(record, field(r.Values[name]))
		}
		if err := c.w.Write(record); err != nil {
			return err
		}
	}
	c.w.Flush()
	return c.w.Error()
}

func field(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case time.Time:
		return v.UTC().Format(timeForm)
	case *Row:
		return fmt.Sprint(v.ObjectID)
	}
	return fmt.Sprint(v)
}

// A CSVError is a CSV file that does not read. It shows nothing of its fields.
type CSVError struct {
	Line   int // 0: the whole file
	Detail string
}

// Error says where and why.
func (e *CSVError) Error() string {
	if e.Line == 0 {
		return "the CSV file " + e.Detail
	}
	return fmt.Sprintf("line %d of the CSV file: %s", e.Line, e.Detail)
}

// maxImport bounds the rows of one import, which is one transaction.
const maxImport = 200_000

// ReadCSV reads rows for Upsert: a header with names of columns, then a record
// for each row.
func ReadCSV(r io.Reader) ([]map[string]any, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	fault := func(err error) error {
		if e, ok := errors.AsType[*csv.ParseError](err); ok {
			text := "does not read: a quote inside a field is doubled, and the field stands in quotes"
			if errors.Is(e.Err, csv.ErrFieldCount) {
				text = "has another number of fields than the header"
			}
			return &CSVError{Line: e.Line, Detail: text}
		}
		return err
	}
	head, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, &CSVError{Detail: "is empty: its first line names the columns"}
	}
	if err != nil {
		return nil, fault(err)
	}
	names := slices.Clone(head)
	names[0] = strings.TrimPrefix(names[0], "\ufeff")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
		if names[i] == "" || slices.Contains(names[:i], names[i]) {
			return nil, &CSVError{Line: 1, Detail: fmt.Sprintf("column %d of the header has no name of its own", i+1)}
		}
	}
	var out []map[string]any
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fault(err)
		}
		line, _ := in.FieldPos(0)
		if len(out) == maxImport {
			return nil, &CSVError{Line: line, Detail: fmt.Sprintf("is more than %d rows: split the file", maxImport)}
		}
		row := make(map[string]any, len(names))
		for i, v := range record {
			if !utf8.ValidString(v) {
				return nil, &CSVError{Line: line, Detail: "is not UTF-8 text"}
			}
			if v == "" {
				row[names[i]] = Blank
			} else {
				row[names[i]] = v
			}
		}
		out = append(out, row)
	}
}
