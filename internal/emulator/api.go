package emulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A shownToken is a credential at the API, and where it stood.
type shownToken struct {
	place  string // header Authorization, query, …
	scheme string // in Authorization: what stood before it, to the letter
	value  string
}

// tokenHeaders and tokenParameters are where APIs take tokens besides
// Authorization.
var (
	tokenHeaders    = []string{"X-Auth-Token", "X-Access-Token", "X-Api-Key", "Access-Token"}
	tokenParameters = []string{"access_token", "token", "auth", "api_key", "key"}
)

// findToken collects what might be a token.
func (x *exchange) findToken() {
	for _, v := range x.r.Header.Values("Authorization") {
		x.shown = append(x.shown, authorization(x.r, v))
	}
	for _, name := range tokenHeaders {
		for _, v := range x.r.Header.Values(name) {
			x.shown = append(x.shown, shownToken{"header", "", v})
		}
	}
	if x.r.URL.RawQuery != "" {
		query := x.r.URL.Query()
		for _, name := range tokenParameters {
			for _, v := range query[name] {
				x.shown = append(x.shown, shownToken{"query", "", v})
			}
		}
	}
	x.e.mu.Lock()
	defer x.e.mu.Unlock()
	for _, c := range x.r.Cookies() {
		v := c.Value
		if u, err := url.QueryUnescape(v); err == nil {
			if _, ours := x.e.access.get(u); ours {
				v = u
			}
		}
		if _, ours := x.e.access.get(v); ours || c.Name == "token" || c.Name == "access_token" {
			x.shown = append(x.shown, shownToken{"cookie", "", v})
		}
	}
	for _, s := range x.shown {
		if t, ok := x.e.access.get(s.value); ok {
			x.clientID = t.grant.client.ID
			x.entry.Client, x.entry.Family = x.clientID, t.grant.id
			break
		}
	}
}

// authorization splits an Authorization value into scheme and token.
func authorization(r *http.Request, v string) shownToken {
	s := shownToken{place: "authorization", value: v}
	scheme, rest, ok := strings.Cut(v, " ")
	if !ok {
		return s
	}
	s.scheme, s.value = scheme, strings.TrimSpace(rest)
	if strings.EqualFold(scheme, "Basic") {
		if user, password, ok := r.BasicAuth(); ok {
			s.value = password
			or(&s.value, user)
		}
		return s
	}
	if named, ok := strings.CutPrefix(s.value, "token="); ok {
		s.value = strings.Trim(named, `"`)
	}
	return s
}

// authorized returns the token of a call if the API takes it, and else the
// answer that refuses it.
func (x *exchange) authorized() (*accessToken, *answer) {
	e := x.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(x.shown) == 0 {
		a := refuse(401, "unauthorized", "a token is needed")
		a.reason = "unauthenticated"
		a.setHeader("WWW-Authenticate", `Bearer realm="emulator"`)
		return nil, a
	}
	several := 0
	for _, s := range x.shown {
		if s.place == "authorization" {
			several++
		}
	}
	s := x.shown[0]
	t, ok := e.access.get(s.value)
	p := e.opts.Default
	if ok {
		p = t.grant.client.Profile
	}
	if several > 1 || p.Picky && len(x.shown) > 1 {
		a := refuse(400, "invalid_request", "more than one credential was sent, RFC 6750 §2")
		a.reason = "several"
		return nil, a
	}
	why := "unknown"
	if ok {
		why = e.aliveLocked(t, x.now)
	}
	if _, all := x.has("reject"); all && why == "" {
		why = "rejected"
	}
	for _, act := range x.actions {
		if why != "" {
			break
		}
		if act.verb == "reject_generation" && t.generation == int64(act.n) || act.verb == "accept_generation" && t.generation < int64(act.n) {
			why = "rejected"
		}
	}
	bound := ok && t.grant.jkt != ""
	switch {
	case why != "":
	case bound && !strings.EqualFold(s.scheme, "DPoP"), !bound && strings.EqualFold(s.scheme, "DPoP"):
		why = "wrong_scheme"
	case !bound && p.Scheme != "" && s.scheme != p.Scheme:
		why = "wrong_scheme"
	}
	if why != "" {
		return nil, rejection(&p, why)
	}
	if bound {
		jkt, bad := x.proofLocked(t.grant.client, s.value)
		if bad == nil && jkt != t.grant.jkt {
			bad = rejection(&p, "wrong_key")
		}
		if bad != nil {
			or(&bad.reason, bad.code)
			return nil, bad
		}
	}
	if t.used.IsZero() {
		t.used = x.now
	}
	return t, nil
}

// rejection is how an API says that it does not take a token, RFC 6750 §3.
func rejection(p *Profile, why string) *answer {
	a := refuse(p.RejectStatus, "invalid_token", "the access token is not accepted: "+why)
	a.reason = why
	a.setHeader("WWW-Authenticate", fmt.Sprintf(`Bearer realm="emulator", error="invalid_token", error_description="the access token is not accepted: %s"`, why))
	if p.RejectBody != "" {
		a.raw = []byte(p.RejectBody)
	}
	return a
}

// echoLimit bounds the body that the API gives back.
const echoLimit = 16 << 20

// api is the protected API. Every path below /api/ is there.
func (x *exchange) api() *answer {
	t, bad := x.authorized()
	if bad != nil {
		return bad
	}
	if !slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, x.r.Method) {
		x.e.mu.Lock()
		x.e.counts.effects++
		x.e.mu.Unlock()
	}
	path := strings.Trim(strings.TrimPrefix(x.path, "/api"), "/")
	head, rest, _ := strings.Cut(path, "/")
	query := x.r.URL.Query()
	switch head {
	case "me":
		return reply(map[string]any{
			"sub": t.grant.subject, "client_id": t.grant.client.ID, "scope": t.scope, "grant": t.grant.id,
			"generation": t.generation, "expires_at": t.expiry.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		})
	case "items", "users":
		return x.collection(head, rest, query)
	case "status":
		n, err := strconv.Atoi(rest)
		if err != nil || n < 200 || n > 599 {
			return refuse(400, "invalid_request", "write /api/status/404")
		}
		return &answer{status: n, raw: toJSON(map[string]any{"status": n})}
	case "redirect":
		to, status := query.Get("to"), query.Get("status")
		or(&to, "/api/me")
		n, err := strconv.Atoi(status)
		if err != nil || n < 300 || n > 399 {
			n = 302
		}
		a := &answer{status: n, raw: []byte{}}
		a.setHeader("Location", to)
		return a
	case "bytes":
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil || n < 0 || n > 1<<32 {
			return refuse(400, "invalid_request", "write /api/bytes/1048576")
		}
		return bulk(n, query.Has("chunked"))
	case "upload":
		return x.upload()
	case "events":
		return events(query)
	case "slow":
		return slowly(query)
	case "ws":
		return &answer{status: http.StatusSwitchingProtocols, takeover: (*exchange).echoSocket}
	case "truncated":
		return truncated()
	case "trailers":
		return trailers()
	case "hints":
		a := reply(map[string]any{"hinted": true})
		x.w.Header().Set("Link", "</style.css>; rel=preload; as=style")
		x.w.WriteHeader(http.StatusEarlyHints)
		x.w.Header().Del("Link")
		return a
	case "gzip":
		a := &answer{status: 200, raw: compress(toJSON(map[string]any{"compressed": true, "text": strings.Repeat("a", 1000)}))}
		a.setHeader("Content-Encoding", "gzip")
		return a
	case "cookies":
		a := reply(map[string]any{"cookies": x.r.Header.Values("Cookie")})
		a.setHeader("Set-Cookie", "session=s-1; Path=/; HttpOnly")
		return a
	}
	return x.echo()
}

// echo gives the request back, its credential included.
func (x *exchange) echo() *answer {
	body, err := io.ReadAll(io.LimitReader(x.r.Body, echoLimit))
	if err != nil {
		return refuse(400, "invalid_request", "the body cannot be read")
	}
	x.e.mu.Lock()
	x.e.counts.upload += int64(len(body))
	if x.rec != nil {
		x.rec.Body = bytes.Clone(body[:min(len(body), recordedBody)])
	}
	x.e.mu.Unlock()
	path, query, _ := strings.Cut(x.r.RequestURI, "?")
	out := map[string]any{
		"method": x.r.Method, "uri": x.r.RequestURI, "path": path, "query": query, "host": x.r.Host, "proto": x.r.Proto,
		"headers": x.r.Header, "length": len(body), "chunked": slices.Contains(x.r.TransferEncoding, "chunked"),
	}
	if utf8.Valid(body) {
		out["body"] = string(body)
	} else {
		out["body_base64"] = base64.StdEncoding.EncodeToString(body)
	}
	if len(x.r.Trailer) > 0 {
		out["trailers"] = x.r.Trailer
	}
	return reply(out)
}

// people are the rows of /api/users and /api/items.
var people = []string{"Ada", "Alan", "Barbara", "Edsger", "Frances", "Grace", "John", "Ken", "Margaret", "Radia"}

// collection serves rows as low-code tables like them: {"results":[…]}.
func (x *exchange) collection(name, id string, query url.Values) *answer {
	row := func(i int) map[string]any {
		who := people[i%len(people)]
		return map[string]any{"id": i + 1, "name": who, "email": strings.ToLower(who) + "@example.org"}
	}
	if x.r.Method == http.MethodPost {
		a := x.echo()
		a.status = http.StatusCreated
		return a
	}
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		return x.echo()
	}
	if id != "" {
		i, err := strconv.Atoi(id)
		if err != nil || i < 1 || i > len(people) {
			return refuse(404, "not_found", "there is no such row")
		}
		return reply(row(i - 1))
	}
	n, err := strconv.Atoi(query.Get("n"))
	if err != nil || n < 0 || n > 10_000 {
		n = len(people)
	}
	rows := make([]any, 0, n)
	for i := range n {
		rows = append(rows, row(i))
	}
	return reply(map[string]any{"count": n, "results": rows})
}

// upload counts a body of any size without keeping it.
func (x *exchange) upload() *answer {
	sum := sha256.New()
	n, err := io.Copy(sum, x.r.Body)
	x.e.mu.Lock()
	x.e.counts.upload += n
	x.e.mu.Unlock()
	if err != nil {
		return refuse(400, "invalid_request", "the body broke off")
	}
	return reply(map[string]any{"bytes": n, "sha256": hex.EncodeToString(sum.Sum(nil)), "chunked": slices.Contains(x.r.TransferEncoding, "chunked")})
}
