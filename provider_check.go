package freshet

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The words that the provider format knows, for checks, schemas and messages.
var (
	ClientAuths   = []ClientAuth{AuthBasic, AuthBody, AuthPrivateKeyJWT, AuthNone}
	ExpiryUnits   = []string{"ms", "s", "m", "h", "d"}
	ExpiryForms   = []string{"at_s", "at_ms", "rfc3339", "datetime", "http_date", "date", "hms", "iso_duration", "jwt_exp"}
	RotationKinds = []string{"never", "omitted", "sometimes", "always"}
	ReuseKinds    = []string{"accepted", "replayed", "refused", "revokes"}
	methods       = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
)

// Check reports what is wrong with p, naming the field. It looks at each field
// by itself; predicates and templates are compiled by the packages that run
// them, and whether a variable is given is known to the connection only.
func (p *Provider) Check() error {
	for _, u := range []struct{ field, url string }{
		{"issuer", p.Issuer}, {"authorization_url", p.AuthorizationURL}, {"token_url", p.TokenURL}, {"refresh_url", p.RefreshURL},
		{"revocation_url", p.RevocationURL}, {"device_authorization_url", p.DeviceAuthorizationURL},
	} {
		if err := checkURL(u.url); err != nil {
			return fmt.Errorf("%s: %w", u.field, err)
		}
	}
	for i, g := range p.Grants {
		if err := g.Known(); err != nil {
			return fmt.Errorf("grants[%d]: %w", i, err)
		}
	}
	if err := firstErr(
		oneOf("client_auth", string(p.ClientAuth), texts(ClientAuths)),
		oneOf("refresh_client_auth", string(p.RefreshClientAuth), texts(ClientAuths)),
		oneOf("pkce", p.PKCE, []string{"S256", "off"}),
		oneOf("rotation.kind", p.Rotation.Kind, RotationKinds),
		oneOf("rotation.reuse", p.Rotation.Reuse, ReuseKinds),
		p.Request.check("request"),
		p.Response.check("response"),
		p.Rejected.check("rejected"),
	); err != nil {
		return err
	}
	if p.RefreshRequest != nil {
		if err := p.RefreshRequest.check("refresh_request"); err != nil {
			return err
		}
	}
	if p.RefreshAnswer != nil {
		if err := p.RefreshAnswer.check("refresh_response"); err != nil {
			return err
		}
	}
	if p.Revocation != nil {
		if err := p.Revocation.check("revocation_request"); err != nil {
			return err
		}
	}
	if s := p.SecondStep; s != nil {
		if s.Request.URL == "" {
			return fmt.Errorf("second_step.request.url: is missing")
		}
		if err := firstErr(s.Request.check("second_step.request"), s.Response.check("second_step.response")); err != nil {
			return err
		}
	}
	if p.API != nil {
		return p.API.check("api")
	}
	return nil
}

func (r *TokenRequest) check(field string) error {
	if err := checkURL(r.URL); err != nil {
		return fmt.Errorf("%s.url: %w", field, err)
	}
	if err := oneOf(field+".method", r.Method, methods); err != nil {
		return err
	}
	switch {
	case r.Body == "", r.Body == "form", r.Body == "json", r.Body == "query":
	case !strings.ContainsAny(r.Body, "{}<>=&\"\n"):
		// A template that holds no blank and no structure is a word misspelt.
		return fmt.Errorf("%s.body: %q is neither form, json nor query, nor a template", field, r.Body)
	case len(r.Params) > 0:
		return fmt.Errorf("%s.params: a body that is a template holds its parameters itself", field)
	}
	for name, v := range r.Headers {
		if !isToken(name) || strings.ContainsAny(v, "\r\n") {
			return fmt.Errorf("%s.headers: %q is not a header", field, name)
		}
	}
	return nil
}

func (r *Response) check(field string) error {
	for _, p := range []struct{ name, path string }{
		{"access_token", r.AccessToken}, {"refresh_token", r.RefreshToken}, {"token_type", r.TokenType}, {"scope", r.Scope},
		{"id_token", r.IDToken}, {"error", r.Error}, {"error_description", r.ErrorText},
	} {
		if err := CheckPath(p.path); err != nil {
			return fmt.Errorf("%s.%s: %w", field, p.name, err)
		}
	}
	return firstErr(r.Expires.check(field+".expires"), r.RefreshExp.check(field+".refresh_expires"))
}

func (e *Expiry) check(field string) error {
	for _, p := range []struct{ name, path string }{{"path", e.Path}, {"from", e.From}} {
		if err := CheckPath(p.path); err != nil {
			return fmt.Errorf("%s.%s: %w", field, p.name, err)
		}
	}
	if err := firstErr(
		oneOf(field+".unit", e.Unit, ExpiryUnits),
		oneOf(field+".form", e.Form, ExpiryForms),
		oneOf(field+".zero", e.Zero, []string{"never"}),
	); err != nil {
		return err
	}
	if e.Unit != "" && e.Form != "" {
		return fmt.Errorf("%s: a plain number has a unit, anything else a form: give one of them", field)
	}
	if e.Zone != "" {
		if e.Form != "date" && e.Form != "datetime" {
			return fmt.Errorf("%s.zone: is for the forms date and datetime", field)
		}
		if _, err := e.Location(); err != nil {
			return fmt.Errorf("%s.zone: %w", field, err)
		}
	}
	return nil
}

// Location is the zone in which dates without one are read.
func (e *Expiry) Location() (*time.Location, error) {
	if e.Zone == "" {
		return time.UTC, nil
	}
	if t, err := time.Parse("-07:00", e.Zone); err == nil {
		return t.Location(), nil
	}
	loc, err := time.LoadLocation(e.Zone)
	if err != nil || e.Zone == "Local" {
		return nil, fmt.Errorf("%q is not a zone: write Europe/Oslo or +01:00", e.Zone)
	}
	return loc, nil
}

func (r *Rejection) check(field string) error {
	for i, s := range r.Status {
		if s < 100 || s > 599 {
			return fmt.Errorf("%s.status[%d]: %d is not an HTTP status", field, i, s)
		}
	}
	if len(r.Status) > 0 && r.Body == "" && slices.ContainsFunc(r.Status, func(s int) bool { return s < 300 }) {
		return fmt.Errorf("%s.body: a status of success needs a predicate, or every answer would be a rejection", field)
	}
	return nil
}

func (a *API) check(field string) error {
	if err := checkURL(a.BaseURL); err != nil {
		return fmt.Errorf("%s.base_url: %w", field, err)
	}
	for i, in := range a.Inject {
		n := 0
		for _, s := range []string{in.Header, in.Query, in.Cookie, in.Basic} {
			if s != "" {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%s.inject[%d]: needs one of header, query, cookie and basic", field, i)
		}
		if in.Header != "" && !isToken(in.Header) {
			return fmt.Errorf("%s.inject[%d].header: %q is not the name of a header", field, i, in.Header)
		}
	}
	if a.Verify != nil && !strings.HasPrefix(a.Verify.Path, "/") {
		return fmt.Errorf("%s.verify.path: begins with /", field)
	}
	if a.Rejected != nil {
		return a.Rejected.check(field + ".rejected")
	}
	return nil
}

// CheckPath reports what is wrong with a path into an answer, in the forms that
// Response documents.
func CheckPath(path string) error {
	prefix, rest, found := strings.Cut(path, ":")
	if !found {
		if path != strings.TrimSpace(path) || strings.Contains(path, "..") || strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") {
			return fmt.Errorf("%q is not a path: write data.token or tokens[0].value", path)
		}
		return nil
	}
	switch prefix {
	case "header", "cookie":
		if !isToken(rest) {
			return fmt.Errorf("%q names no %s", path, prefix)
		}
	case "body":
		if rest != "" {
			return fmt.Errorf("%q: body: stands for the whole body, nothing follows it", path)
		}
	case "match":
		re, err := regexp.Compile(rest)
		if err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
		if re.NumSubexp() < 1 {
			return fmt.Errorf("%q: put the part that is wanted in parentheses", path)
		}
	}
	return nil
}

var blank = regexp.MustCompile(`\{\{[^{}]*\}\}`)

// checkURL reads u with every blank filled.
func checkURL(u string) error {
	if u == "" {
		return nil
	}
	filled := blank.ReplaceAllString(u, "x")
	v, err := url.Parse(filled)
	if err != nil || strings.ContainsAny(filled, "{} ") {
		return fmt.Errorf("%q is not a URL", u)
	}
	if strings.HasPrefix(u, "{{") {
		return nil // the variable holds the scheme
	}
	if v.Scheme != "https" && v.Scheme != "http" || v.Host == "" {
		return fmt.Errorf("%q is not an absolute https URL", u)
	}
	if v.Fragment != "" || v.User != nil {
		return fmt.Errorf("%q: a URL has no fragment and no password here", u)
	}
	return nil
}

func oneOf(field, v string, known []string) error {
	if v == "" || slices.Contains(known, v) {
		return nil
	}
	return fmt.Errorf("%s: %q is not known: use %s", field, v, strings.Join(known, ", "))
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = string(v)
	}
	return out
}

// firstErr returns the first error.
func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for _, c := range s {
		if c > 'z' && c != '|' && c != '~' || c < '!' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) {
			return false
		}
	}
	return s != ""
}
