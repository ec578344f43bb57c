package catalog

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

// A fact is one entry of testdata/provider-facts.json, what is known of a real
// provider. The catalogue says the same in the provider format.
type fact struct {
	ID              string         `json:"id"`
	Name            string         `json:"name"`
	Grants          []string       `json:"grants"`
	AuthorizationU  *string        `json:"authorization_url"`
	TokenURL        string         `json:"token_url"`
	RefreshURL      *string        `json:"refresh_url"`
	RevokeURL       *string        `json:"revoke_url"`
	Method          string         `json:"token_method"`
	ClientAuth      string         `json:"client_auth"`
	BodyFormat      string         `json:"body_format"`
	ScopeSeparator  *string        `json:"scope_separator"`
	PKCE            string         `json:"pkce"`
	AuthorizeParams map[string]any `json:"extra_authorize_params"`
	TokenParams     map[string]any `json:"extra_token_params"`
	RefreshParams   map[string]any `json:"extra_refresh_params"`
	ParameterNames  map[string]any `json:"parameter_names"`
	SecondStep      *string        `json:"second_step"`
	Lifetime        any            `json:"access_token_lifetime_s"`
	Credential      string         `json:"api_credential"`
	API200          bool           `json:"api_error_in_http_200"`
	Response        struct {
		Access  string  `json:"access_token_path"`
		Refresh *string `json:"refresh_token_path"`
		Expiry  *string `json:"expiry_path"`
		Kind    string  `json:"expiry_kind"`
	} `json:"response"`
	Refresh struct {
		Rotation string  `json:"rotation"`
		Lifetime any     `json:"lifetime"`
		Grace    *string `json:"grace_for_previous"`
	} `json:"refresh_token"`
	Error struct {
		In200     bool            `json:"in_http_200"`
		Predicate *string         `json:"predicate"`
		Example   json.RawMessage `json:"example"`
	} `json:"token_error"`
	Example json.RawMessage `json:"example_response"`
}

func facts(t *testing.T) []fact {
	t.Helper()
	b, err := os.ReadFile("testdata/provider-facts.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Providers []fact }
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Providers) != 122 {
		t.Fatalf("%d facts, want 122", len(f.Providers))
	}
	return f.Providers
}

// deviations are the fields in which a provider of the catalogue says something
// else than its fact, on purpose. docs/catalogue.md shows them.
var deviations = map[string]map[string]string{
	"docuware": {
		"token_url":    "the fact names the first of three steps; the two of discovery are made once by a person, who gives the result as identity_service",
		"token_method": "of the third step",
	},
	"passportal": {"body_format": "the provider's documentation has JSON"},
	"garmin":     {"access_token_path": "the example answer has oauth_token"},
	"google":     {"rotation": "the answer to a refresh leaves the refresh token out: omitted, which is never with the difference told"},
}

func deviates(f fact, field string) bool { return deviations[f.ID][field] != "" }

var (
	doubleBrace = regexp.MustCompile(`\{\{ *(\w+) *\}\}`)
	singleBrace = regexp.MustCompile(`\{[^{}]*\}`)
)

// fill fills in the defaults of variables, and writes as the facts do, in
// single braces, what has none or is a blank in the fact too.
func fill(p freshet.Provider, text, fact string) string {
	return doubleBrace.ReplaceAllStringFunc(text, func(b string) string {
		name := doubleBrace.FindStringSubmatch(b)[1]
		blank := "{" + name + "}"
		if d := p.Variables[name].Default; d != "" && !strings.Contains(fact, blank) {
			return d
		}
		return blank
	})
}

// sameText compares a value of the facts, in which {…} stands for something
// that a template fills in, with a template.
func sameText(want, got string) bool {
	if !singleBrace.MatchString(want) {
		return want == got
	}
	re := ""
	for i, lit := range singleBrace.Split(want, -1) {
		if i > 0 {
			re += `\{\{.*\}\}`
		}
		re += regexp.QuoteMeta(lit)
	}
	return regexp.MustCompile("^" + re + "$").MatchString(got)
}

func or(v, zero string) string {
	if v == "" {
		return zero
	}
	return v
}

// TestFactsAndFilesAgree holds every machine-readable fact against the file, so
// that neither drifts from the other.
func TestFactsAndFilesAgree(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range facts(t) {
		seen[f.ID] = true
		p, ok := Provider(f.ID)
		if !ok {
			t.Errorf("%s is not in the catalogue", f.ID)
			continue
		}
		t.Run(f.ID, func(t *testing.T) {
			if p.Title != f.Name {
				t.Errorf("title %q, want %q", p.Title, f.Name)
			}
			agreeURLs(t, f, p)
			agreeRequest(t, f, p)
			agreeParams(t, f, p)
			agreeResponse(t, f, p)
			agreeRotation(t, f, p)
			agreeCredential(t, f, p)
		})
	}
	for id, fields := range deviations {
		if !seen[id] {
			t.Errorf("deviations name %s (%v), which is no fact", id, fields)
		}
	}
}

func agreeURLs(t *testing.T, f fact, p freshet.Provider) {
	want := func(field, want, got string) {
		if got := fill(p, got, want); got != want && !deviates(f, field) {
			t.Errorf("%s %q, want %q", field, got, want)
		}
	}
	if f.AuthorizationU == nil {
		want("authorization_url", "", p.AuthorizationURL)
	} else {
		want("authorization_url", *f.AuthorizationU, p.AuthorizationURL)
	}
	want("token_url", f.TokenURL, p.TokenURL)
	switch {
	case f.RevokeURL == nil:
		want("revocation_url", "", p.RevocationURL)
	case strings.HasPrefix(*f.RevokeURL, "token_url with "):
		want("revocation_url", f.TokenURL, p.RevocationURL)
		k, v, _ := strings.Cut(strings.TrimPrefix(*f.RevokeURL, "token_url with "), "=")
		if p.Revocation == nil || p.Revocation.Params[k] != v {
			t.Errorf("revocation_request does not send %s=%s", k, v)
		}
	default:
		want("revocation_url", *f.RevokeURL, p.RevocationURL)
	}
	switch {
	case f.RefreshURL == nil:
		want("refresh_url", "", p.RefreshURL)
		if p.RefreshRequest != nil && p.RefreshRequest.URL != "" {
			t.Errorf("refresh_request.url %q, want none", p.RefreshRequest.URL)
		}
	case strings.HasPrefix(*f.RefreshURL, "https:"):
		want("refresh_url", *f.RefreshURL, p.RefreshURL)
	default: // "GET https://…?a=b&c=" or "token_url with a=b&c={access_token}"
		rest := strings.TrimPrefix(*f.RefreshURL, "GET ")
		url, query, _ := strings.Cut(rest, "?")
		if url == rest {
			url, query = "", strings.TrimPrefix(rest, "token_url with ")
		}
		r := p.RefreshRequest
		if r == nil {
			t.Fatalf("refresh_request is missing, want %s", *f.RefreshURL)
		}
		want("refresh_url", url, r.URL)
		if rest != *f.RefreshURL && r.Method != "GET" {
			t.Errorf("refresh_request.method %q, want GET", r.Method)
		}
		for _, pair := range strings.Split(query, "&") {
			k, v, _ := strings.Cut(pair, "=")
			if v == "" {
				v = "{access_token}"
			}
			if !sameText(v, r.Params[k]) {
				t.Errorf("refresh_request.params.%s %q, want %q", k, r.Params[k], v)
			}
		}
	}
	if f.SecondStep == nil {
		if p.SecondStep != nil && !strings.Contains(fmt.Sprint(f.Lifetime), "after") {
			t.Errorf("a second step that the facts do not know")
		}
		return
	}
	method, rest, _ := strings.Cut(*f.SecondStep, " ")
	url, _, _ := strings.Cut(rest, "?")
	if p.SecondStep == nil {
		t.Fatalf("second_step is missing, want %s", *f.SecondStep)
	}
	want("second_step", url, p.SecondStep.Request.URL)
	if or(p.SecondStep.Request.Method, "POST") != method {
		t.Errorf("second_step method %q, want %q", p.SecondStep.Request.Method, method)
	}
}

// theirGrants says which of our grants stands for what the facts call a grant.
var theirGrants = map[string]freshet.GrantType{
	"authorization_code": freshet.GrantAuthorizationCode, "refresh_token": freshet.GrantRefreshToken,
	"client_credentials": freshet.GrantClientCredentials, "password": freshet.GrantPassword,
	"urn:ietf:params:oauth:grant-type:jwt-bearer":   freshet.GrantJWTBearer,
	"client_credential (their spelling)":            freshet.GrantClientCredentials,
	"corpid/corpsecret":                             freshet.GrantClientCredentials,
	"client_id/client_secret":                       freshet.GrantClientCredentials,
	"clientId/clientSecret login":                   freshet.GrantClientCredentials,
	"openapi_2lo":                                   freshet.GrantClientCredentials,
	"username/password":                             freshet.GrantRequest,
	"session login":                                 freshet.GrantRequest,
	"personal access token login":                   freshet.GrantRequest,
	"user JWT exchange":                             freshet.GrantRequest,
	"api key exchange":                              freshet.GrantRequest,
	"signed login":                                  freshet.GrantRequest,
	"consumer+employee token":                       freshet.GrantRequest,
	"basic login":                                   freshet.GrantRequest,
	"urn:ietf:params:oauth:grant-type:saml2-bearer": freshet.GrantRequest,
	"refresh token in query":                        freshet.GrantRefreshToken,
	"password after discovery":                      freshet.GrantPassword,
	"oauth1":                                        "", // unsupported
	"signed GET":                                    "",
}

func agreeRequest(t *testing.T, f fact, p freshet.Provider) {
	for _, g := range f.Grants {
		ours, known := theirGrants[g]
		switch {
		case !known:
			t.Errorf("grant %q: nobody has said what it is here", g)
		case ours == "":
			if p.Unsupported == "" {
				t.Errorf("grant %q cannot be had, and unsupported does not say so", g)
			}
		case !slices.Contains(p.Grants, ours):
			t.Errorf("grants %v, want %s among them", p.Grants, ours)
		}
	}
	if slices.Contains(p.Grants, freshet.GrantAuthorizationCode) != (p.AuthorizationURL != "") && p.Unsupported == "" {
		t.Errorf("authorization_code and authorization_url belong together")
	}
	if slices.Contains(p.Grants, freshet.GrantDeviceCode) != (p.DeviceAuthorizationURL != "") {
		t.Errorf("device_code and device_authorization_url belong together")
	}

	auth := []freshet.ClientAuth{freshet.ClientAuth(strings.TrimRight(strings.Fields(f.ClientAuth)[0], ",;"))}
	switch {
	case p.Grants == nil || p.Grants[0] == freshet.GrantRequest: // credentials are the template's
		auth = []freshet.ClientAuth{freshet.AuthNone}
	case f.ClientAuth == "basic or body":
		auth = []freshet.ClientAuth{freshet.AuthBasic, freshet.AuthBody}
	case f.ClientAuth == "secret key as client_secret":
		auth = []freshet.ClientAuth{freshet.AuthBody}
	case strings.HasPrefix(f.ClientAuth, "assertion "):
		auth = []freshet.ClientAuth{freshet.AuthNone}
	case f.ID == "setmore" || f.ID == "docuware": // the facts say body and name no client
		auth = []freshet.ClientAuth{freshet.AuthNone}
	}
	if !slices.Contains(auth, p.ClientAuth) {
		t.Errorf("client_auth %q, want one of %v (%s)", p.ClientAuth, auth, f.ClientAuth)
	}
	if strings.Contains(f.ClientAuth, "basic for refresh") != (p.RefreshClientAuth == freshet.AuthBasic) {
		t.Errorf("refresh_client_auth %q, though %s", p.RefreshClientAuth, f.ClientAuth)
	}
	for _, alg := range []string{"RS256", "PS256"} {
		if strings.Contains(f.ClientAuth, alg) && (p.Assertion == nil || p.Assertion.Algorithm != alg) {
			t.Errorf("assertion.algorithm is not %s", alg)
		}
	}

	if want := or(strings.TrimSpace(f.Method), "POST"); or(p.Request.Method, "POST") != want && !deviates(f, "token_method") {
		t.Errorf("request.method %q, want %s", p.Request.Method, want)
	}
	body := or(p.Request.Body, "form")
	if strings.HasPrefix(body, "{") {
		body = "json" // a template
	}
	if !slices.Contains(strings.Fields(f.BodyFormat), body) && !deviates(f, "body_format") {
		t.Errorf("request.body %q, want %s", body, f.BodyFormat)
	}
	if want := strings.Contains(f.PKCE, "unsupported"); (p.PKCE == "off") != want {
		t.Errorf("pkce %q, though %s", p.PKCE, f.PKCE)
	}
	switch {
	case f.ScopeSeparator == nil || strings.HasPrefix(*f.ScopeSeparator, " "):
		if p.ScopeSeparator != nil {
			t.Errorf("scope_separator %q, want none", *p.ScopeSeparator)
		}
	case p.ScopeSeparator == nil || *p.ScopeSeparator != *f.ScopeSeparator:
		t.Errorf("scope_separator is not %q", *f.ScopeSeparator)
	}
}

func agreeParams(t *testing.T, f fact, p freshet.Provider) {
	for k, v := range f.AuthorizeParams {
		if p.ParameterNames["redirect_uri"] == k {
			continue // the name is the fact
		}
		if got, ok := p.AuthorizeParams[k]; !ok || !sameText(fmt.Sprint(v), got) {
			t.Errorf("authorize_params.%s %q, want %v", k, got, v)
		}
	}
	for k, v := range f.TokenParams {
		if strings.Contains(p.Request.Body, fmt.Sprintf("%q:%v", k, v)) {
			continue
		}
		if got, ok := p.Request.Params[k]; !ok || !sameText(fmt.Sprint(v), got) && fill(p, got, "") != v {
			t.Errorf("request.params.%s %q, want %v", k, got, v)
		}
	}
	for k, v := range f.RefreshParams {
		if k == "scope" {
			if !p.SendScope {
				t.Errorf("send_scope_on_refresh is not set")
			}
			continue
		}
		got, ok := p.RefreshParams[k]
		if !ok {
			got, ok = p.Request.Params[k]
		}
		if !ok || !sameText(fmt.Sprint(v), got) {
			t.Errorf("a refresh sends %s=%q, want %v", k, got, v)
		}
	}
	for k, v := range f.ParameterNames {
		name := fmt.Sprint(v)
		if _, sent := p.Request.Params[name]; p.ParameterNames[k] != name && !sent {
			t.Errorf("parameter_names.%s %q, want %s", k, p.ParameterNames[k], name)
		}
	}
}

// theirExpiry says what the facts' words for a lifetime are in the format.
var theirExpiry = map[string]freshet.Expiry{
	"seconds": {}, "seconds_string": {}, "seconds (string seen)": {}, "seconds; ms on legacy endpoints": {},
	"missing": {}, "missing (classic apps)": {}, "missing (sliding)": {}, "missing (peer assumes 3600)": {},
	"missing (issued_at is an epoch-ms string)": {},
	"missing; expiry is in the JWT exp":         {Form: "jwt_exp"},
	"jwt exp":                                   {Form: "jwt_exp"},
	"zero means never":                          {Zero: "never"},
	"milliseconds":                              {Unit: "ms"},
	"minutes":                                   {Unit: "m"},
	"iso8601":                                   {Form: "rfc3339"},
	"absolute":                                  {Form: "rfc3339"},
	"epoch_s":                                   {Form: "at_s"},
	"date (no time)":                            {Form: "date"},
	"duration hh:mm:ss":                         {Form: "hms"},
}

func agreeResponse(t *testing.T, f fact, p freshet.Provider) {
	access := f.Response.Access
	if access == "(whole body)" {
		access = "body:"
	}
	if got := or(p.Response.AccessToken, "access_token"); got != access && !deviates(f, "access_token_path") {
		t.Errorf("response.access_token %q, want %q", got, access)
	}
	if f.Response.Refresh == nil {
		if p.Response.RefreshToken != "" {
			t.Errorf("response.refresh_token %q, want none", p.Response.RefreshToken)
		}
	} else if got := or(p.Response.RefreshToken, "refresh_token"); got != *f.Response.Refresh {
		t.Errorf("response.refresh_token %q, want %q", got, *f.Response.Refresh)
	}
	want, known := theirExpiry[f.Response.Kind]
	if !known {
		t.Errorf("expiry kind %q: nobody has said what it is here", f.Response.Kind)
	}
	if f.Response.Expiry != nil && *f.Response.Expiry != "expires_in" {
		want.Path = *f.Response.Expiry
	}
	if strings.Contains(fmt.Sprint(f.Lifetime), "0 means never") {
		want.Zero = "never"
	}
	got := p.Response.Expires
	got.Zone = "" // the facts have none
	if got.Path == "expires_in" {
		got.Path = "" // says that nothing else counts
	}
	if got != want {
		t.Errorf("response.expires %+v, want %+v", got, want)
	}
	if secs, ok := f.Lifetime.(float64); ok && f.Response.Expiry == nil {
		if want := time.Duration(secs) * time.Second; p.DefaultLifetime.D() != want {
			t.Errorf("default_lifetime %v, want %v", p.DefaultLifetime, want)
		}
	} else if p.DefaultLifetime != 0 {
		t.Errorf("default_lifetime %v, though the facts have %v", p.DefaultLifetime, f.Lifetime)
	}
	if f.Error.In200 && strings.Contains(*f.Error.Predicate, "!= ") && p.Response.Success == "" {
		t.Errorf("response.success is missing, though %s", *f.Error.Predicate)
	}
}

// theirRotation says what the facts' sentences about refresh tokens are in the
// format. Grace and consequences that the sentences leave open come from the
// documents that reliability rests upon, and are checked below.
var theirRotation = map[string]string{
	"never": "never", "same token": "never", "same token, its clock keeps running": "never", "not used in practice": "",
	"not returned on refresh": "omitted", "?": "",
	"always": "always", "always, single use": "always", "new one each time": "always", "rotates hourly when expiring": "always",
	"returns a new one each time; the old one is not revoked at once":                           "always",
	"always; the previous one is invalidated":                                                   "always",
	"always; the previous may be retried for about 30 min if the answer was lost":               "always",
	"always; the old one dies when the new one is first used (on most apps)":                    "always",
	"always; only one alive per user and app":                                                   "always",
	"always; the old access token dies at once":                                                 "always",
	"when expiring tokens are asked for: always":                                                "always",
	"newer integrations receive a refresh token that rotates; older ones none (sources differ)": "always",
	"value changes about every 24 h; the previous stays usable briefly":                         "sometimes",
	"policy: persistent, or rotate with a grace of 0-60 s":                                      "sometimes",
	"policy: rotate with an overlap period, reuse revokes the family":                           "sometimes",
	"policy (revoke refresh token)":                                                             "sometimes",
	"opt-in per app; single use":                                                                "sometimes",
	"only with continuous refresh":                                                              "sometimes",
	"may change":                                                                                "sometimes",
	"sometimes (always for PKCE public clients)":                                                "sometimes",
	"chosen per app": "sometimes",
	"chosen at app creation: rotating or long-lived":                                             "sometimes",
	"depends on client setting; may never change":                                                "sometimes",
	"the MCP server issues rotating refresh tokens and detects reuse":                            "sometimes",
	"was never; refresh-token rotation enforced from 2026: single use, reuse revokes the family": "sometimes",
}

// theirLifetime reads the facts' lifetimes of refresh tokens.
var theirLifetime = map[string][2]time.Duration{ // absolute, idle
	"90 days rolling (24 h for single-page apps)": {0, 90 * day},
	"about 6 months": {0, 180 * day},
	"6 months":       {180 * day, 0},
	"365 days unused, 90 days if the owner is inactive": {365 * day, 90 * day},
	"365 days from first consent, not extended":         {365 * day, 0},
	"10 years":              {3650 * day, 0},
	"60 days of inactivity": {0, 60 * day},
	"60 days":               {60 * day, 60 * day},
	"30 days":               {30 * day, 30 * day},
	"90 days":               {90 * day, 90 * day},
	"60 days unused":        {0, 60 * day},
	"x_refresh_token_expires_in, about 100 days rolling": {0, 100 * day},
	"30 to 180 days unused":                              {0, 30 * day},
	"7 days":                                             {7 * day, 7 * day},
	"1 year":                                             {365 * day, 365 * day},
	"14 days":                                            {14 * day, 14 * day},
	"100 days by default":                                {100 * day, 0},
	"refresh_expires_in, 0 for offline tokens":                                                       {0, 0},
	"none stated; 7 days while the consent screen is in testing; may carry refresh_token_expires_in": {0, 180 * day},
}

const day = 24 * time.Hour

func agreeRotation(t *testing.T, f fact, p freshet.Provider) {
	r := f.Refresh.Rotation
	want, known := theirRotation[r]
	if !known && (f.Response.Refresh == nil) {
		known = true // a sentence that says why there is none
	}
	if !known {
		t.Errorf("rotation %q: nobody has said what it is here", r)
	}
	if p.Rotation.Kind != want && !deviates(f, "rotation") {
		t.Errorf("rotation.kind %q, want %q (%s)", p.Rotation.Kind, want, r)
	}
	if strings.Contains(r, "reuse revokes") && p.Rotation.Reuse != "revokes" {
		t.Errorf("rotation.reuse %q, though %s", p.Rotation.Reuse, r)
	}
	if strings.Contains(r, "single use") && p.Rotation.Reuse != "refused" && p.Rotation.Reuse != "revokes" && p.Rotation.Reuse != "replayed" {
		t.Errorf("rotation.reuse %q, though %s", p.Rotation.Reuse, r)
	}
	if g := f.Refresh.Grace; g != nil {
		if strings.Contains(*g, "8 h") && p.Rotation.Grace.D() != 8*time.Hour || strings.Contains(*g, "replayed") && p.Rotation.Reuse != "replayed" {
			t.Errorf("rotation %+v, though %s", p.Rotation, *g)
		}
	}
	switch l := f.Refresh.Lifetime.(type) {
	case float64:
		if p.RefreshLifetime.D() != time.Duration(l)*time.Second {
			t.Errorf("refresh_lifetime %v, want %v s", p.RefreshLifetime, l)
		}
	case string:
		want, known := theirLifetime[l]
		if !known {
			t.Errorf("lifetime %q: nobody has said what it is here", l)
		}
		if want[0] != 0 && p.RefreshLifetime.D() != want[0] {
			t.Errorf("refresh_lifetime %v, want %v (%s)", p.RefreshLifetime, want[0], l)
		}
		if want[1] != 0 && p.IdleLifetime.D() != want[1] {
			t.Errorf("idle_lifetime %v, want %v (%s)", p.IdleLifetime, want[1], l)
		}
		// A token that is replaced at each use dies of idleness only, so that
		// its keep-alive needs the idle lifetime.
		if want[0] != 0 && p.Rotation.Kind == "always" && p.IdleLifetime == 0 && want[0] < 3650*day {
			t.Errorf("idle_lifetime is missing: nothing would keep the token alive")
		}
	}
}

var credentialPart = regexp.MustCompile(`^(header|query|cookie):([A-Za-z0-9_.-]+)(?:: (.*?)|=(.*?))?(?: \(.*\)| at .*|; .*|,.*| or .*)?$`)

func agreeCredential(t *testing.T, f fact, p freshet.Provider) {
	if p.Unsupported != "" {
		return
	}
	parts := strings.Split(f.Credential, " + ")
	first := parts[0]
	if a, b, ok := strings.Cut(first, " or "); ok {
		first = a
		if strings.HasPrefix(b, "header:") { // nearer to what we do anyway
			first = b
		}
	}
	m := credentialPart.FindStringSubmatch(first)
	if m == nil {
		t.Fatalf("api_credential %q is not understood", f.Credential)
	}
	var inject freshet.Injections
	if p.API != nil {
		inject = p.API.Inject
	}
	if len(inject) == 0 {
		inject = freshet.Injections{{Header: "Authorization", Template: "Bearer {{access_token}}"}}
	}
	in := inject[0]
	if in.Header == "Authorization" && in.Template == "" {
		in.Template = "Bearer {{access_token}}"
	}
	if in.Template == "" {
		in.Template = "{{access_token}}"
	}
	if in.Basic != "" {
		in = freshet.Injection{Header: "Authorization", Template: "Basic base64({" + in.Basic + "}:" + in.Template + ")"}
	}
	template := or(or(m[3], m[4]), "{token}")
	template = strings.NewReplacer("{token}", "{{access_token}}", "{session}", "{{access_token}}", "bearer ", "Bearer ").Replace(template)
	if in.Header == "Authorization" && strings.Contains(template, "base64(") {
		// The facts write base64({a}:{b}), templates {{a ":" b | base64}}.
		scheme, _, _ := strings.Cut(template, " ")
		if !strings.HasPrefix(in.Template, scheme+" ") || !strings.Contains(in.Template, "base64") {
			t.Errorf("api.inject %q, want %q", in.Template, template)
		}
	} else if in.Template != template {
		t.Errorf("api.inject %q, want %q", in.Template, template)
	}
	if name := map[string]string{"header": in.Header, "query": in.Query, "cookie": in.Cookie}[m[1]]; name != m[2] {
		t.Errorf("api.inject goes to %+v, want %s %s", in, m[1], m[2])
	}
	// What else a call needs is injected, a fixed header, or said in a note.
	for _, more := range parts[1:] {
		for _, name := range strings.Split(more, " + ") {
			name = strings.Fields(strings.TrimSuffix(name, ","))[0]
			if !mentions(p, name) {
				t.Errorf("nothing is said of %s (%s)", name, f.Credential)
			}
		}
	}
	if f.API200 && (!slices.Contains(p.Rejected.Status, 200) || p.Rejected.Body == "") {
		t.Errorf("rejected %+v, though API errors come with status 200", p.Rejected)
	}
}

func mentions(p freshet.Provider, name string) bool {
	j, _ := json.Marshal([]any{p.API, p.Notes})
	return strings.Contains(strings.ToLower(string(j)), strings.ToLower(name))
}
