package upstream

import (
	"io"
	"net/http"
)

// RoundTripper returns an http.RoundTripper that makes its requests as conn.
// Their URLs are whole, and must be of places that conn's token may go to.
func (t *Transport) RoundTripper(conn Connection) http.RoundTripper {
	return &tripper{t: t, conn: conn}
}

type tripper struct {
	t    *Transport
	conn Connection
}

// RoundTrip makes one call. The request's own credentials are replaced.
func (t *tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	c := &Call{Method: r.Method, Target: whole(r), Header: r.Header, Trailer: r.Trailer, Length: r.ContentLength}
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		c.Header = r.Header.Clone()
		if c.Header == nil {
			c.Header = http.Header{}
		}
		c.Header.Set("User-Agent", "freshet")
	}
	if r.Body != nil && r.Body != http.NoBody {
		c.Body = r.Body
		if c.Length == 0 {
			c.Length = -1
		}
	}
	res, err := t.t.Do(r.Context(), t.conn, c)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	resp := res.Response
	resp.Request = r
	if resp.StatusCode != http.StatusSwitchingProtocols {
		// An API may answer before it has read the request, which then goes on
		// until the answer is closed.
		resp.Body = &answerBody{ReadCloser: resp.Body, rec: res.rec, sent: r.Body}
	}
	return resp, nil
}

// whole returns r's URL with the path in the bytes in which it would be sent.
func whole(r *http.Request) string {
	return r.URL.Scheme + "://" + r.URL.Host + r.URL.RequestURI()
}

// An answerBody ends the request's body with the answer's.
type answerBody struct {
	io.ReadCloser
	rec  *recorder
	sent io.Closer
}

// Close closes both.
func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	if b.rec != nil {
		b.rec.close()
	}
	if b.sent != nil {
		b.sent.Close()
	}
	return err
}
