package grant

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

// testNow is what the clock of every test shows.
var testNow = time.Date(2026, 10, 21, 7, 27, 0, 0, time.UTC)

func clock() time.Time { return testNow }

const goodAnswer = `{"access_token":"at-1","token_type":"Bearer","expires_in":3600,"refresh_token":"rt-1","scope":"read"}`

// A recorder is a token endpoint that keeps each request as it came.
type recorder struct {
	*httptest.Server
	mu     sync.Mutex
	got    []string
	answer http.HandlerFunc
}

// record starts a server that answers with answer, or with a token if that is
// nil.
func record(t *testing.T, answer http.HandlerFunc) *recorder {
	t.Helper()
	r := &recorder{answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	r.mu.Lock()
	r.got = append(r.got, wire(req, body))
	r.mu.Unlock()
	if r.answer != nil {
		r.answer(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, goodAnswer)
}

// wire writes a request as text: the line, headers by name, the body.
func wire(req *http.Request, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\n", req.Method, req.RequestURI, req.Proto)
	var names []string
	for name := range req.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range req.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	if len(req.TransferEncoding) > 0 {
		fmt.Fprintf(&b, "Transfer-Encoding: %v\n", req.TransferEncoding)
	}
	b.WriteString("\n")
	b.Write(body)
	return b.String()
}

func (r *recorder) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// define returns a plain definition that asks server, changed by edit.
func define(server string, edit func(*freshet.Definition)) *freshet.Definition {
	d := &freshet.Definition{
		ID:         "c1",
		Connection: freshet.Connection{Name: "crm", Client: "acme"},
		Client:     freshet.Client{Name: "acme", ID: "the id", Secret: freshet.NewSecret("p&ss=w%rd+é:x")},
		Provider:   freshet.Provider{Name: "acme", TokenURL: server + "/token", ClientAuth: freshet.AuthBody},
	}
	if edit != nil {
		edit(d)
	}
	return d
}

func sender() *Sender { return New(Options{Now: clock, Version: "1.2"}) }

func secret(s string) freshet.Secret { return freshet.NewSecret(s) }

// mustToken fails the test unless out holds the good answer's token.
func mustToken(t *testing.T, out Outcome) *freshet.Token {
	t.Helper()
	if out.Err != nil {
		t.Fatalf("no token: %v", out.Err)
	}
	return out.Token
}

// mustFail fails the test unless out is an error with this code.
func mustFail(t *testing.T, out Outcome, class Class, code string) *Error {
	t.Helper()
	if out.Err == nil {
		t.Fatalf("a token, want the error %s", code)
	}
	if out.Err.Class != class || out.Err.Code != code {
		t.Fatalf("error %s %s (%s), want %s %s", out.Err.Class, out.Err.Code, out.Err.Detail, class, code)
	}
	return out.Err
}

// head is what every token request of these tests carries besides its body.
const head = "Accept: application/json\nConnection: close\nContent-Length: %d\nContent-Type: application/x-www-form-urlencoded\nUser-Agent: freshet/1.2\n\n%s"

// form is a form POST to path as it must arrive, without an Authorization
// header.
func form(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\n"+head, path, len(body), body)
}

// basic is the same with the client's Basic credentials.
func basic(path, body string) string {
	return strings.Replace(form(path, body), "Connection: close", "Authorization: Basic dGhlK2lkOnAlMjZzcyUzRHclMjVyZCUyQiVDMyVBOSUzQXg=\nConnection: close", 1)
}

func debugLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
