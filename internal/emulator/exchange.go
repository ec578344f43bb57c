package emulator

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An exchange is one request and what becomes of it, in steps: who asks, which
// faults it meets, what comes instead of the work, the work, what comes after
// it, and the answer on the wire.
type exchange struct {
	e     *Emulator
	w     http.ResponseWriter
	r     *http.Request
	kind  string // endpoint
	path  string // ours, after Options.Paths
	entry Request
	epoch int
	now   time.Time // the provider's clock as the work began

	params    url.Values // of token requests and logins: form, JSON or query
	body      []byte     // the same as it came
	repeated  string     // a parameter that came twice
	cred      credentials
	clientID  string
	client    *client // for counting; nil until it is known
	grantType string
	refresh   string // the refresh token it brings
	presented *RefreshStats

	shown []shownToken // what comes to the API
	rec   *Recorded

	actions []action
	twist   twist
	worked  bool
	ended   bool
	abort   bool // end the connection when the handler returns
}

// Recorded is a request as it came. It holds secrets, and no control address
// shows it.
type Recorded struct {
	Kind   string
	At     time.Time
	Method string
	URI    string // as it stood in the request line
	Host   string
	Header http.Header
	Body   []byte // at most 64 KiB; of the API only where it echoes
}

const recordedBody = 64 << 10

// Requests returns the last requests at an endpoint, 256 at most, oldest first.
func (e *Emulator) Requests(kind string) []Recorded {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []Recorded
	if r := e.recorded[kind]; r != nil {
		for _, rec := range r.all() {
			out = append(out, *rec)
		}
	}
	return out
}

func (x *exchange) record(body []byte) {
	if x.e.opts.Fast {
		return
	}
	body = bytes.Clone(body[:min(len(body), recordedBody)])
	rec := &Recorded{Kind: x.kind, At: x.now, Method: x.r.Method, URI: x.r.RequestURI, Host: x.r.Host, Header: x.r.Header.Clone(), Body: body}
	x.e.mu.Lock()
	defer x.e.mu.Unlock()
	r := x.e.recorded[x.kind]
	if r == nil {
		r = &ring[*Recorded]{max: 256}
		x.e.recorded[x.kind] = r
	}
	r.add(rec)
	x.rec = rec
}

// ServeHTTP serves the provider, its API and the control addresses.
func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		http.Error(w, "the emulator was closed", http.StatusServiceUnavailable)
		return
	}
	e.handlers.Add(1)
	e.mu.Unlock()
	defer e.handlers.Done()

	path := e.ours(r.URL.Path)
	if path == "/" || strings.HasPrefix(path, "/_") && path != "/_sink" {
		e.control(w, r, path)
		return
	}
	x := &exchange{e: e, w: w, r: r, path: path}
	rt, ok := routes[path]
	if !ok && (strings.HasPrefix(path, "/api/") || path == "/api") {
		rt, ok = route{"api", (*exchange).api}, true
	}
	if !ok {
		http.Error(w, "nothing is here; GET / lists the addresses", http.StatusNotFound)
		return
	}
	x.kind = rt.kind
	x.serve(rt.work)
	if x.abort {
		// The server closes the connection and writes nothing more.
		panic(http.ErrAbortHandler)
	}
}

// ours translates an address of Options.Paths.
func (e *Emulator) ours(path string) string {
	if len(e.opts.Paths) == 0 {
		return path
	}
	if to, ok := e.opts.Paths[path]; ok {
		return to
	}
	best := ""
	for from := range e.opts.Paths {
		if prefix, ok := strings.CutSuffix(from, "*"); ok && strings.HasPrefix(path, prefix) && len(from) > len(best) {
			best = from
		}
	}
	if best != "" {
		return e.opts.Paths[best]
	}
	return path
}

// A route is an endpoint.
type route struct {
	kind string
	work func(*exchange) *answer
}

var routes = map[string]route{
	"/authorize":                        {"authorize", (*exchange).authorize},
	"/token":                            {"token", (*exchange).token},
	"/device_authorization":             {"device_authorization", (*exchange).deviceAuthorization},
	"/device":                           {"device", (*exchange).devicePage},
	"/revoke":                           {"revoke", (*exchange).revoke},
	"/introspect":                       {"introspect", (*exchange).introspect},
	"/userinfo":                         {"userinfo", (*exchange).userinfo},
	"/jwks":                             {"jwks", (*exchange).jwks},
	"/.well-known/openid-configuration": {"discovery", (*exchange).discovery},
	"/.well-known/oauth-authorization-server": {"discovery", (*exchange).discovery},
	"/login":       {"login", (*exchange).login},
	"/jwt/login":   {"jwt_login", (*exchange).jwtLogin},
	"/jwt/refresh": {"jwt_refresh", (*exchange).jwtRefresh},
	"/_sink":       {"sink", (*exchange).sink},
}

// serve takes x through its steps.
func (x *exchange) serve(work func(*exchange) *answer) {
	x.begin()
	defer x.end(0, unclear)
	x.identify()
	own, err := x.own()
	x.e.mu.Lock()
	x.count()
	x.actions = append(own, x.e.takeLocked(x)...)
	x.e.mu.Unlock()
	if err != nil {
		x.write(&answer{status: 400, ctype: "text/plain; charset=utf-8", raw: []byte(err.Error() + "\n"), outcome: deferred})
		return
	}
	x.record(x.body)

	var a *answer
	for _, act := range x.actions {
		x.entry.Faults = append(x.entry.Faults, act.String())
		if act.late {
			continue
		}
		if act.part == twists {
			x.twistBy(act)
			continue
		}
		b, on := x.meet(act)
		if !on {
			return
		}
		if a == nil {
			a = b
		}
	}
	if a == nil {
		if len(x.actions) > 0 {
			x.now = x.e.now() // it may have waited
		}
		a = work(x)
		x.worked = true
	}
	for _, act := range x.actions {
		if !act.late || act.part > breaks {
			continue
		}
		b, on := x.meet(act)
		if !on {
			return
		}
		if b != nil {
			if a.outcome == kept || a.outcome == rotated {
				b.outcome = unclear
			}
			a = b
		}
	}
	x.write(a)
}

// String is how a mode appears in the log.
func (a action) String() string {
	s := a.verb
	if a.verb == "http" {
		s += "_" + strconv.Itoa(a.n)
	}
	if a.arg != "" {
		s += ":" + a.arg[:min(len(a.arg), 80)]
	}
	return s
}

func (x *exchange) begin() {
	x.now = x.e.now()
	x.entry = Request{At: x.now, Kind: x.kind, Method: x.r.Method, Path: x.r.URL.EscapedPath()}
	x.e.mu.Lock()
	defer x.e.mu.Unlock()
	x.entry.Start = x.e.stamp()
	x.epoch = x.e.epoch
	c := &x.e.counts
	c.requests[x.kind]++
	c.inFlight[x.kind]++
	c.inFlightMax[x.kind] = max(c.inFlightMax[x.kind], c.inFlight[x.kind])
	x.e.changedLocked()
}

// end takes x out of what is in flight, once, just before the last of the
// answer is written: its receiver may send the next request at once.
func (x *exchange) end(status int, o outcome) {
	if x.ended {
		return
	}
	x.ended = true
	x.entry.Status = status
	if x.presented != nil {
		x.entry.Outcome = o
	}
	e := x.e
	e.mu.Lock()
	if x.epoch == e.epoch {
		x.entry.End = e.stamp()
		e.counts.inFlight[x.kind]--
		if x.client != nil {
			x.client.inFlight--
		}
		if p := x.presented; p != nil {
			p.inFlight--
			p.Last = o
			p.lastEnd = x.entry.End
		}
		if !e.opts.Fast {
			e.log.add(x.entry)
		}
	}
	e.mu.Unlock()
	if e.opts.Trace != nil {
		e.opts.Trace(x.entry)
	}
}

// identify reads who asks, for what, and with which refresh token.
func (x *exchange) identify() {
	switch x.kind {
	case "token", "revoke", "introspect", "device_authorization", "login", "jwt_login", "jwt_refresh":
	case "authorize":
		x.params = x.r.URL.Query()
		x.clientID = x.params.Get("client_id")
		return
	case "api", "userinfo":
		x.findToken()
		return
	default:
		return
	}
	x.readParams()
	x.cred = x.readCredentials()
	x.clientID = x.cred.id
	switch x.kind {
	case "token":
		x.grantType = grantName(x.params.Get("grant_type"))
		if x.grantType == "refresh_token" {
			x.refresh = x.params.Get("refresh_token")
		}
	case "login", "jwt_login":
		or(&x.clientID, map[string]string{"login": loginClient, "jwt_login": jwtClient}[x.kind])
	case "jwt_refresh":
		or(&x.clientID, jwtClient)
		x.grantType = "refresh_token"
		x.refresh = first(x.params, "refresh_token", "refreshToken", "refresh")
	}
}

// count notes x under its client and refresh token. The lock is held.
func (x *exchange) count() {
	if x.grantType != "" {
		bump(x.e.counts.grants, x.grantType)
	}
	if x.kind == "token" || x.kind == "jwt_refresh" || x.kind == "login" || x.kind == "jwt_login" {
		x.entry.Grant = x.grantType
		x.entry.Client = x.clientID
		if c := x.e.clientLocked(x.clientID); c != nil {
			x.client = c
			c.requests++
			if x.grantType != "" {
				bump(c.byGrant, x.grantType)
			}
			c.inFlight++
			c.inFlightMax = max(c.inFlightMax, c.inFlight)
		}
		if x.refresh != "" {
			x.e.presentLocked(x, x.refresh)
		}
	}
}

// readParams reads a body of at most 1 MiB.
func (x *exchange) readParams() {
	x.params = url.Values{}
	if x.r.Method == http.MethodGet {
		x.params = x.r.URL.Query()
		return
	}
	x.body, _ = io.ReadAll(io.LimitReader(x.r.Body, 1<<20))
	kind, _, _ := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if kind == "application/json" || strings.HasSuffix(kind, "+json") {
		var object map[string]any
		if json.Unmarshal(x.body, &object) == nil {
			for name, v := range object {
				switch v := v.(type) {
				case string:
					x.params.Set(name, v)
				case nil:
				default:
					x.params.Set(name, string(toJSON(v)))
				}
			}
		}
		return
	}
	form, err := url.ParseQuery(string(x.body))
	if err == nil {
		x.params = form
	}
	for name, v := range x.r.URL.Query() {
		if !x.params.Has(name) && name != "_emulate" {
			x.params[name] = v
		}
	}
	for name, v := range x.params {
		if len(v) > 1 {
			x.repeated = name
		}
	}
}

func first(v url.Values, names ...string) string {
	for _, n := range names {
		if s := v.Get(n); s != "" {
			return s
		}
	}
	return ""
}

// has returns the argument of a steering or twisting mode that x meets.
func (x *exchange) has(verb string) (arg string, ok bool) {
	for _, a := range x.actions {
		if a.verb == verb {
			return a.arg, true
		}
	}
	return "", false
}

func (x *exchange) twistBy(a action) {
	switch a.verb {
	case "other_user":
		x.twist.subject = a.arg
		or(&x.twist.subject, "mallory")
	case "narrow":
		x.twist.narrow = a.arg
	case "id_token":
		x.twist.idToken = a.arg
	}
}
