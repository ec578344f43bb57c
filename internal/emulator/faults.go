package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
)

// A Fault is a misbehaviour for some of the coming requests.
type Fault struct {
	At      string            `json:"at,omitempty"`      // an endpoint or a grant type, see Endpoints; empty: any but the control addresses
	Client  string            `json:"client,omitempty"`  // only requests of this client
	Path    string            `json:"path,omitempty"`    // only paths that begin so
	Skip    int               `json:"skip,omitempty"`    // matching requests that pass first
	Count   int               `json:"count,omitempty"`   // requests that meet it: 1 if empty, -1 for all of them
	Mode    Modes             `json:"mode"`              // one or several, in order
	Status  int               `json:"status,omitempty"`  // with mode answer
	Headers map[string]string `json:"headers,omitempty"` // with mode answer
	Body    string            `json:"body,omitempty"`    // with mode answer
}

// Modes is one mode or a list of them, as files may write it.
type Modes []string

// UnmarshalJSON takes a string or a list of strings.
func (m *Modes) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(m))
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return errors.New("mode is text or a list of texts")
	}
	*m = Modes{one}
	return nil
}

// Endpoints lists what Fault.At may name.
var Endpoints = []string{
	"authorize", "token", "device_authorization", "device", "revoke", "introspect", "userinfo", "jwks", "discovery",
	"login", "jwt_login", "jwt_refresh", "api", "sink",
	"authorization_code", "client_credentials", "password", "refresh_token", "device_code", "jwt_bearer", "token_exchange",
}

// shortNames are what people type instead.
var shortNames = map[string]string{"refresh": "refresh_token", "code": "authorization_code"}

// A part is what kind of thing a mode does.
type part int

const (
	instead part = iota // an answer in place of the endpoint's
	wait                // time passes
	breaks              // the connection ends
	twists              // the endpoint does its work differently
	shapes              // the endpoint's answer is changed, or written oddly
	steers              // the authorization page decides or answers oddly
)

// A ModeInfo describes a mode for people.
type ModeInfo struct {
	Name string // as it is written
	Arg  string // what follows the colon, in brackets if it may be left out
	Doc  string
	part part
	late bool // by itself after the work
}

// Form is how the mode is written, such as http_NNN[:BODY].
func (m ModeInfo) Form() string {
	switch {
	case m.Arg == "":
		return m.Name
	case m.Arg[0] == '[':
		return m.Name + "[:" + m.Arg[1:]
	}
	return m.Name + ":" + m.Arg
}

// ModeList lists every mode. With "after:" before it, one that would come
// instead of the work comes after it: the provider has rotated, and then this.
var ModeList = []ModeInfo{
	{"http_NNN", "[BODY]", "this status", instead, false},
	{"answer", "", "status, headers and body of the fault, for anything that has no mode of its own", instead, false},
	{"error", "CODE[:TEXT]", "an OAuth error with status 400, or 401 for invalid_client", instead, false},
	{"error_200", "CODE[:TEXT]", "the same with status 200", instead, false},
	{"ok_false", "CODE", `200 {"ok":false,"error":CODE}`, instead, false},
	{"errcode", "N", `200 {"errcode":N,"errmsg":…}`, instead, false},
	{"error_object", "CODE", `200 {"error":{"code":CODE,"message":…}}`, instead, false},
	{"errors_list", "CODE", `200 {"errors":[{"errorType":CODE,"message":…}],"success":false}`, instead, false},
	{"status_body", "N", `200 {"status":N,"body":{},"error":…}`, instead, false},
	{"retry_after", "VALUE", "429 with this Retry-After: seconds, a date, or nonsense", instead, false},
	{"html", "[STATUS]", "an HTML page (200)", instead, false},
	{"empty", "[STATUS]", "an answer without a body (200)", instead, false},
	{"redirect", "STATUS[:URL]", "to URL, or to /_sink, which counts what arrives", instead, false},
	{"www", "VALUE", "401 with this WWW-Authenticate", instead, false},
	{"dpop_nonce", "", "a DPoP nonce is demanded, a new one", instead, false},

	{"slow", "DURATION", "waits first", wait, false},
	{"hold_before", "", "waits for POST /_release, then does its work", wait, false},
	{"hold", "", "does its work, waits for POST /_release, then answers", wait, true},
	{"stall", "", "never answers", breaks, false},
	{"reset", "", "the connection is reset without an answer", breaks, false},
	{"close", "", "the connection is closed without an answer", breaks, false},
	{"drop", "", "does its work, then the connection is reset: the answer is lost", breaks, true},
	{"garbage", "", "bytes that are not HTTP", breaks, false},

	{"other_user", "[SUBJECT]", "the tokens of somebody else (mallory)", twists, false},
	{"narrow", "SCOPE", "a narrower scope than asked for", twists, false},
	{"id_token", "VARIANT", "an ID token not to be believed: " + strings.Join(idTokenVariants, ", "), twists, false},
	{"reject", "", "the API refuses the token, whatever it is", twists, false},
	{"reject_generation", "N", "the API refuses access tokens of generation N", twists, false},
	{"accept_generation", "N", "the API refuses access tokens before generation N", twists, false},

	{"set", "NAME=JSON", "a member of the answer gets this value", shapes, true},
	{"omit", "NAME", "a member of the answer is missing", shapes, true},
	{"header", "NAME=VALUE", "a header of the answer", shapes, true},
	{"content_type", "TYPE", "the answer's content type; empty: none", shapes, true},
	{"form", "", "the answer as a form", shapes, true},
	{"bom", "", "a byte order mark before the answer", shapes, true},
	{"trailing", "[TEXT]", "bytes behind the answer", shapes, true},
	{"huge", "BYTES", "the answer carries this much white space in front", shapes, true},
	{"gzip", "[BYTES]", "the answer is compressed, this much white space with it", shapes, true},
	{"nested", "DEPTH", "the answer carries lists in lists", shapes, true},
	{"huge_header", "BYTES", "a header of this length", shapes, true},
	{"interim", "STATUS", "a 1xx answer before the answer", shapes, true},
	{"cut", "BYTES", "the connection ends after this much of the body", shapes, true},
	{"truncate", "BYTES", "the body is this much of what it should be, and says so", shapes, true},
	{"drip", "BYTES", "this many bytes a second", shapes, true},
	{"stall_body", "[BYTES]", "headers and this much of the body, then nothing", shapes, true},

	{"consent", "", "the person agrees without being asked", steers, false},
	{"deny", "[TEXT]", "the person refuses", steers, false},
	{"state", "VALUE", "this state in place of the one that was sent", steers, false},
	{"no_state", "", "no state comes back", steers, false},
	{"iss", "VALUE", "this iss", steers, false},
	{"no_iss", "", "no iss comes back", steers, false},
	{"twice", "", "every parameter comes back twice", steers, false},
}

var modeByName = func() map[string]ModeInfo {
	m := map[string]ModeInfo{}
	for _, i := range ModeList {
		m[i.Name] = i
	}
	return m
}()

// An action is one mode, read.
type action struct {
	verb  string
	arg   string
	n     int // http_NNN, and arguments that are numbers
	d     time.Duration
	part  part
	late  bool
	fault *Fault // for answer
}

// parseMode reads one mode.
func parseMode(s string) (action, error) {
	text, after := strings.CutPrefix(strings.TrimSpace(s), "after:")
	verb, arg, has := strings.Cut(text, ":")
	a := action{verb: verb, arg: arg}
	name := verb
	if code, ok := strings.CutPrefix(verb, "http_"); ok {
		n, err := strconv.Atoi(code)
		if err != nil || n < 200 || n > 599 {
			return a, fmt.Errorf("mode %q: write http_ and a status from 200 to 599", s)
		}
		a.verb, a.n, name = "http", n, "http_NNN"
	}
	info, ok := modeByName[name]
	if !ok {
		return a, fmt.Errorf("mode %q is not known: GET / lists the modes", s)
	}
	a.part, a.late = info.part, info.late
	if after {
		if info.part > breaks {
			return a, fmt.Errorf("mode %q: only a mode that comes instead of the work, waits or breaks can come after it", s)
		}
		a.late = true
	}
	switch {
	case info.Arg == "" && has:
		return a, fmt.Errorf("mode %q takes nothing after a colon", verb)
	case info.Arg != "" && info.Arg[0] != '[' && !has:
		return a, fmt.Errorf("mode %q: write %s:%s", s, verb, info.Arg)
	}
	var err error
	switch verb {
	case "slow":
		var d freshet.Duration
		d, err = freshet.ParseDuration(arg)
		a.d = d.D()
	case "errcode", "status_body", "reject_generation", "accept_generation", "huge", "nested", "huge_header", "interim", "cut", "truncate", "drip":
		a.n, err = number(arg, 0)
	case "html", "empty":
		a.n, err = number(arg, http.StatusOK)
	case "gzip":
		a.n, err = number(arg, 0)
	case "stall_body":
		a.n, err = number(arg, 1)
	case "redirect":
		status, to, _ := strings.Cut(arg, ":")
		a.n, err = number(status, 0)
		a.arg = to
		if err == nil && (a.n < 300 || a.n > 399) {
			err = errors.New("a redirect has a status from 300 to 399")
		}
	case "id_token":
		if !slices.Contains(idTokenVariants, arg) {
			err = fmt.Errorf("use one of %s", strings.Join(idTokenVariants, ", "))
		}
	case "set":
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" || !json.Valid([]byte(value)) {
			err = errors.New("write set:NAME=JSON, text in quotes")
		}
	case "header":
		if name, _, ok := strings.Cut(arg, "="); !ok || name == "" {
			err = errors.New("write header:NAME=VALUE")
		}
	}
	if err == nil && verb == "interim" && (a.n < 102 || a.n > 199) {
		err = errors.New("an interim answer has a status from 102 to 199")
	}
	if err == nil && verb == "drip" && a.n == 0 {
		err = errors.New("drip needs at least a byte a second")
	}
	if err != nil {
		return a, fmt.Errorf("mode %q: %w", s, err)
	}
	return a, nil
}

// largest bounds what a mode may ask of memory.
const largest = 64 << 20

func number(s string, otherwise int) (int, error) {
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > largest {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, largest)
	}
	return n, nil
}

// check reads f's modes and reports the first thing that is wrong with it.
func (f *Fault) check() error {
	if s, ok := shortNames[f.At]; ok {
		f.At = s
	}
	if f.At != "" && !slices.Contains(Endpoints, f.At) {
		return fmt.Errorf("at: %q is not known: use one of %s", f.At, strings.Join(Endpoints, ", "))
	}
	if len(f.Mode) == 0 {
		return errors.New("mode: say what should happen, such as http_500")
	}
	for _, m := range f.Mode {
		if _, err := parseMode(m); err != nil {
			return err
		}
	}
	if f.Count < -1 || f.Skip < 0 {
		return errors.New("count is -1 (all), or how many; skip is 0 or more")
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status: %d is not a status of an answer", f.Status)
	}
	if f.Count == 0 {
		f.Count = 1
	}
	return nil
}

// actions reads f's modes, which check has found good.
func (f *Fault) actions() []action {
	out := make([]action, 0, len(f.Mode))
	for _, m := range f.Mode {
		if a, err := parseMode(m); err == nil {
			a.fault = f
			out = append(out, a)
		}
	}
	return out
}

// Next queues faults for coming requests. Of queued faults a request meets the
// first that fits; standing ones (Count -1) it meets all.
func (e *Emulator) Next(faults ...Fault) error {
	for i := range faults {
		if err := faults[i].check(); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.enqueueLocked(faults)
	return nil
}

func (e *Emulator) enqueueLocked(faults []Fault) {
	for _, f := range faults {
		e.queue = append(e.queue, &f)
	}
}

// Queued returns the faults that wait for a request.
func (e *Emulator) Queued() []Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Fault, 0, len(e.queue))
	for _, f := range e.queue {
		out = append(out, *f)
	}
	return out
}

// takeLocked collects what x is to meet from the queue.
func (e *Emulator) takeLocked(x *exchange) []action {
	var out []action
	taken := false
	for i := 0; i < len(e.queue); i++ {
		f := e.queue[i]
		standing := f.Count < 0
		if !standing && taken || !f.fits(x) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		out = append(out, f.actions()...)
		if standing {
			continue
		}
		taken = true
		if f.Count--; f.Count == 0 {
			e.queue = slices.Delete(e.queue, i, i+1)
			i--
		}
	}
	return out
}

func (f *Fault) fits(x *exchange) bool {
	return (f.At == "" || f.At == x.kind || f.At == x.grantType) &&
		(f.Client == "" || f.Client == x.clientID) &&
		(f.Path == "" || strings.HasPrefix(x.r.URL.Path, f.Path))
}

// own collects what the request asks for itself: header X-Emulate and query
// parameter _emulate, one mode each, both repeatable.
func (x *exchange) own() ([]action, error) {
	asked := x.r.Header.Values("X-Emulate")
	if strings.Contains(x.r.URL.RawQuery, "_emulate=") {
		asked = append(slices.Clone(asked), x.r.URL.Query()["_emulate"]...)
	}
	var out []action
	for _, m := range asked {
		a, err := parseMode(m)
		if err != nil {
			return nil, err
		}
		if a.verb == "answer" {
			return nil, errors.New("mode answer needs the status and body of a queued fault: POST /_next")
		}
		out = append(out, a)
	}
	return out, nil
}
