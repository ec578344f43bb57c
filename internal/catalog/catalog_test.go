package catalog

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Each file decodes, and nothing in it is lost on the way: what the decoder
// silently dropped would be a fact that nobody acts upon.
func TestFilesDecodeWhole(t *testing.T) {
	for _, name := range Names() {
		src, _ := Source(name)
		p, err := Decode(src)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Title == "" {
			t.Errorf("%s: has no title", name)
		}
		var want map[string]any
		if err := yaml.Unmarshal(src, &want); err != nil {
			t.Fatal(err)
		}
		j, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(j, &got); err != nil {
			t.Fatal(err)
		}
		missing(t, name, want, got)
	}
}

// missing reports what want has and got has not, or has in another way.
func missing(t *testing.T, path string, want, got any) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		if list, ok := got.([]any); ok && len(list) == 1 { // inject: one, or a list
			got = list[0]
		}
		g, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is gone", path)
			return
		}
		for k, v := range w {
			if g[k] == nil {
				// A word that says what the zero value says anyway.
				t.Errorf("%s.%s is lost or says nothing", path, k)
				continue
			}
			missing(t, path+"."+k, v, g[k])
		}
	case []any:
		g, _ := got.([]any)
		if len(g) != len(w) {
			t.Errorf("%s has %d elements, want %d", path, len(g), len(w))
			return
		}
		for i := range w {
			missing(t, path, w[i], g[i])
		}
	case int:
		if g, ok := got.(float64); !ok || int(g) != w {
			t.Errorf("%s = %v, want %v", path, got, w)
		}
	default:
		if want != got {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
}

func TestProvider(t *testing.T) {
	p, ok := Provider("xero")
	if !ok || p.Name != "xero" || p.Title != "Xero" || p.TokenURL != "https://identity.xero.com/connect/token" {
		t.Errorf("Provider(xero) = %+v, %v", p, ok)
	}
	for _, name := range []string{"", "Xero", "nobody", "../catalog", "providers/xero", "xero.yaml"} {
		if p, ok := Provider(name); ok {
			t.Errorf("Provider(%q) = %v, want none", name, p.Name)
		}
	}
	if names := Names(); !slices.IsSorted(names) || len(names) != len(All()) || len(names) < 122 {
		t.Errorf("Names gives %d names, sorted %v; All gives %d", len(names), slices.IsSorted(names), len(All()))
	}
	for i, p := range All() {
		if p.Name != Names()[i] {
			t.Errorf("All()[%d] = %s, want %s", i, p.Name, Names()[i])
		}
	}
}

func TestSuggest(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"Xero", "xero"},
		{"xreo", "xero"},
		{"xero-accounting", "xero"},
		{"git_hub", "github-app"},
		{"quickboks", "quickbooks"},
		{"SalesForce", "salesforce"},
		{"concur", "sap-concur"},
		{"tiktok", "tiktok-accounts"},
	} {
		got := Suggest(c.name)
		if len(got) == 0 || got[0] != c.want {
			t.Errorf("Suggest(%q) = %v, want %s first", c.name, got, c.want)
		}
		if len(got) > 5 {
			t.Errorf("Suggest(%q) = %v: too many", c.name, got)
		}
	}
	for _, name := range []string{"", "--", "zzzzzzzzzz", strings.Repeat("q", 100)} {
		if got := Suggest(name); len(got) != 0 {
			t.Errorf("Suggest(%q) = %v, want none", name, got)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"token_uri: https://x.example/token", "token_uri"},
		{"token_url: [1]", "token_url"},
		{"token_url: x.example/token", "token_url"},
		{"grants: [magic]", "grants[0]"},
		{"a: : b", "yaml"},
		{"early_refresh: soon", "duration"},
	} {
		if _, err := Decode([]byte(c.src)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Decode(%q) = %v, want an error that speaks of %s", c.src, err, c.want)
		}
	}
}

// What nobody asks for is not decoded, and what somebody asks for is decoded
// once.
func TestDecodesOnDemand(t *testing.T) {
	before, _ := Provider("heroku")
	again, _ := Provider("heroku")
	if &before.Grants[0] != &again.Grants[0] {
		t.Error("a provider that was asked for twice is decoded twice")
	}
	if n := testing.AllocsPerRun(100, func() { Provider("heroku") }); n > 0 {
		t.Errorf("asking again costs %v allocations", n)
	}
	kept := func() (n int) {
		decoded.Range(func(_, _ any) bool { n++; return true })
		return n
	}
	n := kept()
	if All(); kept() != n {
		t.Error("a list of all providers keeps them in memory")
	}
}

func BenchmarkProviderFirst(b *testing.B) {
	for b.Loop() {
		if _, ok := read("slack"); !ok {
			b.Fatal("no slack")
		}
	}
}

func BenchmarkAll(b *testing.B) {
	for b.Loop() {
		if len(All()) == 0 {
			b.Fatal("none")
		}
	}
}
