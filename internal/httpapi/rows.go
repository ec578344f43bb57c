package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/table"
)

const (
	maxTop    = 10_000   // rows of one answer in JSON
	maxRow    = 16 << 20 // bytes of one row that is written
	maxImport = 64 << 20 // bytes of an import
	csvPage   = 1000     // rows that are read at once for an answer in CSV
)

// rowEndpoints are those of the rows of tables. They are plain handlers, because
// the members of a row are the columns of its table.
func (a *API) rowEndpoints() {
	const path = "/api/v1/tables/{table}/rows"
	tags := []string{"tables"}
	text := &huma.Schema{Type: huma.TypeString}
	row := &huma.Schema{Type: huma.TypeObject, Description: "ObjectId, a member for each column, secrets as [secret]; @version and @updated_at are the server's.", AdditionalProperties: true,
		Properties: map[string]*huma.Schema{"ObjectId": {Type: huma.TypeInteger, Format: "int64", ReadOnly: true}}}
	object := func(props map[string]*huma.Schema) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeObject, Properties: props}}
	}
	list := &huma.Schema{Type: huma.TypeArray, Items: row}
	number := &huma.Schema{Type: huma.TypeInteger}
	in := func(where, name, doc string, s *huma.Schema) *huma.Param {
		return &huma.Param{Name: name, In: where, Description: doc, Schema: s, Required: where == "path"}
	}
	tableParam := in("path", "table", "The table, by name or number.", text)
	idParam := in("path", "id", "The row's ObjectId.", number)
	one := func(doc string) map[string]*huma.Response {
		return map[string]*huma.Response{"200": {Description: doc, Content: map[string]*huma.MediaType{"application/json": {Schema: row}}}}
	}
	given := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: row}}}
	match := in("header", "If-Match", "The version that the row must be at: the ETag of an answer.", text)

	a.handle(huma.Operation{OperationID: "list-rows", Method: http.MethodGet, Path: path, Summary: "Rows of a table", Tags: tags,
		Description: "In order of ObjectId unless orderby says another. With Accept: text/csv all rows that the filter finds, as CSV.",
		Parameters: []*huma.Param{tableParam,
			in("query", "filter", "As workflows write it: Key eq 'AccessToken' and Expires lt 2026-03-01T12:00:00Z.", text),
			in("query", "orderby", "Column desc, Other asc.", text), in("query", "skip", "Rows to leave out, after filter and order.", number),
			in("query", "top", fmt.Sprintf("How many at most: 100 unless said, at most %d.", maxTop), number), in("query", "limit", "Another word for top.", number),
			in("query", "cursor", "next_cursor of the page before.", text), in("query", "expand", "true: references are the rows that they refer to.", &huma.Schema{Type: huma.TypeBoolean})},
		Responses: map[string]*huma.Response{"200": {Description: "The rows.", Content: map[string]*huma.MediaType{
			"application/json": object(map[string]*huma.Schema{"rows": list, "next_cursor": text, "next_skip": number}), "text/csv": {Schema: text}}}}},
		rule{verb: access.Read}, a.listRows)

	a.handle(huma.Operation{OperationID: "insert-rows", Method: http.MethodPost, Path: path, Summary: "Insert or import rows", Tags: tags, MaxBodyBytes: maxImport,
		Description: "An object is one row, and is answered with it. A list, or CSV with a line of column names, is an import: all rows or none. With key, rows that have the same value in that column are changed instead; so are those that give their ObjectId.",
		Parameters:  []*huma.Param{tableParam, in("query", "key", "The column that tells rows apart.", text), in("query", "add_columns", "true: columns that are not there are made.", &huma.Schema{Type: huma.TypeBoolean})},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{OneOf: []*huma.Schema{row, list}}}, "text/csv": {Schema: text}}},
		Responses: map[string]*huma.Response{"201": {Description: "The row.", Content: map[string]*huma.MediaType{"application/json": {Schema: row}}},
			"200": {Description: "What became of the rows.", Content: map[string]*huma.MediaType{"application/json": object(map[string]*huma.Schema{"inserted": number, "updated": number, "unchanged": number})}}}},
		rule{verb: access.Admin, action: audit.RowInsert, subject: rowSubject}, a.insertRows)

	a.handle(huma.Operation{OperationID: "get-row", Method: http.MethodGet, Path: path + "/{id}", Summary: "One row", Tags: tags,
		Parameters: []*huma.Param{tableParam, idParam, in("query", "expand", "true: references are the rows that they refer to.", &huma.Schema{Type: huma.TypeBoolean})}, Responses: one("The row.")},
		rule{verb: access.Read}, a.getRow)

	a.handle(huma.Operation{OperationID: "update-row", Method: http.MethodPatch, Path: path + "/{id}", Summary: "Change columns of a row", Tags: tags, MaxBodyBytes: maxRow,
		Description: "In one transaction. Columns that are not given stay; a secret given as [secret] stays, too.",
		Parameters:  []*huma.Param{tableParam, idParam, match}, RequestBody: given, Responses: one("The row as it is then.")},
		rule{verb: access.Admin, action: audit.RowUpdate, subject: rowSubject}, a.updateRow(false))

	a.handle(huma.Operation{OperationID: "replace-row", Method: http.MethodPut, Path: path + "/{id}", Summary: "Replace a row", Tags: tags, MaxBodyBytes: maxRow,
		Description: "As a change, but columns that are not given become null.",
		Parameters:  []*huma.Param{tableParam, idParam, match}, RequestBody: given, Responses: one("The row as it is then.")},
		rule{verb: access.Admin, action: audit.RowUpdate, subject: rowSubject}, a.updateRow(true))

	a.handle(huma.Operation{OperationID: "delete-row", Method: http.MethodDelete, Path: path + "/{id}", Summary: "Delete a row", Tags: tags,
		Description: "Refused while other rows refer to it.", Parameters: []*huma.Param{tableParam, idParam, match}, Responses: map[string]*huma.Response{"204": {Description: "Done."}}},
		rule{verb: access.Admin, action: audit.RowDelete, subject: rowSubject}, a.deleteRow)

	a.handle(huma.Operation{OperationID: "row-history", Method: http.MethodGet, Path: path + "/{id}/history", Summary: "Versions of a row", Tags: tags,
		Description: "Newest first, the present one too. A row that was deleted has its history, without its secrets. Filter and order may name Version.",
		Parameters: []*huma.Param{tableParam, idParam, in("query", "filter", "As of rows.", text), in("query", "orderby", "As of rows.", text),
			in("query", "skip", "Versions to leave out.", number), in("query", "top", "How many at most: 100 unless said.", number)},
		Responses: map[string]*huma.Response{"200": {Description: "The versions.", Content: map[string]*huma.MediaType{"application/json": object(map[string]*huma.Schema{"history": list})}}}},
		rule{verb: access.Read}, a.rowHistory)
}

// rowSubject is what a change of rows is on record as: tables/Settings/12.
func rowSubject(r *http.Request) string {
	s := kindTables + "/" + r.PathValue("table")
	if id := r.PathValue("id"); id != "" {
		s += "/" + id
	}
	return s
}

// session reads and changes rows in a caller's name.
func (a *API) session(c *call) *table.Session { return a.o.Tables.As(c.caller.Actor()) }

// count reads a number of a query.
func (v values) count(name string, unless, most int) (int, error) {
	s := v.Get(name)
	if s == "" {
		return unless, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		return 0, invalid("query."+name, fmt.Sprintf("is a number from 0 to %d", most))
	}
	return n, nil
}

// rowQuery reads the query of a list.
func rowQuery(r *http.Request) (q table.Query, err error) {
	v, err := query(r, "filter", "orderby", "skip", "top", "limit", "cursor", "expand")
	if err != nil {
		return q, err
	}
	q.Filter, q.OrderBy = v.Get("filter"), v.Get("orderby")
	if q.Expand, err = v.truth("expand"); err != nil {
		return q, err
	}
	if q.Skip, err = v.count("skip", 0, 1<<40); err != nil {
		return q, err
	}
	top, err := v.count("top", 0, maxTop)
	if err != nil {
		return q, err
	}
	limit, err := v.count("limit", 0, maxTop)
	if err != nil {
		return q, err
	}
	switch {
	case v.Get("top") != "" && v.Get("limit") != "":
		return q, invalid("query.limit", "is given beside top, which means the same")
	case v.Get("top") != "":
		q.Limit = top
	default:
		q.Limit = limit
	}
	if q.Limit == 0 && (v.Get("top") != "" || v.Get("limit") != "") {
		return q, invalid("query.top", "is at least 1")
	}
	if s := v.Get("cursor"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || q.OrderBy != "" {
			return q, invalid("query.cursor", "is no cursor of this list: take next_cursor of the page before; a list with orderby goes on with skip")
		}
		q.After = n
	}
	return q, nil
}

func (a *API) listRows(w http.ResponseWriter, r *http.Request, c *call) {
	q, err := rowQuery(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if strings.Contains(strings.ToLower(r.Header.Get("Accept")), "text/csv") {
		a.rowsCSV(w, r, c, q)
		return
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	limit := q.Limit
	q.Limit++ // whether there is a page after this one
	rows, err := a.session(c).List(r.Context(), r.PathValue("table"), q)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	more := len(rows) > limit
	if more {
		rows = rows[:limit]
	}
	b := []byte(`{"rows":[`)
	for i, row := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = row.AppendJSON(b, about(row)); err != nil {
			a.fail(w, r, err)
			return
		}
	}
	b = append(b, ']')
	switch {
	case more && q.OrderBy != "":
		b = fmt.Appendf(b, `,"next_skip":%d`, q.Skip+limit)
	case more:
		b = fmt.Appendf(b, `,"next_cursor":"%d"`, rows[limit-1].ObjectID)
	}
	serve(w, "application/json", append(b, '}'))
}

// about is what the server knows of a row beside its columns.
func about(r *table.Row) string {
	return fmt.Sprintf(`,"@version":%d,"@updated_at":"%s"`, r.Version, r.UpdatedAt.UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

// rowsCSV writes page after page, so that a slow client holds no connection to
// the database.
func (a *API) rowsCSV(w http.ResponseWriter, r *http.Request, c *call, q table.Query) {
	q.Expand = false
	name, most := r.PathValue("table"), q.Limit
	schema, err := a.o.Tables.Schema(r.Context(), name)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	var out *table.CSV
	for done := 0; ; {
		if q.Limit = csvPage; most > 0 {
			q.Limit = min(csvPage, most-done)
		}
		rows, err := a.session(c).List(r.Context(), name, q)
		if err == nil && out == nil {
			w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
			out, err = table.NewCSV(w, schema)
		}
		if err == nil {
			err = out.Write(rows...)
		}
		if err != nil {
			if out == nil {
				a.fail(w, r, err)
				return
			}
			a.log.Info("an export of rows broke off", "table", name, "error", err)
			panic(http.ErrAbortHandler) // the rest must not be taken for all
		}
		done += len(rows)
		if len(rows) < q.Limit || most > 0 && done == most {
			return
		}
		if q.OrderBy != "" {
			q.Skip += len(rows)
		} else {
			q.After, q.Skip = rows[len(rows)-1].ObjectID, 0
		}
	}
}

func (a *API) insertRows(w http.ResponseWriter, r *http.Request, c *call) {
	v, err := query(r, "key", "add_columns")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	add, err := v.truth("add_columns")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	list, one, err := readRows(w, r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	name := r.PathValue("table")
	if one && v.Get("key") == "" && !add {
		row, err := a.session(c).Insert(r.Context(), name, list[0])
		if err != nil {
			a.fail(w, r, err)
			return
		}
		w.Header().Set("Location", fmt.Sprintf("%s/%d", r.URL.EscapedPath(), row.ObjectID))
		a.serveRow(w, r, http.StatusCreated, row)
		return
	}
	done, err := a.session(c).Upsert(r.Context(), name, list, table.UpsertOptions{Key: v.Get("key"), AddColumns: add})
	if err != nil {
		a.fail(w, r, err)
		return
	}
	var out struct {
		Inserted  int `json:"inserted"`
		Updated   int `json:"updated"`
		Unchanged int `json:"unchanged"`
	}
	for _, d := range done {
		switch d.Action {
		case table.Inserted:
			out.Inserted++
		case table.Updated:
			out.Updated++
		default:
			out.Unchanged++
		}
	}
	a.answer(w, r, out, nil)
}

// readRows reads rows of a request in JSON or CSV.
func readRows(w http.ResponseWriter, r *http.Request) (list []map[string]any, one bool, err error) {
	body, err := readAll(w, r, maxImport)
	if err != nil {
		return nil, false, err
	}
	if strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "text/csv") {
		list, err = table.ReadCSV(bytes.NewReader(body))
		return list, false, err
	}
	if list, one, err = table.ReadJSON(body); err != nil {
		return nil, false, invalid("body", "is an object of values by column, or a list of such objects")
	}
	return list, one, nil
}

func readAll(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, problem.New(http.StatusBadRequest, "bad-body", "The request body cannot be read", "it broke off")
	}
	return b, err
}

// rowID reads the number of a row, which must be one of the table.
func (a *API) rowID(r *http.Request) (int64, *table.Schema, error) {
	s, err := a.o.Tables.Schema(r.Context(), r.PathValue("table"))
	if err != nil {
		return 0, nil, err
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id <= 0 {
		return 0, nil, invalid("path.id", "is the number of a row, its ObjectId")
	}
	return id, s, nil
}

// row reads the row of a request.
func (a *API) row(r *http.Request, c *call, expand bool) (*table.Row, error) {
	id, s, err := a.rowID(r)
	if err != nil {
		return nil, err
	}
	row, err := a.session(c).Get(r.Context(), id, expand)
	if err == nil && row.Table != s.Name || errors.Is(err, table.ErrNoRow) {
		return nil, &table.NotFoundError{Table: s.Name, Row: id}
	}
	return row, err
}

func (a *API) serveRow(w http.ResponseWriter, r *http.Request, status int, row *table.Row) {
	b, err := row.AppendJSON(nil, about(row))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("ETag", fmt.Sprintf(`"%d"`, row.Version))
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	w.Write(b)
}

func (a *API) getRow(w http.ResponseWriter, r *http.Request, c *call) {
	v, err := query(r, "expand")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	expand, err := v.truth("expand")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	row, err := a.row(r, c, expand)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	a.serveRow(w, r, http.StatusOK, row)
}

// version reads If-Match; 0: any.
func version(r *http.Request) (int64, error) {
	s := r.Header.Get("If-Match")
	if s == "" || s == "*" {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(s, "W/"), `"`), 10, 64)
	if err != nil || n <= 0 {
		return 0, invalid("header.If-Match", `is a version in quotes, such as "3": the ETag of an answer`)
	}
	return n, nil
}

func (a *API) updateRow(replace bool) func(w http.ResponseWriter, r *http.Request, c *call) {
	return func(w http.ResponseWriter, r *http.Request, c *call) {
		row, err := a.row(r, c, false)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		at, err := version(r)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		list, one, err := readRows(w, r)
		if err == nil && !one {
			err = invalid("body", "is an object of values by column")
		}
		if err != nil {
			a.fail(w, r, err)
			return
		}
		// What the server adds to a row may come back with it.
		for _, name := range []string{"@version", "@updated_at"} {
			delete(list[0], name)
		}
		out, err := a.session(c).Update(r.Context(), row.ObjectID, list[0], table.UpdateOptions{ClearOmitted: replace, Version: at})
		if err != nil {
			a.fail(w, r, err)
			return
		}
		a.serveRow(w, r, http.StatusOK, out)
	}
}

func (a *API) deleteRow(w http.ResponseWriter, r *http.Request, c *call) {
	row, err := a.row(r, c, false)
	if err == nil {
		var at int64
		if at, err = version(r); err == nil {
			err = a.session(c).Delete(r.Context(), row.ObjectID, at)
		}
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) rowHistory(w http.ResponseWriter, r *http.Request, c *call) {
	q, err := rowQuery(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	id, s, err := a.rowID(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	q.Expand = false
	list, err := a.session(c).History(r.Context(), id, table.HistoryQuery{Query: q, Current: true})
	if err == nil && len(list) > 0 && list[0].Table != s.Name || errors.Is(err, table.ErrNoRow) {
		err = &table.NotFoundError{Table: s.Name, Row: id}
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	b := []byte(`{"history":[`)
	for i, h := range list {
		if i > 0 {
			b = append(b, ',')
		}
		by, err := json.Marshal(h.By)
		if err == nil {
			b, err = h.AppendJSON(b, about(&h.Row)+fmt.Sprintf(`,"@action":"%s","@by":%s`, h.Action, by))
		}
		if err != nil {
			a.fail(w, r, err)
			return
		}
	}
	serve(w, "application/json", append(b, "]}"...))
}
