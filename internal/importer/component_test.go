package importer_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/importer"
)

const outlook = `{
  "title": "Outlook", "envVars": {"APP_ID": {"required": true}, "APP_SECRET": {"required": true}},
  "credentials": {
    "fields": {"prodEnv": {"label": "Environment", "viewClass": "SelectView"}, "oauth": {"viewClass": "OAuthFieldView"}},
    "oauth2": {"client_id": "{{APP_ID}}", "client_secret": "{{APP_SECRET}}", "auth_uri": "https://{{prodEnv}}.example/auth?response_mode=query&x=a%20b", "token_uri": "https://{{prodEnv}}.example/token?v=2",
      "client_auth": "basic", "scopes": ["a", "b"], "prompt": "consent"}
  },
  "triggers": {"contacts": {"main": "./lib/contacts.js"}}
}`

func TestConvertComponent(t *testing.T) {
	if !importer.Component([]byte(outlook)) || importer.Component([]byte(`{"activities":[]}`)) {
		t.Error("what is a descriptor?")
	}
	if got := importer.ComponentNames([]byte(outlook)); !slices.Equal(got, []string{"APP_ID", "APP_SECRET", "prodEnv"}) {
		t.Error(got)
	}
	values := map[string]string{"APP_ID": "id", "APP_SECRET": "s{{e}}cret", "prodEnv": "login"}
	c, err := importer.ConvertComponent("outlook", []byte(outlook), func(n string) (string, bool) { v, ok := values[n]; return v, ok })
	if err != nil || len(c.Missing) != 0 || c.Triggers != 1 || !c.OAuth {
		t.Fatalf("%+v %v", c, err)
	}
	got := map[string]map[string]any{}
	for kind, b := range c.Resources {
		var v map[string]any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		got[kind] = v
	}
	for path, want := range map[string]any{
		"providers": map[string]any{"authorization_url": "https://{{prodEnv}}.example/auth", "token_url": "https://{{prodEnv}}.example/token?v=2", "client_auth": "basic",
			"authorize_params": map[string]any{"response_mode": "query", "x": "a b", "prompt": "consent"}, "variables": map[string]any{"prodEnv": map[string]any{"doc": "Environment"}}},
		"clients":     map[string]any{"provider": "outlook", "id": "id", "secret": "s{{e}}cret"},
		"connections": map[string]any{"client": "outlook", "grant": "authorization_code", "scopes": []any{"a", "b"}, "variables": map[string]any{"prodEnv": "login"}},
		"components":  map[string]any{"connection": "outlook", "descriptor": outlook},
	} {
		if !reflect.DeepEqual(any(got[path]), want) {
			t.Errorf("%s: %v", path, got[path])
		}
	}
	c, err = importer.ConvertComponent("outlook", []byte(outlook), func(string) (string, bool) { return "", false })
	if err != nil || len(c.Missing) != 3 {
		t.Fatalf("%+v %v", c.Missing, err)
	}
	for _, m := range c.Missing {
		if m.Field != (m.Name == "prodEnv") || m.Where == "" {
			t.Errorf("%+v", m)
		}
	}
	if _, err := importer.ConvertComponent("x", []byte(strings.Replace(outlook, `"token_uri"`, `"tokenuri"`, 1)), nil); err == nil || !strings.Contains(err.Error(), "token_uri is missing") {
		t.Error(err)
	}
	c, err = importer.ConvertComponent("x", []byte(`{"title":"a","credentials":{"oauth1":{}},"actions":{}}`), nil)
	if err != nil || c.OAuth || c.Findings[0].Code != "oauth1" {
		t.Errorf("%+v %v", c, err)
	}
}
