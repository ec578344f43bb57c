package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
)

type rowsCmd struct {
	List    rowsListCmd    `cmd:"" default:"withargs" help:"Rows of a table."`
	Add     rowsAddCmd     `cmd:"" help:"Insert a row."`
	Set     rowsSetCmd     `cmd:"" help:"Change columns of a row."`
	Delete  rowsDeleteCmd  `cmd:"" help:"Delete a row."`
	History rowsHistoryCmd `cmd:"" help:"Versions of a row, newest first."`
	Import  rowsImportCmd  `cmd:"" help:"Insert or change rows out of a CSV or JSON file, all or none."`
	Export  rowsExportCmd  `cmd:"" help:"Write rows as CSV or JSON."`
}

// A selection says which rows.
type selection struct {
	Table   string `arg:"" name:"TABLE" help:"The table, by name or number."`
	Filter  string `placeholder:"CONDITION" help:"Only these, written as in workflows: Key eq 'AccessToken'."`
	Orderby string `placeholder:"COLUMNS" help:"In this order: Column desc, Other asc. By default that of their numbers."`
	Top     int    `placeholder:"N" help:"How many at most."`
	Skip    int    `placeholder:"N" help:"How many to leave out, after filter and order."`
}

func (s selection) query(most int) (api.RowQuery, error) {
	if s.Top < 0 || s.Skip < 0 {
		return api.RowQuery{}, usage("--top and --skip are not negative")
	}
	q := api.RowQuery{Filter: s.Filter, OrderBy: s.Orderby, Skip: s.Skip, Limit: s.Top}
	if q.Limit == 0 {
		q.Limit = most
	}
	return q, nil
}

type rowsListCmd struct {
	remote    `embed:""`
	format    `embed:""`
	selection `embed:""`
	Expand    bool `help:"Show the rows that references refer to, with --output json."`
}

// Help gives the example that --help shows.
func (rowsListCmd) Help() string {
	return example("freshet rows Settings --filter \"Key eq 'AccessToken'\"", "Secrets show as [secret]. Without --top a table shows 200 rows, json all.")
}

// Run lists rows.
func (c *rowsListCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	const shown = 200
	most := shown + 1
	if c.json() {
		most = 0
	}
	q, err := c.query(most)
	if err != nil {
		return err
	}
	q.Expand = c.Expand
	all := []json.RawMessage{}
	if err := cl.Rows(e.ctx, c.Table, q, func(r json.RawMessage) error {
		all = append(all, r)
		return nil
	}); err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"rows": all})
	}
	if len(all) == 0 {
		fmt.Fprintln(e.stderr, "no row is so")
		return nil
	}
	if c.Top == 0 && len(all) > shown {
		all = all[:shown]
		defer fmt.Fprintf(e.stderr, "there are more than %d rows: choose with --filter, --top and --skip\n", shown)
	}
	return rowTable(all).print(e.stdout)
}

// rowTable puts rows under their columns.
func rowTable(rows []json.RawMessage) *table {
	var t *table
	for _, raw := range rows {
		names, cells := members(raw)
		if t == nil {
			t = newTable(names...)
		}
		t.add(cells...)
	}
	return t
}

// members are the columns of a row in their order, and their values as text.
func members(raw json.RawMessage) (names, cells []string) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		return nil, nil
	}
	for d.More() {
		name, err := d.Token()
		var v any
		if err == nil {
			err = d.Decode(&v)
		}
		if err != nil {
			return names, cells
		}
		if s, ok := name.(string); ok && !strings.HasPrefix(s, "@") {
			names, cells = append(names, s), append(cells, cellText(v))
		}
	}
	return names, cells
}

// cellText is a value as a table shows it.
func cellText(v any) string {
	s := ""
	switch v := v.(type) {
	case nil:
	case map[string]any:
		s = fmt.Sprint(v["ObjectId"])
	default:
		s = fmt.Sprint(v)
	}
	if r := []rune(s); len(r) > 60 {
		s = string(r[:59]) + "…"
	}
	return s
}

// A rowArg names a row.
type rowArg struct {
	Table string `arg:"" name:"TABLE" help:"The table, by name or number."`
	Row   string `arg:"" name:"ROW" help:"The row: its ObjectId, or its title."`
}

// find returns the row's number.
func (a rowArg) find(e *env, cl *api.Client) (int64, error) {
	if id, err := strconv.ParseInt(a.Row, 10, 64); err == nil {
		return id, nil
	}
	t, err := cl.Table(e.ctx, a.Table)
	if err != nil {
		return 0, err
	}
	var ids []int64
	filter := t.Title + " eq '" + strings.ReplaceAll(a.Row, "'", "''") + "'"
	if err := cl.Rows(e.ctx, a.Table, api.RowQuery{Filter: filter, Limit: 2}, func(raw json.RawMessage) error {
		var r struct{ ObjectId int64 } //nolint:revive // the member's name
		err := json.Unmarshal(raw, &r)
		ids = append(ids, r.ObjectId)
		return err
	}); err != nil {
		return 0, err
	}
	switch len(ids) {
	case 0:
		return 0, withHint(fmt.Errorf("table %s has no row whose %s is %q", a.Table, t.Title, a.Row), "see what there is with: freshet rows %s", a.Table)
	case 1:
		return ids[0], nil
	}
	return 0, withHint(fmt.Errorf("several rows of table %s have the %s %q", a.Table, t.Title, a.Row), "name it by its ObjectId: freshet rows %s", a.Table)
}

// values reads COLUMN=VALUE, COLUMN=@FILE and COLUMN:=JSON.
func values(e *env, list []string) (json.RawMessage, error) {
	out := map[string]any{}
	for _, s := range list {
		name, v, ok := strings.Cut(s, "=")
		if !ok || name == "" || name == ":" {
			return nil, usage("%q is not COLUMN=VALUE", strings.SplitN(s, "=", 2)[0])
		}
		if column, isJSON := strings.CutSuffix(name, ":"); isJSON {
			var value any
			d := json.NewDecoder(strings.NewReader(v))
			d.UseNumber()
			if err := d.Decode(&value); err != nil || d.More() {
				return nil, usage("%s is given by :=, and what follows is not JSON", column)
			}
			out[column] = value
			continue
		}
		if file, isFile := strings.CutPrefix(v, "@"); isFile {
			b, err := readValue(e, file)
			if err != nil {
				return nil, err
			}
			v = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		}
		out[name] = v
	}
	return json.Marshal(out)
}

// maxImported bounds the files that are sent.
const maxImported = 64 << 20

func readValue(e *env, name string) ([]byte, error) {
	r, from := e.stdin, "the standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, readError(err)
		}
		defer f.Close()
		r, from = f, name
	}
	b, err := io.ReadAll(io.LimitReader(r, maxImported+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, cause(err))
	}
	if len(b) > maxImported {
		return nil, fmt.Errorf("%s is larger than %d MiB: split it", from, maxImported>>20)
	}
	return b, nil
}

type rowsAddCmd struct {
	remote `embed:""`
	format `embed:""`
	Table  string   `arg:"" name:"TABLE" help:"The table, by name or number."`
	Values []string `arg:"" name:"COLUMN=VALUE" help:"Values by column. COLUMN=@FILE reads a file, COLUMN=@- the standard input, COLUMN:=JSON is a JSON value."`
}

// secretTip is said where values are given.
const secretTip = "A secret does not belong on a command line, which others see: COLUMN=@FILE reads it, COLUMN=@- takes it from the standard input."

// Help gives the example that --help shows.
func (rowsAddCmd) Help() string {
	return example("freshet rows add Settings Key=APIBaseURL Data1=@base-url.txt", secretTip)
}

// Run inserts the row.
func (c *rowsAddCmd) Run(e *env) error {
	given, err := values(e, c.Values)
	if err != nil {
		return err
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	row, err := cl.InsertRow(e.ctx, c.Table, given)
	if err != nil {
		return err
	}
	return printRow(e, c.format, row)
}

func printRow(e *env, f format, row json.RawMessage) error {
	if f.json() {
		return printJSON(e.stdout, row)
	}
	return rowTable([]json.RawMessage{row}).print(e.stdout)
}

type rowsSetCmd struct {
	remote `embed:""`
	format `embed:""`
	rowArg `embed:""`
	Values []string `arg:"" name:"COLUMN=VALUE" help:"As with rows add. Columns that are not given stay; COLUMN:=null clears one."`
}

// Help gives the example that --help shows.
func (rowsSetCmd) Help() string {
	return example("freshet rows set Settings AccessToken Data1=@token.txt Data2=2026-03-01T12:00:00Z", "All columns change in one transaction. "+secretTip)
}

// Run changes the row.
func (c *rowsSetCmd) Run(e *env) error {
	given, err := values(e, c.Values)
	if err != nil {
		return err
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	id, err := c.find(e, cl)
	if err != nil {
		return err
	}
	row, err := cl.UpdateRow(e.ctx, c.Table, id, given)
	if err != nil {
		return err
	}
	return printRow(e, c.format, row)
}

type rowsDeleteCmd struct {
	remote `embed:""`
	rowArg `embed:""`
}

// Help gives the example that --help shows.
func (rowsDeleteCmd) Help() string {
	return example("freshet rows delete Settings Style", "A row that others refer to stays.")
}

// Run deletes the row.
func (c *rowsDeleteCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	id, err := c.find(e, cl)
	if err != nil {
		return err
	}
	if err := cl.DeleteRow(e.ctx, c.Table, id); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "deleted    row %d of %s\n", id, plain(c.Table))
	return nil
}

type rowsHistoryCmd struct {
	remote `embed:""`
	format `embed:""`
	rowArg `embed:""`
	Top    int `default:"20" placeholder:"N" help:"How many at most."`
}

// Help gives the example that --help shows.
func (rowsHistoryCmd) Help() string {
	return example("freshet rows history Settings AccessToken", "A row that was deleted is named by its ObjectId.")
}

// Run lists the versions.
func (c *rowsHistoryCmd) Run(e *env) error {
	if c.Top < 1 {
		return usage("--top is at least 1")
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	id, err := c.find(e, cl)
	if err != nil {
		return err
	}
	list, err := cl.RowHistory(e.ctx, c.Table, id, c.Top)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"history": append([]json.RawMessage{}, list...)})
	}
	var t *table
	for _, raw := range list {
		var v struct {
			Version int64     `json:"@version"`
			At      time.Time `json:"@updated_at"`
			Action  string    `json:"@action"`
			By      string    `json:"@by"`
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("the history does not read: %w", err)
		}
		names, cells := members(raw)
		if t == nil {
			t = newTable(append([]string{"VERSION", "WHEN", "DID", "WHO"}, names[1:]...)...)
		}
		t.add(append([]string{fmt.Sprint(v.Version), v.At.Local().Format("2006-01-02 15:04:05"), v.Action, v.By}, cells[1:]...)...)
	}
	if t == nil {
		return nil
	}
	return t.print(e.stdout)
}

type rowsImportCmd struct {
	remote     `embed:""`
	Table      string `arg:"" name:"TABLE" help:"The table, by name or number."`
	File       string `short:"f" required:"" placeholder:"FILE" help:"CSV with a line of column names, or a JSON list of objects; - for the standard input."`
	Key        string `placeholder:"COLUMN" help:"Rows that have the same value in this column are changed."`
	AddColumns bool   `help:"Make columns that are not there."`
}

// Help gives the example that --help shows.
func (rowsImportCmd) Help() string {
	return example("freshet rows import Settings -f settings.csv --key Key", "Rows that give their ObjectId are changed as well, so that an export can be edited and read back; [secret] keeps what is stored.")
}

// Run imports the file.
func (c *rowsImportCmd) Run(e *env) error {
	b, err := readValue(e, c.File)
	if err != nil {
		return err
	}
	kind := "text/csv"
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && (trimmed[0] == '[' || trimmed[0] == '{') {
		kind = "application/json"
		if trimmed[0] == '{' {
			// What rows list prints, or one row.
			var list struct {
				Rows json.RawMessage `json:"rows"`
			}
			if err := json.Unmarshal(trimmed, &list); err == nil && list.Rows != nil {
				b = list.Rows
			} else {
				b = append(append([]byte{'['}, trimmed...), ']')
			}
		}
		if b, err = withoutServers(b); err != nil {
			return err
		}
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	done, err := cl.ImportRows(e.ctx, c.Table, kind, b, c.Key, c.AddColumns)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s: %d inserted, %d updated, %d unchanged\n", plain(c.Table), done.Inserted, done.Updated, done.Unchanged)
	return nil
}

// withoutServers takes away what a server adds to rows: @version and its kin.
func withoutServers(b []byte) ([]byte, error) {
	var rows []map[string]json.RawMessage
	if err := json.Unmarshal(b, &rows); err != nil {
		return nil, withHint(errors.New("the file is not a JSON list of objects"), `write it like [{"Key": "a", "Data1": "b"}]`)
	}
	for _, r := range rows {
		for name := range r {
			if strings.HasPrefix(name, "@") {
				delete(r, name)
			}
		}
	}
	return json.Marshal(rows)
}

type rowsExportCmd struct {
	remote    `embed:""`
	selection `embed:""`
	Format    string `default:"csv" enum:"csv,json" placeholder:"FORMAT" help:"csv or json."`
}

// Help gives the example that --help shows.
func (rowsExportCmd) Help() string {
	return example("freshet rows export Settings > settings.csv", "Secrets are written as [secret].")
}

// Run writes the rows.
func (c *rowsExportCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	q, err := c.query(0)
	if err != nil {
		return err
	}
	if c.Format == "csv" {
		return cl.RowsCSV(e.ctx, c.Table, q, e.stdout)
	}
	all := []json.RawMessage{}
	if err := cl.Rows(e.ctx, c.Table, q, func(r json.RawMessage) error {
		all = append(all, r)
		return nil
	}); err != nil {
		return err
	}
	return printJSON(e.stdout, all)
}

// tables lists the tables, those too that runs made.
func (c *getCmd) tables(e *env, cl *api.Client) error {
	all := []json.RawMessage{}
	t := newTable("NAME", "ROWS", "COLUMNS", "FROM")
	if err := cl.List(e.ctx, "/api/v1/tables?limit=200", "tables", func(raw json.RawMessage) error {
		all = append(all, raw)
		var s api.Table
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("GET /api/v1/tables: %w", err)
		}
		t.add(s.Name, fmt.Sprint(s.Rows), strings.Join(columnNames(&s), " "), tableOrigin(&s))
		return nil
	}); err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"tables": all})
	}
	if len(all) == 0 {
		fmt.Fprintln(e.stderr, "there are no tables yet; write tables: in a file and apply it with: freshet apply -f FILE")
		return nil
	}
	return t.print(e.stdout)
}

func tableOrigin(t *api.Table) string {
	if t.Declared {
		return "applied"
	}
	return "a run"
}

func columnNames(t *api.Table) []string {
	var names []string
	for _, c := range t.Columns {
		name := c.Name
		if c.Secret {
			name += " (secret)"
		}
		names = append(names, name)
	}
	return names
}

// table shows one table.
func (c *getCmd) table(e *env, raw json.RawMessage) error {
	var s api.Table
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("the table does not read: %w", err)
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(e.stdout, "%-12s %s\n", name, plain(value))
		}
	}
	line("name", s.Name)
	line("number", fmt.Sprint(s.ID))
	line("description", s.Description)
	line("title", s.Title)
	line("rows", fmt.Sprint(s.Rows))
	line("from", tableOrigin(&s))
	fmt.Fprintln(e.stdout)
	t := newTable("COLUMN", "TYPE", "")
	for _, col := range s.Columns {
		var notes []string
		if col.To != "" {
			notes = append(notes, "to "+col.To)
		}
		if col.Secret {
			notes = append(notes, "secret")
		}
		if col.Indexed {
			notes = append(notes, "indexed")
		}
		t.add(col.Name, col.Type, strings.Join(notes, ", "))
	}
	return t.print(e.stdout)
}
