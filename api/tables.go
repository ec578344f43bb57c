package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// A Table is the answer to GET /api/v1/tables/{name}.
type Table struct {
	Name        string        `json:"name"`
	ID          int64         `json:"id"`
	Description string        `json:"description,omitempty"`
	Title       string        `json:"title"` // the column that names a row
	Columns     []TableColumn `json:"columns"`
	Rows        int64         `json:"rows"`
	Declared    bool          `json:"declared"` // by a resource; else a run made it
}

// A TableColumn is a column of a table.
type TableColumn struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	To      string `json:"to,omitempty"` // of a reference: the table
	Secret  bool   `json:"secret,omitempty"`
	Indexed bool   `json:"indexed,omitempty"`
}

// A RowQuery says which rows are listed. The zero RowQuery is all of them.
type RowQuery struct {
	Filter  string // as workflows write it: Key eq 'AccessToken'
	OrderBy string // Column desc, Other asc
	Skip    int
	Limit   int // 0: all
	Expand  bool
}

func (q RowQuery) values() url.Values {
	v := url.Values{}
	if q.Filter != "" {
		v.Set("filter", q.Filter)
	}
	if q.OrderBy != "" {
		v.Set("orderby", q.OrderBy)
	}
	if q.Skip > 0 {
		v.Set("skip", strconv.Itoa(q.Skip))
	}
	if q.Expand {
		v.Set("expand", "true")
	}
	return v
}

// Imported says what became of the rows of an import.
type Imported struct {
	Inserted  int `json:"inserted"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
}

func rowsPath(table string) string { return "/api/v1/tables/" + url.PathEscape(table) + "/rows" }

func rowPath(table string, id int64) string {
	return rowsPath(table) + "/" + strconv.FormatInt(id, 10)
}

// Table returns a table without its rows.
func (c *Client) Table(ctx context.Context, name string) (*Table, error) {
	var t Table
	if err := c.Do(ctx, http.MethodGet, "/api/v1/tables/"+url.PathEscape(name), nil, &t); err != nil {
		return nil, err
	}
	return &t, nil
}

// Rows calls each for every row that q finds, page after page: an object with
// ObjectId and a member for each column, secrets as [secret].
func (c *Client) Rows(ctx context.Context, table string, q RowQuery, each func(json.RawMessage) error) error {
	const page = 1000
	v := q.values()
	for left := q.Limit; ; {
		n := page
		if q.Limit > 0 {
			n = min(page, left)
		}
		v.Set("top", strconv.Itoa(n))
		var out struct {
			Rows   []json.RawMessage `json:"rows"`
			Cursor string            `json:"next_cursor"`
			Skip   int               `json:"next_skip"`
		}
		if err := c.Do(ctx, http.MethodGet, rowsPath(table)+"?"+v.Encode(), nil, &out); err != nil {
			return err
		}
		for _, r := range out.Rows {
			if err := each(r); err != nil {
				return err
			}
		}
		left -= len(out.Rows)
		switch {
		case q.Limit > 0 && left <= 0:
			return nil
		case out.Cursor != "":
			v.Set("cursor", out.Cursor)
			v.Del("skip")
		case out.Skip > 0:
			v.Set("skip", strconv.Itoa(out.Skip))
		default:
			return nil
		}
	}
}

// RowsCSV writes the rows that q finds to w, as CSV. Nothing is expanded.
func (c *Client) RowsCSV(ctx context.Context, table string, q RowQuery, w io.Writer) error {
	v := q.values()
	if q.Limit > 0 {
		v.Set("top", strconv.Itoa(q.Limit))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+rowsPath(table)+"?"+v.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/csv")
	res, err := c.open(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("rows of %s: the answer broke off: %w", table, err)
	}
	return nil
}

// InsertRow adds a row: values by column.
func (c *Client) InsertRow(ctx context.Context, table string, values json.RawMessage) (json.RawMessage, error) {
	var out json.RawMessage
	err := c.Do(ctx, http.MethodPost, rowsPath(table), values, &out)
	return out, err
}

// UpdateRow changes columns of a row in one transaction; columns that are not
// given stay.
func (c *Client) UpdateRow(ctx context.Context, table string, id int64, values json.RawMessage) (json.RawMessage, error) {
	var out json.RawMessage
	err := c.Do(ctx, http.MethodPatch, rowPath(table, id), values, &out)
	return out, err
}

// DeleteRow deletes a row that no other refers to.
func (c *Client) DeleteRow(ctx context.Context, table string, id int64) error {
	return c.Do(ctx, http.MethodDelete, rowPath(table, id), nil, nil)
}

// RowHistory lists the versions of a row, newest first.
func (c *Client) RowHistory(ctx context.Context, table string, id int64, limit int) ([]json.RawMessage, error) {
	var out struct {
		History []json.RawMessage `json:"history"`
	}
	err := c.Do(ctx, http.MethodGet, rowPath(table, id)+"/history?top="+strconv.Itoa(limit), nil, &out)
	return out.History, err
}

// ImportRows adds rows, all or none: contentType is text/csv or
// application/json. With a key, rows that have the same value in that column are
// changed instead.
func (c *Client) ImportRows(ctx context.Context, table, contentType string, rows []byte, key string, addColumns bool) (*Imported, error) {
	v := url.Values{}
	if key != "" {
		v.Set("key", key)
	}
	if addColumns {
		v.Set("add_columns", "true")
	}
	res, err := c.Send(ctx, http.MethodPost, rowsPath(table)+"?"+v.Encode(), contentType, bytes.NewReader(rows))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var out Imported
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return nil, fmt.Errorf("import rows of %s: the answer does not read: %w", table, err)
	}
	return &out, nil
}
