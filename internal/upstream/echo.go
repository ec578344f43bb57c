package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// shortestEcho is the length below which a credential is not looked for:
// everything would hold it.
const shortestEcho = 6

// watch has resp's header and body searched for the credential that went out;
// each occurrence is overwritten with asterisks, so that lengths stay right.
func (p *plan) watch(resp *http.Response, r *rendering, res *Result) error {
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return &UnreachableError{Connection: p.def.Connection.Name, Err: errors.New("the answer is encoded though it was asked not to be, so it cannot be searched for the credential (scan_echo)")}
	}
	s := &scanner{resp: resp, src: resp.Body}
	for _, secret := range r.secrets {
		quoted, _ := json.Marshal(secret)
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret), string(quoted[1 : len(quoted)-1]), strings.ReplaceAll(secret, "/", `\/`)} {
			if b := []byte(form); len(b) >= shortestEcho && !slices.ContainsFunc(s.patterns, func(q []byte) bool { return bytes.Equal(q, b) }) {
				s.patterns = append(s.patterns, b)
			}
		}
	}
	// The longest first: one may be part of another.
	slices.SortFunc(s.patterns, func(a, b []byte) int { return len(b) - len(a) })
	s.header(resp.Header)
	res.echo = s
	if resp.StatusCode != http.StatusSwitchingProtocols && resp.Body != nil && resp.Body != http.NoBody {
		resp.Body = s
	}
	return nil
}

// A scanner passes a body on with every occurrence of its patterns overwritten,
// those across reads included. What may be the beginning of one waits for the
// bytes that decide.
type scanner struct {
	resp     *http.Response
	src      io.ReadCloser
	patterns [][]byte
	found    atomic.Bool

	buf   []byte
	ready int // how much of buf may go
	err   error
}

// Read gives what is known to be clean.
func (s *scanner) Read(p []byte) (int, error) {
	for s.ready == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.fill(len(p))
	}
	n := copy(p, s.buf[:s.ready])
	s.buf, s.ready = s.buf[n:], s.ready-n
	return n, nil
}

// fill reads once and searches what is there.
func (s *scanner) fill(n int) {
	held := len(s.buf)
	buf := make([]byte, held+max(n, 4096))
	copy(buf, s.buf)
	n, s.err = s.src.Read(buf[held:])
	s.buf = buf[:held+n]
	s.redact(s.buf)
	s.ready = len(s.buf)
	if s.err == nil {
		s.ready -= s.undecided()
	} else {
		s.header(s.resp.Trailer)
	}
}

func (s *scanner) redact(b []byte) {
	for _, p := range s.patterns {
		for at := 0; ; {
			i := bytes.Index(b[at:], p)
			if i < 0 {
				break
			}
			s.found.Store(true)
			at += i
			for j := range p {
				b[at+j] = '*'
			}
			at += len(p)
		}
	}
}

// undecided returns the length of the longest end of buf that a pattern begins
// with.
func (s *scanner) undecided() int {
	longest := 0
	for _, p := range s.patterns {
		for k := min(len(p)-1, len(s.buf)); k > longest; k-- {
			if bytes.HasSuffix(s.buf, p[:k]) {
				longest = k
			}
		}
	}
	return longest
}

func (s *scanner) header(h http.Header) {
	for _, vv := range h {
		for i, v := range vv {
			b := []byte(v)
			s.redact(b)
			vv[i] = string(b)
		}
	}
}

// Close closes the body itself.
func (s *scanner) Close() error { return s.src.Close() }
