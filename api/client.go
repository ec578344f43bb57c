package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Client talks to one Freshet server. It is safe for concurrent use.
type Client struct {
	base string
	key  string
	http *http.Client

	mu      sync.Mutex // held while sources changes
	sources atomic.Pointer[map[string]*source]
}

// An Option changes a Client.
type Option func(*Client)

// WithHTTPClient makes the client send through hc, which it does not close.
func WithHTTPClient(hc *http.Client) Option { return func(c *Client) { c.http = hc } }

// New returns a client of the server at base, such as http://127.0.0.1:8420,
// that shows key, an API key (fk_…).
func New(base, key string, options ...Option) *Client {
	c := &Client{base: strings.TrimSuffix(base, "/"), key: key, http: &http.Client{Timeout: 2 * time.Minute}}
	c.sources.Store(&map[string]*source{})
	for _, o := range options {
		o(c)
	}
	return c
}

// Do makes one call to the API: path begins with /, in is sent as JSON unless
// it is nil, and the JSON answer is decoded into out unless that is nil. A call
// that the server refused returns a *Problem.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	res, err := c.Send(ctx, method, path, "application/json", body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: the answer does not read: %w", method, path, err)
	}
	return nil
}

// Send makes one call and returns its answer, whose body the caller closes. An
// answer of 400 and above is returned as a *Problem.
func (c *Client) Send(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	return c.open(req)
}

// open sends a request with the key, and returns an answer below 400.
func (c *Client) open(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+c.key)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, &UnreachableError{Base: c.base, Err: err}
	}
	if res.StatusCode < 400 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, problem(res)
}

// An UnreachableError says that no server answered.
type UnreachableError struct {
	Base string
	Err  error
}

// Error names the address.
func (e *UnreachableError) Error() string {
	err := e.Err
	var u *url.Error // which names the address again
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Sprintf("no server answers at %s: %v", e.Base, err)
}

// Unwrap returns the transport's error.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *UnreachableError) Hint() string {
	return "start one with freshet serve, or name it with --url or FRESHET_URL"
}

func connectionPath(name string) string { return "/api/v1/connections/" + url.PathEscape(name) }
