package resource_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
)

// texts are what people and machines put into fields, the odd ones among them.
func texts() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"plain", "two words", " lead", "trail ", "${X}", "$${X}", "$$$${", "$", "true", "no", "~", "null", "0123", "1e3", "2024-01-01", "=", "<<",
			"- a", "a: b", "#x", "a #x", "'", `"`, `\`, "*a", "&a", "!t", "%x", "@x", "`x", "{a}", "[a]", "[secret]x", "| x", "> x", "?", ":", "é ü", "日本", "😀",
			"line\nline", "line\n", "\nline", "a\n\nb\n\n", "a\r\nb", "\ttab", "a\tb", "\u0085", "\u2028", "\ufeff", "\x7f", "  two\n three\n",
			"-----BEGIN KEY-----\nabc\n-----END KEY-----\n",
		}),
		rapid.StringOfN(rapid.RuneFrom([]rune("ab ${}:\n\t\"'#-[]!&*|>%@`\\,?é\u00a0\u2029")), 1, 12, -1),
	)
}

func names() *rapid.Generator[string] { return rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,6}`) }

// maybe sets a field now and then.
func maybe(rt *rapid.T, m map[string]any, field string, value func() any) {
	if rapid.Bool().Draw(rt, field+"?") {
		m[field] = value()
	}
}

func generated(rt *rapid.T) map[string]any {
	text := func(label string) string { return texts().Draw(rt, label) }
	// A variable and a header may hold no control character.
	line := func(label string) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return '.'
			}
			return r
		}, strings.ReplaceAll(text(label), "{{", "."))
	}
	values := func(label string) any {
		return rapid.MapOfN(rapid.StringMatching(`[a-z_]{1,8}`), rapid.Map(texts(), func(s string) string { return strings.ReplaceAll(s, "{{", "") }), 0, 3).Draw(rt, label)
	}
	duration := func(label string) any {
		return rapid.SampledFrom([]string{"1s", "60s", "90m", "24h", "7d", "1h0m5s", "1500ms"}).Draw(rt, label)
	}
	providers, clients, connections := map[string]any{}, map[string]any{}, map[string]any{}
	var providerNames, clientNames []string
	for _, name := range rapid.SliceOfNDistinct(names(), 1, 3, rapid.ID).Draw(rt, "providers") {
		p := map[string]any{"token_url": "https://auth.example/" + fmt.Sprint(len(providers)), "authorization_url": "https://auth.example/a"}
		maybe(rt, p, "title", func() any { return text("title") })
		maybe(rt, p, "notes", func() any { return rapid.SliceOfN(texts(), 0, 10).Draw(rt, "notes") })
		maybe(rt, p, "scope_separator", func() any { return rapid.SampledFrom([]string{"", " ", ","}).Draw(rt, "sep") })
		maybe(rt, p, "send_scope_on_refresh", func() any { return rapid.Bool().Draw(rt, "send") })
		maybe(rt, p, "authorize_params", func() any { return values("params") })
		maybe(rt, p, "rotation", func() any { return map[string]any{"kind": "always", "grace": duration("grace")} })
		maybe(rt, p, "quota", func() any { return map[string]any{"concurrency": rapid.IntRange(0, 99).Draw(rt, "n")} })
		maybe(rt, p, "variables", func() any { return map[string]any{"tenant": map[string]any{"doc": text("doc"), "default": "x"}} })
		providers[name], providerNames = p, append(providerNames, name)
	}
	for _, name := range rapid.SliceOfNDistinct(names(), 0, 3, rapid.ID).Draw(rt, "clients") {
		c := map[string]any{"provider": rapid.SampledFrom(providerNames).Draw(rt, "of"), "id": text("id"), "secret": text("secret")}
		maybe(rt, c, "previous_secrets", func() any { return rapid.SliceOfN(texts(), 0, 3).Draw(rt, "previous") })
		maybe(rt, c, "key", func() any { return text("key") })
		maybe(rt, c, "dpop", func() any { return rapid.Bool().Draw(rt, "dpop") })
		maybe(rt, c, "variables", func() any { return map[string]any{"tenant": line("tenant")} })
		clients[name], clientNames = c, append(clientNames, name)
	}
	for _, name := range rapid.SliceOfNDistinct(names(), 0, 4, rapid.ID).Draw(rt, "connections") {
		c := map[string]any{"grant": "refresh_token"}
		if len(clientNames) > 0 && rapid.Bool().Draw(rt, "by client") {
			c["client"] = rapid.SampledFrom(clientNames).Draw(rt, "client")
		} else {
			c["provider"], c["id"] = rapid.SampledFrom(providerNames).Draw(rt, "provider"), text("id")
			maybe(rt, c, "secret", func() any { return text("secret") })
		}
		maybe(rt, c, "description", func() any { return text("description") })
		maybe(rt, c, "credentials", func() any { return rapid.MapOfN(texts(), texts(), 0, 3).Draw(rt, "credentials") })
		maybe(rt, c, "refresh", func() any { return map[string]any{"when": []any{"on_401"}, "margin": duration("margin")} })
		maybe(rt, c, "api", func() any {
			return map[string]any{"base_url": "https://api.example/v1", "inject": []any{map[string]any{"header": "X", "template": line("template")}}, "headers": map[string]any{"X-Y": line("header")}}
		})
		connections[name] = c
	}
	return map[string]any{"providers": providers, "clients": clients, "connections": connections}
}

// escaped doubles the dollar of ${, as a file must.
func escaped(v any) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, "${", "$${")
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = escaped(e)
		}
		return out
	case map[string]string:
		out := map[string]any{}
		for k, e := range v {
			out[k] = escaped(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = escaped(e)
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = escaped(e)
		}
		return out
	}
	return v
}

// Whatever was applied, its export changes nothing where it came from, and
// with its secrets it makes the same again elsewhere.
func TestExportAppliesAgain(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		resources := generated(rt)
		body, err := json.Marshal(escaped(resources))
		if err != nil {
			rt.Fatal(err)
		}
		reg := b.Registry()
		files := []resource.File{{Name: "generated.json", Content: string(body)}}
		set, err := reg.Decode(files, env{})
		if err != nil {
			rt.Fatalf("decode %s: %v", body, err)
		}
		// Each round has a store of its own in all but the file: names of the
		// last round that are not in this one go first.
		clearBook(t, b)
		round++
		if _, err := b.Apply(t.Context(), set, false); err != nil {
			rt.Fatalf("apply %s: %v", body, err)
		}
		for _, reveal := range []bool{false, true} {
			var out bytes.Buffer
			if err := b.Export(t.Context(), &out, resource.Key{}, reveal); err != nil {
				rt.Fatal(err)
			}
			again, err := reg.Decode([]resource.File{{Name: "export.yaml", Content: out.String()}}, env{})
			if err != nil {
				rt.Fatalf("decode the export: %v\n%s", err, out.String())
			}
			r, err := b.Apply(t.Context(), again, false)
			if err != nil {
				rt.Fatalf("apply the export: %v\n%s", err, out.String())
			}
			if len(r.Effects) != len(set.Items) {
				rt.Fatalf("%d resources were exported, %d applied", len(r.Effects), len(set.Items))
			}
			for _, e := range r.Effects {
				if e.Action != resource.Unchanged {
					rt.Fatalf("%s is %s by its export (reveal %v):\n%s\nof\n%s", e.Key, e.Action, reveal, out.String(), body)
				}
			}
		}
	})
}

func clearBook(t *testing.T, b *resource.Book) {
	t.Helper()
	for _, kind := range []string{"connections", "clients", "providers"} {
		for name, err := range b.Names(t.Context(), kind) {
			if err == nil {
				err = b.Delete(t.Context(), resource.Key{Kind: kind, Name: name})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestExport(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, `
network: {allow: ["127.0.0.0/8"]}
providers: {acme: {token_url: https://auth.acme.example/token, rotation: {kind: always, grace: 60s}}}
clients:
  acme: {provider: acme, id: 0123, secret: "a${B}", key: "-----BEGIN-----\nx\n-----END-----\n"}
connections:
  crm: {client: acme, grant: refresh_token, scopes: [read, write], refresh: {when: on_401}}
  erp: {client: acme, grant: refresh_token, api: {base_url: https://api.acme.example, inject: {header: X-Key, template: "{{access_token}}"}}}
`, env{"B": "bc"})
	const marked = `network:
  allow: [127.0.0.0/8]
providers:
  acme:
    token_url: https://auth.acme.example/token
    rotation:
      kind: always
      grace: 1m
clients:
  acme:
    provider: acme
    id: "0123"
    secret: '[secret]'
    key: '[secret]'
connections:
  crm:
    client: acme
    grant: refresh_token
    scopes: [read, write]
    refresh:
      when: [on_401]
  erp:
    client: acme
    grant: refresh_token
    api:
      base_url: https://api.acme.example
      inject:
        - header: X-Key
          template: '{{access_token}}'
`
	var out strings.Builder
	if err := b.Export(t.Context(), &out, resource.Key{}, false); err != nil {
		t.Fatal(err)
	}
	if out.String() != marked {
		t.Errorf("export:\n%s\nwant:\n%s", out.String(), marked)
	}
	for _, tt := range []struct {
		key    resource.Key
		reveal bool
		want   string
	}{
		{resource.Key{Kind: "clients", Name: "acme"}, true, "clients:\n  acme:\n    provider: acme\n    id: \"0123\"\n    secret: abc\n    key: |\n      -----BEGIN-----\n      x\n      -----END-----\n"},
		{resource.Key{Kind: "network"}, false, "network:\n  allow: [127.0.0.0/8]\n"},
		{resource.Key{Kind: "network", Name: "network"}, false, "network:\n  allow: [127.0.0.0/8]\n"},
		{resource.Key{Kind: "webhooks"}, false, ""},
		{resource.Key{Kind: "connections", Name: "crm"}, false, "connections:\n  crm:\n    client: acme\n    grant: refresh_token\n    scopes: [read, write]\n    refresh:\n      when: [on_401]\n"},
	} {
		out.Reset()
		if err := b.Export(t.Context(), &out, tt.key, tt.reveal); err != nil {
			t.Errorf("%s: %v", tt.key, err)
		}
		if out.String() != tt.want {
			t.Errorf("export %s:\n%s\nwant:\n%s", tt.key, out.String(), tt.want)
		}
	}
	for _, tt := range []struct {
		key  resource.Key
		want string
	}{
		{resource.Key{Kind: "connections", Name: "cmr"}, `connections/cmr: not found; did you mean "crm"?`},
		{resource.Key{Kind: "conections"}, `conections: not found; did you mean "connections"?`},
		{resource.Key{Kind: "network", Name: "x"}, `network/x: not found; did you mean "network"?`},
	} {
		if err := b.Export(t.Context(), &out, tt.key, false); !errors.Is(err, freshet.ErrNotFound) || err.Error() != tt.want {
			t.Errorf("export %s = %v, want %s", tt.key, err, tt.want)
		}
	}
}
