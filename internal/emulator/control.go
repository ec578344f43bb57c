package emulator

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/freshet-dev/freshet"
)

// crossOrigin keeps foreign pages from steering the emulator through somebody's
// browser.
var crossOrigin = http.NewCrossOriginProtection()

// control serves / and the addresses that begin with an underscore.
func (e *Emulator) control(w http.ResponseWriter, r *http.Request, path string) {
	if err := crossOrigin.Check(r); err != nil {
		http.Error(w, "not from another site", http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 8<<20))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	v, err := e.steer(r, path, body)
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case err == errNowhere:
		http.Error(w, "nothing is here; GET / lists the addresses", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case path == "/":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, v.(string))
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Write(toJSON(v))
		io.WriteString(w, "\n")
	}
}

var errNowhere = fmt.Errorf("nothing is here")

// steer carries out one control request. What it returns goes out as JSON.
func (e *Emulator) steer(r *http.Request, path string, body []byte) (any, error) {
	type done struct {
		OK bool `json:"ok"`
		N  int  `json:"n,omitempty"`
	}
	switch r.Method + " " + path {
	case "GET /", "HEAD /":
		return e.overview(e.issuer(r)), nil
	case "GET /_stats":
		return e.stats(r.URL.Query().Has("log")), nil
	case "POST /_reset":
		var q struct {
			Only string `json:"only"` // "stats": forget only what was counted
		}
		if err := decode(body, &q); err != nil {
			return nil, err
		}
		switch q.Only {
		case "":
			return done{OK: true}, e.Reset()
		case "stats":
			e.ResetStats()
			return done{OK: true}, nil
		}
		return nil, fmt.Errorf("only: %q is not known: use stats, or leave it out", q.Only)
	case "GET /_next":
		return e.Queued(), nil
	case "POST /_next":
		faults, err := oneOrMore[Fault](body)
		if err != nil {
			return nil, err
		}
		if err := e.Next(faults...); err != nil {
			return nil, err
		}
		return done{true, len(faults)}, nil
	case "DELETE /_next":
		e.mu.Lock()
		defer e.mu.Unlock()
		n := len(e.queue)
		e.queue = nil
		return done{true, n}, nil
	case "POST /_release":
		return done{true, e.Release()}, nil
	case "GET /_held":
		return e.held(r)
	case "GET /_clients":
		return e.shownClients(), nil
	case "POST /_clients":
		objects, err := oneOrMore[jsonObject](body)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if err := e.Change(o); err != nil {
				return nil, err
			}
		}
		return done{true, len(objects)}, nil
	case "GET /_clock":
		return map[string]any{"now": e.now().UTC().Format(time.RFC3339Nano)}, nil
	case "POST /_clock":
		var q struct {
			Advance freshet.Duration `json:"advance"`
		}
		if err := decode(body, &q); err != nil {
			return nil, err
		}
		e.Advance(q.Advance.D())
		return map[string]any{"now": e.now().UTC().Format(time.RFC3339Nano)}, nil
	case "POST /_revoke", "POST /_kill":
		var q struct {
			Client string `json:"client"` // empty: all
		}
		if err := decode(body, &q); err != nil {
			return nil, err
		}
		if path == "/_revoke" {
			return done{true, e.RevokeGrants(q.Client)}, nil
		}
		return done{true, e.KillAccess(q.Client)}, nil
	case "POST /_keys":
		e.RotateKeys()
		return done{OK: true}, nil
	case "POST /_issue":
		var q struct {
			Client  string `json:"client"`
			Subject string `json:"subject"`
			Scope   string `json:"scope"`
		}
		if err := decode(body, &q); err != nil {
			return nil, err
		}
		t, err := e.Issue(q.Client, q.Subject, q.Scope)
		if err != nil {
			return nil, err
		}
		return t.Answer, nil
	}
	return nil, errNowhere
}

// held answers how many requests are held, after waiting for ?n=1 of them for
// at most ?wait=10s.
func (e *Emulator) held(r *http.Request) (any, error) {
	query := r.URL.Query()
	if s := query.Get("n"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, fmt.Errorf("n: %q is not a number", s)
		}
		wait := freshet.Duration(10 * time.Second)
		if s := query.Get("wait"); s != "" {
			if wait, err = freshet.ParseDuration(s); err != nil {
				return nil, err
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), wait.D())
		defer cancel()
		// What is held after the wait tells whether it was enough.
		_ = e.AwaitHeld(ctx, n)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return map[string]int{"held": e.counts.held}, nil
}

// jsonObject is a JSON object that is read later.
type jsonObject []byte

func (o *jsonObject) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return fmt.Errorf("a JSON object is needed")
	}
	*o = append((*o)[:0], b...)
	return nil
}

// oneOrMore decodes an object or a list of objects.
func oneOrMore[T any](body []byte) ([]T, error) {
	trimmed := strings.TrimSpace(string(body))
	if trimmed == "" {
		return nil, fmt.Errorf("a JSON object is needed")
	}
	if trimmed[0] == '[' {
		var list []T
		return list, strictJSON(body, &list)
	}
	list := make([]T, 1)
	return list, strictJSON(body, &list[0])
}

// shownClients returns the registrations without their secrets.
func (e *Emulator) shownClients() []Client {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Client, 0, len(e.clients))
	for _, id := range slices.Sorted(maps.Keys(e.clients)) {
		c := e.clients[id].Client
		if c.Secret != "" {
			c.Secret = freshet.Redacted
		}
		out = append(out, c)
	}
	return out
}

// addresses are what GET / lists.
var addresses = [][2]string{
	{"GET /authorize", "authorization code with PKCE, a page with one button"},
	{"POST /token", "authorization_code, refresh_token, client_credentials, password, device_code, jwt-bearer, token-exchange"},
	{"POST /device_authorization", "device flow; the person types the code at /device"},
	{"POST /revoke, /introspect", "RFC 7009, RFC 7662"},
	{"GET /.well-known/openid-configuration", "metadata; keys at /jwks, the person at /userinfo"},
	{"POST /login", `{"username","password"} brings {"authToken","expiresInMinutes"}`},
	{"POST /jwt/login, /jwt/refresh", `{"email","password"} brings {"access_token","refresh_token"}`},
	{"ANY /api/…", "me, echo, items, users, status/404, bytes/1048576, upload, events, slow, ws, redirect, truncated, trailers, hints, gzip, cookies"},
	{"GET /_stats", "what was counted; ?log for every request"},
	{"POST /_next", `faults for coming requests: {"at":"token","count":1,"mode":"http_500"}; GET shows, DELETE clears`},
	{"POST /_release", "lets held requests go on; GET /_held?n=1 waits for one"},
	{"POST /_clients", `registers or changes: {"id":"crm","model":"strict","lifetime":"20s"}; GET lists`},
	{"POST /_clock", `moves the provider's clock: {"advance":"1h"}`},
	{"POST /_issue", `consent without a request: {"client":"crm","subject":"alice"}`},
	{"POST /_revoke, /_kill", `withdraws consent, or has the API refuse live access tokens: {"client":"crm"}`},
	{"POST /_keys", "new signing keys"},
	{"POST /_reset", `forgets everything, or with {"only":"stats"} what was counted`},
}

// overview is the page at /.
func (e *Emulator) overview(base string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Freshet provider emulator at %s\n\nAddresses\n", base)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, a := range addresses {
		fmt.Fprintf(w, "  %s\t%s\n", a[0], a[1])
	}
	fmt.Fprintf(w, "\nModels of refresh token rotation: %s\n", strings.Trim(fmt.Sprint(Models()), "[]"))
	fmt.Fprint(w, "\nModes, for POST /_next, the header X-Emulate or the query parameter _emulate\n")
	for _, m := range ModeList {
		fmt.Fprintf(w, "  %s\t%s\n", m.Form(), m.Doc)
	}
	w.Flush()
	fmt.Fprint(&b, "\nWith after: before it, a mode comes after the work: after:http_500 rotates the refresh token and answers 500.\n")
	return b.String()
}
