package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Key is an API key as lists show it; Key is set in the answer that made it,
// and only there.
type Key struct {
	Name      string     `json:"name"`
	Key       string     `json:"key,omitempty"`
	Scopes    []string   `json:"scopes"`
	Addresses []string   `json:"addresses,omitempty"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	LastUsed  *time.Time `json:"last_used,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// A KeyRequest asks for a new API key.
type KeyRequest struct {
	Name      string     `json:"name"`
	Scopes    []string   `json:"scopes"`
	Addresses []string   `json:"addresses,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// CreateKey makes an API key. Its Key is shown this once.
func (c *Client) CreateKey(ctx context.Context, r KeyRequest) (*Key, error) {
	var k Key
	if err := c.Do(ctx, http.MethodPost, "/api/v1/keys", r, &k); err != nil {
		return nil, err
	}
	return &k, nil
}

// RevokeKey ends an API key by its name.
func (c *Client) RevokeKey(ctx context.Context, name string) error {
	return c.Do(ctx, http.MethodDelete, "/api/v1/keys/"+url.PathEscape(name), nil, nil)
}

// An Event is one thing that happened to a connection.
type Event struct {
	Seq        int64          `json:"seq"`
	At         time.Time      `json:"at"`
	Connection string         `json:"connection,omitempty"`
	Type       string         `json:"type"`
	Detail     map[string]any `json:"detail,omitempty"`
}

// A MasterKey is the answer to GET /api/v1/master-key. Check values name master
// keys and give nothing away.
type MasterKey struct {
	MasterKey string     `json:"master_key"`
	Place     string     `json:"place"`
	Next      string     `json:"next,omitempty"` // set while a rotation is not finished
	DataKeys  []uint32   `json:"data_keys"`      // the one that seals first
	Since     *time.Time `json:"since,omitempty"`
	Left      int        `json:"left"` // values that an older data key still seals
}

// A Rotation is the answer to POST /api/v1/master-key/rotate.
type Rotation struct {
	MasterKey
	Moved      int    `json:"moved"`      // values that are now under the new data key
	Unreadable int    `json:"unreadable"` // values that do not open, and were left as they are
	Detail     string `json:"detail,omitempty"`
}

// Backup writes a consistent copy of the server's store to w.
func (c *Client) Backup(ctx context.Context, w io.Writer) (int64, error) {
	res, err := c.Send(ctx, http.MethodGet, "/api/v1/backup", "", nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n, err := io.Copy(w, res.Body)
	if err == nil && res.ContentLength >= 0 && n != res.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// ErrStreamEnded says that a server ended a stream.
var ErrStreamEnded = errors.New("the server ended the stream")

// Stream calls each for every server-sent event of a path until ctx or the
// stream ends, which is ErrStreamEnded. after is the id of the last event that
// is known, "" for none.
func (c *Client) Stream(ctx context.Context, path, after string, each func(id, event string, data []byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	res, err := c.open(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	var id, event string
	var data []string
	for lines.Scan() {
		line := lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if len(data) > 0 {
				if err := each(id, event, []byte(strings.Join(data, "\n"))); err != nil {
					return err
				}
			}
			event, data = "", nil
		case field == "id":
			id = value
		case field == "event":
			event = value
		case field == "data":
			data = append(data, value)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := lines.Err(); err != nil {
		return &UnreachableError{Base: c.base, Err: err}
	}
	return ErrStreamEnded
}

// A Call is one request through the proxy.
type Call struct {
	Method string
	Target string // path and query as they go out, byte for byte: /a%2Fb?x=1
	Header http.Header
	Body   io.Reader // nil: none
}

// Call makes one API call as a connection and returns the answer as it came,
// whatever its status; the caller closes its body. The server's own refusals
// are a *Problem.
func (c *Client) Call(ctx context.Context, name string, call Call) (*http.Response, error) {
	u, err := url.Parse(c.base)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, c.base, call.Body)
	if err != nil {
		return nil, err
	}
	// net/url would decode and encode the path again; Opaque goes out as it is.
	target := "/proxy/" + url.PathEscape(name) + call.Target
	path, query, found := strings.Cut(target, "?")
	req.URL = &url.URL{Scheme: u.Scheme, Host: u.Host, Opaque: strings.TrimSuffix(u.EscapedPath(), "/") + path, RawQuery: query, ForceQuery: found && query == ""}
	for k, v := range call.Header {
		req.Header[k] = v
	}
	return c.proxied(req)
}

// proxied sends a request whose answer is an API's.
func (c *Client) proxied(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+c.key)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, &UnreachableError{Base: c.base, Err: err}
	}
	if p := ours(res); p != nil {
		return nil, p
	}
	return res, nil
}

// problemTypes begins the type of every problem that a Freshet server answers
// with.
const problemTypes = "https://freshet.dev/problems/"

// ours returns the problem that an answer of the proxy is, nil if it is the
// API's own, whose body is left whole.
func ours(res *http.Response) *Problem {
	if res.StatusCode < 400 || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		return nil
	}
	head, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	var p struct{ Type string }
	if err == nil && json.Unmarshal(head, &p) == nil && strings.HasPrefix(p.Type, problemTypes) {
		res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(head))
		return problem(res)
	}
	res.Body = &rejoined{Reader: io.MultiReader(bytes.NewReader(head), res.Body), Closer: res.Body}
	return nil
}

// rejoined is a body whose head was read already.
type rejoined struct {
	io.Reader
	io.Closer
}

// problem reads a refusal.
func problem(res *http.Response) *Problem {
	p := &Problem{Status: res.StatusCode, Title: http.StatusText(res.StatusCode)}
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if json.Unmarshal(b, p) != nil || p.Status == 0 {
		p.Status = res.StatusCode
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(s) * time.Second
	}
	return p
}
