package grant

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/predicate"
)

// longAccess is the length of an access token beyond which common servers
// refuse the header that carries it.
const longAccess = 8 << 10

// Parse says what one token request led to. shape is where this answer keeps
// things; nil takes the provider's Response.
//
// An answer of status 2xx with a usable access token and no true error is a
// token, whatever else is odd about it. A new refresh token in any 2xx answer
// comes back, in Token.Refresh or in Salvaged: the provider may have retired
// the old one. Everything that is not plainly a dead grant leaves the grant
// alone.
func Parse(p *freshet.Provider, shape *freshet.Response, policy freshet.Policy, r Reply) Outcome {
	if shape == nil {
		shape = &p.Response
	}
	a := &reading{p: p, shape: shape, policy: policy, r: r}
	a.doc = readDocument(r.Body, r.Truncated || r.Err != nil)
	if a.doc.trailing && r.Status/100 == 2 {
		a.flag(FlagTrailing)
	}
	a.secrets = a.findSecrets()
	switch {
	case r.Status == 0:
		return a.fail(transportError(&r))
	case r.Status/100 == 2:
		return a.success()
	case r.Status/100 == 3:
		return a.fail(&Error{Class: Misconfigured, Code: "redirect_refused", Detail: "the token endpoint redirects" + a.target() + "; credentials are never sent on: correct the URL"})
	case r.Status < 200:
		return a.fail(&Error{Class: Retryable, Code: "malformed_response", Uncertain: true, Detail: "the answer ended with an informational status"})
	}
	return a.refusal()
}

// A reading is one Parse.
type reading struct {
	p       *freshet.Provider
	shape   *freshet.Response
	policy  freshet.Policy
	r       Reply
	doc     *document
	flags   []Flag
	secrets []string
}

func (a *reading) flag(f Flag) {
	if !slices.Contains(a.flags, f) {
		a.flags = append(a.flags, f)
	}
}

// success reads an answer of status 2xx.
func (a *reading) success() Outcome {
	refresh := a.newRefresh()
	if e := a.unreadable(); e != nil {
		return a.salvage(refresh, e)
	}
	if names := a.repeated(); len(names) > 0 {
		if slices.Contains(names, lastName(a.shape.RefreshToken, "refresh_token")) {
			refresh = "" // which of the two is anybody's guess
		}
		return a.salvage(refresh, &Error{Class: Misconfigured, Code: "duplicate_parameter", Uncertain: true,
			Detail: "the answer repeats " + a.clean(strings.Join(names, ", ")) + " with different values"})
	}
	access, fault := a.access()
	said, err := a.saysError(fault == "")
	if err != nil {
		return a.salvage(refresh, err)
	}
	if said != nil {
		return a.salvage(refresh, a.classify(said))
	}
	if fault != "" {
		return a.salvage(refresh, a.noAccess(fault))
	}
	return a.token(access, refresh)
}

// unreadable says what keeps the body of a 2xx answer from being read, nil when
// it can be. An object that is complete can, whatever became of the bytes
// after it.
func (a *reading) unreadable() *Error {
	d := a.doc
	elsewhere := hasPlace(a.shape.AccessToken)
	if d.state == whole && (d.kind == bodyObject || elsewhere || d.kind == bodyList && a.shape.AccessToken != "") {
		return nil
	}
	switch {
	case a.r.Err != nil:
		return transportError(&a.r)
	case a.r.Truncated && len(a.r.Body) >= MaxBody:
		return &Error{Class: Retryable, Code: "body_too_large", Uncertain: true, Detail: fmt.Sprintf("the answer is longer than %d bytes", MaxBody)}
	case a.r.Truncated:
		return &Error{Class: Retryable, Code: "connection_closed", Uncertain: true, Detail: "the answer broke off"}
	}
	detail := "the answer is empty"
	if d.kind != bodyEmpty {
		detail = "the answer is neither a JSON object nor a form; it begins: " + a.excerpt()
	}
	return &Error{Class: Retryable, Code: "unparseable_body", Uncertain: true, Detail: detail}
}

// repeated lists the members that are repeated with different values, in the
// root and beside the access token.
func (a *reading) repeated() []string {
	names := conflicts(a.doc.members)
	if parent := parentOf(a.shape.AccessToken); parent != "" {
		if n, ok := a.doc.at(parent); ok && n.kind() == '{' {
			names = append(names, conflicts(n.members())...)
		}
	}
	return names
}

// The ways in which there may be no usable access token.
const (
	accessMissing = "missing" // not there, null or blank
	accessOdd     = "odd"     // not a string
	accessBad     = "bad"     // bytes that no header may hold
)

// access returns the access token, or what is wrong with it.
func (a *reading) access() (token, fault string) {
	n, ok := a.find(a.shape.AccessToken, "access_token")
	if !ok {
		return "", accessMissing
	}
	switch n.kind() {
	case 'n':
		return "", accessMissing
	case '"':
	default:
		return "", accessOdd
	}
	s, ok := n.str()
	switch {
	case ok && isNothing(s):
		return "", accessMissing
	case !ok || !isVisible(s):
		return "", accessBad
	case a.shape.AccessToken == "body:" && strings.ContainsAny(s, " <>"):
		return "", accessBad // a page or a sentence where a bare token should be
	}
	return s, ""
}

// noAccess is the error of an answer without a usable access token and without
// a word why.
func (a *reading) noAccess(fault string) *Error {
	switch fault {
	case accessMissing:
		return &Error{Class: Retryable, Code: "missing_access_token", Uncertain: true, Detail: "the answer holds no access token" + a.has()}
	case accessOdd:
		return &Error{Class: Retryable, Code: "bad_access_token", Uncertain: true, Detail: "the access token is not a text" + a.has()}
	}
	return &Error{Class: Misconfigured, Code: "bad_access_token", Uncertain: true, Detail: "the access token holds characters that a header must not (RFC 6749 appendix A.12)"}
}

// has names the members of an answer, for whoever describes the provider.
func (a *reading) has() string {
	var names []string
	for _, m := range a.doc.members[:min(len(a.doc.members), 8)] {
		if isName(m.name) {
			names = append(names, m.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; it has " + a.mask(strings.Join(names, ", "))
}

// newRefresh returns the refresh token of the answer if it is well-formed and
// not the one that is stored.
func (a *reading) newRefresh() string {
	n, ok := a.find(a.shape.RefreshToken, "refresh_token")
	if !ok {
		return ""
	}
	var s string
	switch n.kind() {
	case 'n', 'f':
		return ""
	case '0':
		s = string(n.raw)
		a.flag(FlagRefreshNotString)
	case '"':
		if s, ok = n.str(); isNothing(s) && ok {
			return ""
		}
	}
	if !isVisible(s) {
		a.flag(FlagRefreshMalformed)
		return ""
	}
	if a.r.Prior != nil && a.r.Prior.Refresh.Equal(freshet.NewSecret(s)) {
		return ""
	}
	return s
}

// salvage ends a reading without an access token, but not without the new
// refresh token that came.
func (a *reading) salvage(refresh string, e *Error) Outcome {
	if refresh != "" {
		a.flag(FlagSalvaged)
	}
	o := a.fail(e)
	o.Salvaged = freshet.NewSecret(refresh)
	return o
}

// fail ends a reading with e, completed with what every answer tells.
func (a *reading) fail(e *Error) Outcome {
	e.Status = a.r.Status
	e.Detail = fit(e.Detail)
	if e.Status != 0 {
		wait, date := retryAfter(a.r.Header, a.r.Now)
		if date {
			a.flag(FlagRetryAfterDate)
		}
		e.RetryAfter = wait
	}
	return Outcome{Err: e, Flags: a.flags}
}

// token ends a reading with a token.
func (a *reading) token(access, refresh string) Outcome {
	r := &a.r
	prior := r.Prior
	if prior == nil {
		prior = &freshet.Token{}
	}
	t := &freshet.Token{
		Access:   freshet.NewSecret(access),
		Refresh:  freshet.NewSecret(refresh),
		Answer:   freshet.NewSecret(a.doc.object()),
		IssuedAt: r.SentAt,
		Subject:  prior.Subject,
	}
	if len(access) > longAccess {
		a.flag(FlagLongAccess)
	}
	if a.doc.odd {
		a.flag(FlagMalformed)
	}
	t.Type, t.Scheme = a.scheme()
	a.readScope(t, prior)
	a.readID(t, prior)
	a.readExpiry(t, access)
	t.RefreshHint = a.hint()
	t.RefreshExpiry = a.refreshExpiry(refresh)
	if refresh != "" {
		t.RefreshIssued = r.SentAt
		if r.Grant == freshet.GrantClientCredentials && !r.Refresh {
			a.flag(FlagRefreshOnCC)
		}
	} else {
		t.RefreshIssued = prior.RefreshIssued
		if t.RefreshExpiry.IsZero() {
			t.RefreshExpiry = prior.RefreshExpiry
		}
	}
	return Outcome{Token: t, Flags: a.flags}
}

// scheme returns token_type as it came and the word that goes before the token
// in a header. RFC 8693 N_A means that there is none. Unknown types are sent
// as Bearer, which is what those providers mean (Slack "bot", Apigee
// "BearerToken"); nothing but the two words ever reaches a header.
func (a *reading) scheme() (typ, scheme string) {
	n, ok := a.find(a.shape.TokenType, "token_type")
	if !ok || n.kind() == 'n' {
		return "", "Bearer"
	}
	typ = n.text()
	switch strings.ToLower(strings.TrimSpace(typ)) {
	case "bearer":
		scheme = "Bearer"
	case "dpop":
		scheme = "DPoP"
	case "n_a":
		scheme = ""
	case "":
		scheme = "Bearer"
		if n.kind() != '"' {
			a.flag(FlagUnknownType)
		}
	default:
		scheme = "Bearer"
		a.flag(FlagUnknownType)
	}
	if !isVisible(typ) || len(typ) > 64 {
		typ = ""
	}
	return typ, scheme
}

// readScope sets the scope: an answer that does not name it leaves it as it
// was asked for, RFC 6749 §5.1, and as it was, §6.
func (a *reading) readScope(t, prior *freshet.Token) {
	n, ok := a.find(a.shape.Scope, "scope")
	if !ok || n.kind() == 'n' {
		t.Scope = a.r.Scope
		if a.r.Refresh && prior.Scope != "" {
			t.Scope = prior.Scope
		}
		return
	}
	switch n.kind() {
	case '"':
		t.Scope, _ = n.str()
	case '[':
		var words []string
		for _, e := range n.elements(1024) {
			words = append(words, e.text())
		}
		t.Scope = strings.Join(words, " ")
		a.flag(FlagScopeOdd)
	default:
		a.flag(FlagScopeOdd)
		return
	}
	t.Scope = strings.ToValidUTF8(t.Scope, "\uFFFD")
	had := prior.Scope
	if had == "" || !a.r.Refresh {
		had = a.r.Scope
	}
	if narrower(had, t.Scope) {
		a.flag(FlagScopeNarrowed)
	}
}

// narrower reports whether got lacks a scope of had. Scopes that are no rights
// to the API (OpenID Connect Core §5.4, §11) are often not repeated.
func narrower(had, got string) bool {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\t' })
	}
	have := split(got)
	if len(have) == 0 {
		return false // GitHub Apps and others answer an empty scope
	}
	for _, s := range split(had) {
		switch s {
		case "openid", "offline_access", "profile", "email", "address", "phone":
			continue
		}
		if !slices.Contains(have, s) {
			return true
		}
	}
	return false
}

// readID sets the ID token and, from its unverified payload, the subject. The
// token came from the token endpoint over TLS, which OpenID Connect Core
// §3.1.3.7 lets stand in for the signature; it serves to notice another
// account, never to sign anybody in.
func (a *reading) readID(t, prior *freshet.Token) {
	n, ok := a.find(a.shape.IDToken, "id_token")
	if !ok {
		return
	}
	s, ok := n.str()
	if !ok || !isVisible(s) || isNothing(s) {
		return
	}
	t.ID = freshet.NewSecret(s)
	claims, ok := jwtClaims(s)
	if !ok {
		return
	}
	if sub := claims.text("sub"); sub != "" && len(sub) <= 255 {
		t.Subject = strings.ToValidUTF8(sub, "\uFFFD")
		if prior.Subject != "" && prior.Subject != t.Subject {
			a.flag(FlagSubjectChanged)
		}
	}
}

// Places of an answer other than members of its body.
const (
	placeHeader = "header:"
	placeCookie = "cookie:"
	placeBody   = "body:"
	placeMatch  = "match:"
)

func hasPlace(path string) bool {
	for _, p := range []string{placeHeader, placeCookie, placeBody, placeMatch} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// find returns the value at path. Without a path it takes the standard name,
// beside the access token if that has a path of its own, else in the root.
func (a *reading) find(path, standard string) (node, bool) {
	if path != "" {
		return a.at(path)
	}
	if parent := parentOf(a.shape.AccessToken); parent != "" {
		if n, ok := a.doc.at(parent + "." + standard); ok {
			return n, true
		}
	}
	return a.doc.top(standard)
}

// at returns the value at a configured path, wherever it points.
func (a *reading) at(path string) (node, bool) {
	text := func(s string, ok bool) (node, bool) {
		if !ok {
			return node{}, false
		}
		return node{quote(s)}, true
	}
	if name, ok := strings.CutPrefix(path, placeHeader); ok {
		s := strings.TrimSpace(a.r.Header.Get(name))
		if len(s) > 7 && strings.EqualFold(s[:7], "bearer ") {
			s = strings.TrimSpace(s[7:])
		}
		return text(s, s != "")
	}
	if name, ok := strings.CutPrefix(path, placeCookie); ok {
		for _, c := range (&http.Response{Header: a.r.Header}).Cookies() {
			if c.Name == name {
				return text(c.Value, true)
			}
		}
		return node{}, false
	}
	if strings.HasPrefix(path, placeBody) {
		switch {
		case a.doc.kind == bodyEmpty || a.doc.kind == bodyObject && !a.doc.form || a.doc.kind == bodyList:
			return node{}, false // an error, not a bare token
		case a.doc.text[0] == '"':
			if s, ok := (node{a.doc.text}).str(); ok && len(a.doc.text) > 1 && a.doc.text[len(a.doc.text)-1] == '"' {
				return text(s, true)
			}
		}
		return text(string(a.doc.text), true)
	}
	if pattern, ok := strings.CutPrefix(path, placeMatch); ok {
		re, err := regexp.Compile(pattern)
		if err != nil || re.NumSubexp() < 1 {
			return node{}, false
		}
		m := re.FindSubmatch(a.doc.text)
		if m == nil {
			return node{}, false
		}
		return text(string(m[1]), true)
	}
	return a.doc.at(path)
}

// judge evaluates the provider's success predicate over the answer.
func (a *reading) judge() (bool, *Error) {
	p, err := predicate.Compile(a.shape.Success)
	if err != nil {
		return false, &Error{Class: Misconfigured, Code: "bad_profile", Uncertain: true, Detail: "response.success of the provider does not compile"}
	}
	ok, err := p.Match(a.doc.value())
	if err != nil {
		return false, &Error{Class: Misconfigured, Code: "bad_profile", Uncertain: true, Detail: "response.success of the provider cannot be evaluated over this answer"}
	}
	return ok, nil
}

// parentOf returns the path of the object that holds the member at path, ""
// for the root and for other places.
func parentOf(path string) string {
	if hasPlace(path) {
		return ""
	}
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return ""
	}
	return path[:i]
}

func lastName(path, standard string) string {
	if path == "" {
		return standard
	}
	return path[strings.LastIndexByte(path, '.')+1:]
}

// isNothing reports whether a token is none in fact: servers print null and
// undefined into texts.
func isNothing(s string) bool {
	switch strings.TrimSpace(s) {
	case "", "null", "undefined":
		return true
	}
	return false
}

// isVisible reports whether s may be a token: %x20-7E, RFC 6749 appendix A.12
// and A.17.
func isVisible(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func isName(s string) bool {
	if s == "" || len(s) > 40 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}

// skew returns our clock minus the provider's, as its Date header tells it;
// zero without one, and below what a slow answer explains.
func (a *reading) skew() time.Duration {
	date, err := http.ParseTime(a.r.Header.Get("Date"))
	if err != nil {
		return 0
	}
	d := a.r.Now.Sub(date).Truncate(time.Second)
	if d.Abs() < 10*time.Second {
		return 0
	}
	return d
}
