package catalog

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/upstream"
)

// A holder is a connection that holds one token.
type holder struct {
	def *freshet.Definition
	tok *freshet.Token
}

func (h *holder) Definition() *freshet.Definition { return h.def }
func (h *holder) StillRejected(int64)             {}
func (h *holder) Token(context.Context, time.Duration) (*freshet.Token, error) {
	return h.tok, nil
}
func (h *holder) Rejected(context.Context, int64) (*freshet.Token, error) { return h.tok, nil }

// toWire hands out the transport of a wire.
type toWire struct{ http.RoundTripper }

func (d toWire) Transport(dial.Kind) http.RoundTripper               { return d }
func (d toWire) Mutual(dial.Kind, tls.Certificate) http.RoundTripper { return d }

var base64Of = regexp.MustCompile(`base64\((.*)\)`)

// TestCallsCarryTheCredential makes an API call as each provider's connection,
// with the token of its example answer, and looks for the credential where the
// fact says that it goes, and for nothing of it elsewhere.
func TestCallsCarryTheCredential(t *testing.T) {
	for _, f := range facts(t) {
		t.Run(f.ID, func(t *testing.T) {
			t.Parallel()
			p, _ := Provider(f.ID)
			if p.Unsupported != "" {
				return
			}
			tokens := newWire(t, exampleAnswer(f))
			d := definition(p)
			out := tokens.sender.Ask(t.Context(), d, obtain(p))
			if out.Err != nil {
				t.Fatal(out.Err)
			}
			if d.API().BaseURL == "" {
				d.Connection.API = &freshet.API{BaseURL: "https://api.any.example/v1"}
			}
			w := newWire(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"ok":true}`) })
			up := upstream.New(upstream.Options{Dialer: toWire{w.transport}, Now: func() time.Time { return instant }})
			res, err := up.Do(t.Context(), &holder{d, out.Token}, &upstream.Call{Method: "GET", Target: "/things?a=b", Header: http.Header{}})
			if err != nil {
				t.Fatal(err)
			}
			if err := res.Close(); err != nil {
				t.Error(err)
			}
			s := w.seen[0]
			if s.params["a"] != "b" || !strings.HasSuffix(s.url, "/things") {
				t.Errorf("the call went to %s with %v", s.url, s.params)
			}

			access := out.Token.Access.Reveal()
			first := strings.Split(f.Credential, " + ")[0]
			if a, b, two := strings.Cut(first, " or "); two {
				if first = a; strings.HasPrefix(b, "header:") {
					first = b
				}
			}
			m := credentialPart.FindStringSubmatch(first)
			want := strings.NewReplacer("{token}", access, "{session}", access, "{company}", "0", "{api_key}", "api_key-value", "bearer ", "Bearer ").Replace(or(or(m[3], m[4]), "{token}"))
			want = base64Of.ReplaceAllStringFunc(want, func(s string) string {
				return base64.StdEncoding.EncodeToString([]byte(s[len("base64(") : len(s)-1]))
			})
			got := ""
			switch m[1] {
			case "header":
				got = s.header.Get(m[2])
			case "query":
				got, _ = s.params[m[2]].(string)
			case "cookie":
				for _, c := range (&http.Request{Header: s.header}).Cookies() {
					if c.Name == m[2] {
						got = c.Value
					}
				}
			}
			if got != want {
				t.Errorf("%s %s is %q, want %q", m[1], m[2], got, want)
			}
			if m[1] != "header" && s.header.Get("Authorization") != "" {
				t.Errorf("Authorization is %q too", s.header.Get("Authorization"))
			}
			if m[1] != "query" && strings.Contains(s.query, access) {
				t.Errorf("the query %q holds the token too", s.query)
			}
			for name := range d.API().Headers {
				if s.header.Get(name) == "" || strings.Contains(s.header.Get(name), "{") {
					t.Errorf("header %s is %q", name, s.header.Get(name))
				}
			}
		})
	}
}
