package emulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// begin is when the emulator's clock stands still in tests.
var begin = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) freshet.Duration { return freshet.Duration(d) }

// A rig is an emulator whose clock moves by Advance only, and a client that
// follows no redirect and keeps no connection.
type rig struct {
	*testing.T
	e    *emulator.Emulator
	base string
	http *http.Client
}

func start(t *testing.T, o emulator.Options) *rig {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return begin }
	}
	e, base := emulatortest.Start(t, o)
	return &rig{t, e, base, httpClient(t)}
}

func httpClient(t *testing.T) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// An answer is what came back; err is a broken exchange.
type answer struct {
	status int
	header http.Header
	body   []byte
	v      map[string]any
	err    error
}

func (a answer) str(name string) string {
	s, _ := a.v[name].(string)
	return s
}

func (r *rig) do(req *http.Request) answer {
	res, err := r.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	a.body, a.err = io.ReadAll(res.Body)
	json.Unmarshal(a.body, &a.v)
	return a
}

func (r *rig) request(method, path string, body string, headers ...string) *http.Request {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.base+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else {
			req.Header.Add(headers[i], headers[i+1])
		}
	}
	return req
}

func (r *rig) get(path string, headers ...string) answer {
	r.Helper()
	return r.do(r.request("GET", path, "", headers...))
}

// form posts pairs of names and values.
func (r *rig) form(path string, pairs []string, headers ...string) answer {
	r.Helper()
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	headers = append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)
	return r.do(r.request("POST", path, v.Encode(), headers...))
}

func (r *rig) json(path, body string, headers ...string) answer {
	r.Helper()
	return r.do(r.request("POST", path, body, append([]string{"Content-Type", "application/json"}, headers...)...))
}

// login obtains a grant of the client with a refresh token.
func (r *rig) login(client string) answer {
	r.Helper()
	a := r.form("/token", []string{"grant_type", "password", "username", "alice", "password", "pw", "client_id", client, "client_secret", "s"})
	if a.status != 200 {
		r.Fatalf("login: %d %s", a.status, a.body)
	}
	return a
}

func (r *rig) refresh(client, token string, headers ...string) answer {
	r.Helper()
	return r.form("/token", []string{"grant_type", "refresh_token", "refresh_token", token, "client_id", client, "client_secret", "s"}, headers...)
}

// me calls the API.
func (r *rig) me(token string, headers ...string) answer {
	r.Helper()
	return r.get("/api/me", append([]string{"Authorization", "Bearer " + token}, headers...)...)
}

func (r *rig) next(faults ...emulator.Fault) {
	r.Helper()
	if err := r.e.Next(faults...); err != nil {
		r.Fatal(err)
	}
}

// wants fails unless the answer has the status and, if given, the OAuth error.
func (r *rig) wants(what string, a answer, status int, code string) {
	r.Helper()
	if a.status != status || a.str("error") != code {
		r.Errorf("%s = %d %q %s (%v), want %d %q", what, a.status, a.str("error"), a.body, a.err, status, code)
	}
}
