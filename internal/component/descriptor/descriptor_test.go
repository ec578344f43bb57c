package descriptor

import (
	"reflect"
	"strings"
	"testing"
)

const whole = `{
  "title": "Contacts", "description": "d",
  "envVars": {"APP_ID": {"required": true, "description": "the id"}, "APP_SECRET": {"required": true}, "DEBUG": {}},
  "credentials": {
    "fields": {
      "env": {"label": "Environment", "viewClass": "SelectView", "required": true},
      "myOauth": {"label": "Authorize", "viewClass": "OAuthFieldView", "required": true}
    },
    "verifyCredentials": "./verify.js",
    "oauth2": {"client_id": "{{APP_ID}}", "client_secret": "{{ APP_SECRET }}", "auth_uri": "https://{{env}}.example/auth?a=b", "token_uri": "https://{{env}}.example/token",
      "client_auth": "basic", "scopes": ["contacts read", "offline_access"], "access_type": "offline", "prompt": "consent"}
  },
  "triggers": {"contacts": {"main": "./lib/triggers/contacts.js", "title": "Get"}},
  "actions": {"b": {"main": "b.js"}, "a": {"main": "a.js"}}
}`

func TestParse(t *testing.T) {
	d, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := &OAuth2{ClientID: "{{APP_ID}}", ClientSecret: "{{ APP_SECRET }}", AuthURI: "https://{{env}}.example/auth?a=b", TokenURI: "https://{{env}}.example/token",
		ClientAuth: "basic", Scopes: []string{"contacts", "read", "offline_access"}, Extra: map[string]string{"access_type": "offline", "prompt": "consent"}}
	if !reflect.DeepEqual(d.OAuth, want) {
		t.Errorf("%+v", d.OAuth)
	}
	if d.Token() != "myOauth" || len(d.Others()) != 1 || d.Others()[0].Name != "env" || d.Verify != "./verify.js" || d.Actions[0].Name != "a" || d.Triggers[0].Main != "./lib/triggers/contacts.js" {
		t.Errorf("%+v", d)
	}
	if v, ok := d.Declares("APP_ID"); !ok || !v.Required || v.Description != "the id" {
		t.Errorf("%+v", v)
	}
	if got := Names(want.ClientSecret, want.AuthURI, want.TokenURI); !reflect.DeepEqual(got, []string{"APP_SECRET", "env"}) {
		t.Errorf("%v", got)
	}
	if got := Fill("a{{ b }}{{c}}", func(n string) (string, bool) { return "[" + n + "]", n == "b" }); got != "a[b]{{c}}" {
		t.Error(got)
	}
}

func TestProblems(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\"title\": }": "line 2: this is no JSON",
		"[]":              "this is no descriptor",
		`{"title": 5}`:    "title is number, which it cannot be",
		`{"credentials":{"oauth2":{"client_id":"a","client_secret":"b","auth_uri":"c"}}}`:                              "credentials.oauth2.token_uri is missing",
		`{"credentials":{"oauth2":{"client_id":"a","client_secret":"b","auth_uri":"c","token_uri":"d","scopes":[1]}}}`: "credentials.oauth2.scopes[0] is no text",
		`{"credentials":{"oauth2":{"client_id":"a","client_secret":"b","auth_uri":"c","token_uri":"d","x":{}}}}`:       "credentials.oauth2.x is an object",
		`{"credentials":{"fields":{"a":5}}}`: "credentials.fields.a is not what a field is",
		strings.Repeat(" ", MaxFile+1):       "a descriptor has at most 1024 KiB",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
	}
	if d, err := Parse([]byte(`{"title":"x","credentials":{"oauth1":{}}}`)); err != nil || d.OAuth != nil || !d.OAuth1 || d.Token() != "oauth" {
		t.Errorf("%+v %v", d, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"credentials":{"fields":{"a":{}},"oauth2":{"scope":"a b"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err == nil {
			d.Token()
			d.Others()
		}
	})
}
