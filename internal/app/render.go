package app

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	html "html/template"
	"io"
	"slices"
	"strings"
)

//go:embed page.html page.css page.js
var assets embed.FS

// Policy is the Content-Security-Policy of pages: their own style sheet and
// script, requests to their own server, and nothing from elsewhere.
const Policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Asset returns what pages refer to, and its type; nil if there is none of the
// name.
func Asset(name string) (body []byte, media string) {
	media = map[string]string{"page.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"}[name]
	if media == "" {
		return nil, ""
	}
	b, err := assets.ReadFile(name)
	if err != nil {
		return nil, ""
	}
	return b, media
}

var pageTemplate = html.Must(html.ParseFS(assets, "page.html"))

// rowsShown bounds the rows of a table that go into a page.
const rowsShown = 2000

// A grid is a table as a page shows it.
type grid struct {
	Columns []string
	Rows    [][]string
	All     int // rows of the data
	Size    int // rows on one page of it
}

// A drawn widget is one as the template needs it.
type drawn struct {
	Type, Name, Label, Text, Error, Value, Input string
	Grid                                         *grid
	Options                                      []string
	On                                           bool
}

// Render writes the page as HTML.
func (v *View) Render(w io.Writer) error {
	var page struct {
		*View
		Draw    []drawn
		Buttons bool
	}
	page.View = v
	for i := range v.Widgets {
		d := v.Widgets[i].draw()
		page.Buttons = page.Buttons || d.Type == "button"
		page.Draw = append(page.Draw, d)
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, page); err != nil {
		return fmt.Errorf("page %s/%s: %w", v.App, v.Page, err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (s *Shown) draw() drawn {
	d := drawn{Type: s.Type, Name: s.Name, Label: s.Values["label"].text(), Text: s.Values["text"].text(), Error: s.Error, Input: s.AppWidget.Input, Options: s.Options}
	if d.Label == "" {
		d.Label = s.Name
	}
	if d.Input == "" {
		d.Input = "text"
	}
	d.Value = s.Input
	if d.Value == "" {
		d.Value = s.Values["default"].text()
	}
	if d.Input == "password" {
		d.Value = "" // what was typed there is not shown again
	}
	d.On = d.Value == "true" || d.Value == "on"
	if s.Type == "table" && d.Error == "" {
		var err error
		if d.Grid, err = gridOf(s.Values["data"], s.Columns); err != nil {
			d.Error = err.Error()
		} else if d.Grid.Size = s.Rows; d.Grid.Size <= 0 {
			d.Grid.Size = 10
		}
	}
	return d
}

// gridOf makes a table of data: a list of objects, whose keys in the order of
// their first appearance are its columns. Nothing is an empty table.
func gridOf(v value, columns []string) (*grid, error) {
	g := &grid{Columns: columns}
	if v.nothing() {
		return g, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(v), &list); err != nil {
		return nil, fmt.Errorf("what the table is bound to is no list but %s; bind it to the list in the answer, such as {{query.data.results}}", kindOf(v))
	}
	g.All = len(list)
	var rows []map[string]json.RawMessage
	for _, raw := range list[:min(len(list), rowsShown)] {
		keys, row := members(raw)
		if row == nil {
			keys, row = []string{"value"}, map[string]json.RawMessage{"value": raw}
		}
		if columns == nil {
			for _, k := range keys {
				if !slices.Contains(g.Columns, k) && len(g.Columns) < 100 {
					g.Columns = append(g.Columns, k)
				}
			}
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		cells := make([]string, len(g.Columns))
		for i, c := range g.Columns {
			cells[i] = value(compact(row[c])).text()
		}
		g.Rows = append(g.Rows, cells)
	}
	return g, nil
}

func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return ""
	}
	return b.String()
}

// members are an object's, with the order of their names; nil if raw is none.
func members(raw json.RawMessage) ([]string, map[string]json.RawMessage) {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil || m == nil {
		return nil, nil
	}
	var keys []string
	d := json.NewDecoder(bytes.NewReader(raw))
	d.Token()
	for d.More() {
		k, err := d.Token()
		if err != nil {
			break
		}
		if s, ok := k.(string); ok && !slices.Contains(keys, s) {
			keys = append(keys, s)
		}
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			break
		}
	}
	return keys, m
}

func kindOf(v value) string {
	switch s := strings.TrimSpace(string(v)); {
	case strings.HasPrefix(s, "{"):
		return "an object"
	case strings.HasPrefix(s, `"`):
		return "text"
	case s == "true" || s == "false":
		return "a truth value"
	}
	return "a number"
}
