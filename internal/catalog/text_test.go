package catalog

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/predicate"
	"github.com/freshet-dev/freshet/internal/template"
)

// known are the names that templates may use without declaring them, beside
// credentials: those that freshet.TokenRequest and freshet.Injection document.
var known = regexp.MustCompile(`^(client_id|client_secret|scope|code|code_verifier|redirect_uri|device_code|refresh_token|access_token|assertion|token|uuid|nonce|` +
	`now\.(s|ms|rfc3339|date)|in\.\d+[hdm]\.(s|ms|rfc3339|date)|answer\..+|session\..+)$`)

// credentialsOf are the credentials that entries ask for. Notes say so, or the
// names speak.
var credentialsOf = []string{"username", "password", "api_key", "user_jwt", "access_key", "hash", "consumer_token", "employee_token", "token_name", "token_secret", "saml_assertion"}

var operand = regexp.MustCompile(`"[^"]*"|[^\s|{}]+`)

// TestTextsCompile compiles every template and condition of every file, and
// holds the names in them against what is declared: a misspelt variable would
// show at the first token request only.
func TestTextsCompile(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			used := map[string]bool{}
			eachText(reflect.ValueOf(p), "", func(field, text string) {
				if strings.HasPrefix(field, ".notes") || strings.HasPrefix(field, ".variables") || !strings.Contains(text, "{{") {
					return
				}
				if _, err := template.Compile(field, text); err != nil {
					t.Errorf("%v", err)
				}
				for _, place := range regexp.MustCompile(`\{\{(.*?)\}\}`).FindAllStringSubmatch(text, -1) {
					values, _, _ := strings.Cut(place[1], "|")
					for _, name := range operand.FindAllString(values, -1) {
						_, declared := p.Variables[name]
						used[name] = true
						if !declared && name[0] != '"' && !known.MatchString(name) && !slices.Contains(credentialsOf, name) {
							t.Errorf("%s names %s, which is declared nowhere", field, name)
						}
					}
				}
			})
			for name, v := range p.Variables {
				if !used[name] {
					t.Errorf("the variable %s is used nowhere", name)
				}
				if v.Doc == "" {
					t.Errorf("the variable %s has no doc", name)
				}
			}
			for field, condition := range map[string]string{"response.success": p.Response.Success, "rejected.body": p.Rejected.Body} {
				if condition == "" {
					continue
				}
				if _, err := predicate.Compile(condition); err != nil {
					t.Errorf("%s: %v", field, err)
				}
			}
		})
	}
}

// eachText visits the strings below v.
func eachText(v reflect.Value, path string, visit func(path, text string)) {
	switch v.Kind() {
	case reflect.String:
		visit(path, v.String())
	case reflect.Pointer:
		if !v.IsNil() {
			eachText(v.Elem(), path, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachText(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case reflect.Map:
		for k, e := range v.Seq2() {
			eachText(e, path+"."+k.String(), visit)
		}
	case reflect.Struct:
		for f, e := range v.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			eachText(e, path+"."+name, visit)
		}
	}
}

// TestRejections holds the conditions of API answers against answers: the one
// that means an expired token, and a good one.
func TestRejections(t *testing.T) {
	answers := map[string][2]map[string]any{
		"veeva-vault":     {{"responseStatus": "FAILURE", "errors": []any{map[string]any{"type": "INVALID_SESSION_ID", "message": "x"}}}, {"responseStatus": "FAILURE", "errors": []any{map[string]any{"type": "INVALID_DATA"}}}},
		"wechat-official": {{"errcode": 42001.0, "errmsg": "access_token expired"}, {"errcode": 45009.0}},
		"wecom":           {{"errcode": 42001.0}, {"errcode": 0.0, "errmsg": "ok"}},
		"baidu":           {{"error_code": 111.0, "error_msg": "Access token expired"}, {"list": []any{}}},
	}
	for _, p := range All() {
		if p.Rejected.Body == "" {
			continue
		}
		a, ok := answers[p.Name]
		if !ok {
			t.Errorf("%s: no answer is there to hold its condition against", p.Name)
			continue
		}
		c, err := predicate.Compile(p.Rejected.Body)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []bool{true, false} {
			if got, err := c.Match(a[i]); got != want || err != nil {
				t.Errorf("%s: %s over %v = %v, %v, want %v", p.Name, p.Rejected.Body, a[i], got, err, want)
			}
		}
	}
}

// TestGraces holds the graces that a lost answer may be retried in, and what
// reuse does, against the documents that the refresh protocol rests upon.
func TestGraces(t *testing.T) {
	for name, want := range map[string]freshet.Provider{
		"okta":           {Rotation: freshet.Rotation{Kind: "sometimes", Grace: secs(30), Reuse: "revokes"}},
		"auth0":          {Rotation: freshet.Rotation{Kind: "sometimes", Reuse: "revokes"}},
		"amazon-cognito": {Rotation: freshet.Rotation{Kind: "sometimes"}},
		"xero":           {Rotation: freshet.Rotation{Kind: "always", Grace: secs(30 * 60)}, IdleLifetime: days(60)},
		"atlassian":      {Rotation: freshet.Rotation{Kind: "always", Grace: secs(10 * 60), Reuse: "refused"}, IdleLifetime: days(90), RefreshLifetime: days(365)},
		"ringcentral":    {Rotation: freshet.Rotation{Kind: "always", Reuse: "replayed"}, IdleLifetime: days(7)},
		"withings":       {Rotation: freshet.Rotation{Kind: "always", Grace: secs(8 * 3600), Reuse: "accepted"}, IdleLifetime: days(365), RefreshLifetime: days(365)},
		"fitbit":         {Rotation: freshet.Rotation{Kind: "always", Reuse: "replayed"}},
		"microsoft":      {Rotation: freshet.Rotation{Kind: "always", Reuse: "accepted"}, IdleLifetime: days(90)},
		"google":         {Rotation: freshet.Rotation{Kind: "omitted"}, IdleLifetime: days(180)},
		"quickbooks":     {Rotation: freshet.Rotation{Kind: "sometimes", Reuse: "accepted"}, IdleLifetime: days(100)},
		"box":            {Rotation: freshet.Rotation{Kind: "always", Reuse: "refused"}, IdleLifetime: days(60), RefreshLifetime: days(60)},
		"exact-online":   {Rotation: freshet.Rotation{Kind: "always", Reuse: "accepted"}, IdleLifetime: days(30), EarlyRefresh: secs(30)},
		"zoho":           {Rotation: freshet.Rotation{Kind: "omitted"}, Quota: freshet.Quota{Requests: 10, Window: secs(600), LiveTokens: 15}},
		"airtable":       {Rotation: freshet.Rotation{Kind: "always", Reuse: "revokes"}, IdleLifetime: days(60)},
		"salesforce":     {Rotation: freshet.Rotation{Kind: "sometimes", Reuse: "revokes"}},
	} {
		p, ok := Provider(name)
		if !ok {
			t.Errorf("%s is not in the catalogue", name)
			continue
		}
		got := freshet.Provider{Rotation: p.Rotation, IdleLifetime: p.IdleLifetime, RefreshLifetime: p.RefreshLifetime, EarlyRefresh: p.EarlyRefresh, Quota: p.Quota}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func secs(n int64) freshet.Duration { return freshet.Duration(n * 1e9) }
func days(n int64) freshet.Duration { return secs(n * 86400) }
