package upstream

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/predicate"
)

// maxSniff bounds how much of an answer is read before it goes to the caller,
// where a predicate over the body decides whether the token was refused.
const maxSniff = 64 << 10

// A rejection is a freshet.Rejection, compiled.
type rejection struct {
	status []int
	body   matcher // nil: the status decides
}

type matcher interface {
	Match(v any) (bool, error)
}

func compileRejection(r *freshet.Rejection) (rejection, error) {
	c := rejection{status: []int{http.StatusUnauthorized}}
	if r == nil {
		return c, nil
	}
	if len(r.Status) > 0 {
		c.status = r.Status
	}
	if r.Body != "" {
		p, err := predicate.Compile(r.Body)
		if err != nil {
			return c, fmt.Errorf("rejected.body: %w", err)
		}
		c.body = p
	}
	return c, nil
}

// matches reports whether resp means "this token is not accepted". It may read
// the beginning of the body; resp.Body then gives it again.
func (c rejection) matches(resp *http.Response) bool {
	if !slices.Contains(c.status, resp.StatusCode) {
		return false
	}
	if c.body == nil {
		return !lacksScope(resp.Header["Www-Authenticate"])
	}
	if !sniffable(resp) {
		return false
	}
	// What a predicate has to see whole is a small error answer. One that is
	// longer, or that goes on and on, is an ordinary answer.
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxSniff+1))
	resp.Body = &restored{head: bytes.NewReader(head), err: err, rest: resp.Body}
	if err != nil || len(head) > maxSniff {
		return false
	}
	v, ok := parse(head, resp.Header.Get("Content-Encoding"))
	if !ok {
		return false
	}
	hit, err := c.body.Match(v)
	return err == nil && hit
}

// sniffable reports whether an answer may be held back until its beginning is
// read: not an event stream, and nothing that is known to be long.
func sniffable(resp *http.Response) bool {
	if resp.ContentLength > maxSniff || resp.Body == nil || resp.Body == http.NoBody {
		return false
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	for _, endless := range []string{"stream", "ndjson", "jsonl", "json-seq", "jsonlines"} {
		if strings.Contains(kind, endless) {
			return false
		}
	}
	// Some providers send their JSON as text/html.
	return kind == "" || strings.Contains(kind, "json") || strings.Contains(kind, "javascript") || strings.HasPrefix(kind, "text/")
}

// parse decodes a JSON body, through gzip if need be: the caller may have asked
// for it. The copy alone is decoded, to at most four times the bound.
func parse(body []byte, encoding string) (v any, ok bool) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, false
		}
		if body, err = io.ReadAll(io.LimitReader(z, 4*maxSniff)); err != nil {
			return nil, false
		}
	default:
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	d.UseNumber()
	return v, d.Decode(&v) == nil
}

// restored gives an answer's body again whose head has been read, the error
// that ended the reading included.
type restored struct {
	head *bytes.Reader
	err  error // after head; nil: rest goes on
	rest io.ReadCloser
}

// Read gives the head first.
func (r *restored) Read(p []byte) (int, error) {
	if r.head.Len() > 0 {
		return r.head.Read(p)
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.rest.Read(p)
}

// Close closes the body itself.
func (r *restored) Close() error { return r.rest.Close() }
