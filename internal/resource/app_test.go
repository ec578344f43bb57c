package resource_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/resource"
)

// folder writes an app's folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAppFromAFolder(t *testing.T) {
	t.Setenv("APP_PASSWORD", "hunter22")
	dir := folder(t, map[string]string{
		"apps.yaml":                      "apps: {shop: {dir: ./shop, public: true}}\n",
		"shop/README.md":                 "not read",
		"shop/queries/login.yaml":        "method: POST\nurl: https://a.example/login\nbody: '{\"password\":\"${APP_PASSWORD}\"}'\n",
		"shop/queries/users.yaml":        "url: https://a.example/users\nheaders: {Authorization: 'JWT {{js.get.data}}', X: '{{1}}'}\n",
		"shop/queries/users.js":          "not read",
		"shop/scripts/js.js":             "export default { get() { return `${1}` } }\n",
		"shop/pages/home.yaml":           "name: users\non_load: [js.get]\nwidgets: [{type: table, name: T, data: '{{users.data}}'}]\n",
		"shop/something/else.yaml":       "not read",
		"shop/pages/.hidden/deeper.yaml": "not read",
	})
	b, _ := newBook(t, resource.Options{})
	files, err := resource.ReadFiles(filepath.Join(dir, "apps.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// As a client sends it to a server on another disk.
	bundle, _, err := b.Registry().Collect(files, resource.Local{})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := bundle.Wire()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "shop")); err != nil {
		t.Fatal(err)
	}
	sent, err := resource.ParseBundle(wire)
	if err != nil {
		t.Fatal(err)
	}
	set, err := b.Registry().Decode(sent.Files, sent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(t.Context(), set, false); err != nil {
		t.Fatal(err)
	}
	a, id, revision, err := b.App(t.Context(), "shop")
	if err != nil || id == "" || revision != 1 || !a.Public || a.Name != "shop" || len(a.Queries) != 2 || len(a.Pages) != 1 || a.Pages[0].Name != "users" {
		t.Fatalf("%+v %q %d %v", a, id, revision, err)
	}
	if got := a.Queries[0].Body.Reveal(); a.Queries[0].Name != "login" || got != `{"password":"hunter22"}` {
		t.Errorf("query %s with body %s", a.Queries[0].Name, got)
	}
	if got := a.Scripts["js"].Reveal(); got != "export default { get() { return `${1}` } }\n" {
		t.Errorf("the script is not as it was written: %s", got)
	}
	v, err := b.Get(t.Context(), resource.Key{Kind: "apps", Name: "shop"})
	if err != nil || bytes.Contains(v.Spec, []byte("hunter22")) || bytes.Contains(v.Spec, []byte("export default")) {
		t.Errorf("the spec shows what is sealed: %s %v", v.Spec, err)
	}

	// Exports apply again, with the stored secrets and with those in clear, and
	// say the same whatever the order of queries.
	for _, reveal := range []bool{false, true} {
		var out bytes.Buffer
		if err := b.Export(t.Context(), &out, resource.Key{Kind: "apps"}, reveal); err != nil {
			t.Fatal(err)
		}
		if got := must(t, b, out.String(), nil); got != "unchanged apps/shop" {
			t.Errorf("reveal %v: %s\n%s", reveal, got, out.String())
		}
	}
	turned := "apps: {shop: {queries: [{name: users, url: https://a.example/users, headers: {Authorization: '[secret]'}}, {name: login, url: https://b.example, body: '[secret]'}]}}"
	if _, err := apply(t, b, turned, nil); err == nil || !strings.Contains(err.Error(), "apps.shop.queries.login.url: goes to another place than before") {
		t.Errorf("a stored body goes to another host: %v", err)
	}
	turned = strings.Replace(turned, "https://b.example", "https://A.example/other", 1)
	must(t, b, turned, nil)
	if a, _, _, err = b.App(t.Context(), "shop"); err != nil || a.Queries[1].Body.Reveal() != `{"password":"hunter22"}` || a.Queries[0].Headers["Authorization"].Reveal() != "JWT {{js.get.data}}" {
		t.Errorf("a secret went to another query: %+v %v", a, err)
	}
}

func TestAppFaultsNameTheirFile(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a field":      {map[string]string{"shop/queries/q.yaml": "url: https://a.example\nmetod: GET\n"}, "shop/queries/q.yaml:2:1: apps.shop.queries.q.metod: is not a field here; did you mean \"method\"?"},
		"a variable":   {map[string]string{"shop/queries/q.yaml": "url: https://a.example\nbody: ${NO_SUCH}\n"}, "shop/queries/q.yaml:2:7: apps.shop.queries.q.body: the environment variable NO_SUCH is not set"},
		"YAML":         {map[string]string{"shop/pages/p.yaml": "a: [\n"}, "shop/pages/p.yaml"},
		"no folder":    {nil, "there is no folder"},
		"nothing":      {map[string]string{"shop/other/x.yaml": "a: b"}, "holds nothing of it: it has folders pages, queries, scripts"},
		"empty script": {map[string]string{"shop/scripts/a.js": " \n"}, "apps.shop.scripts.a: is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"apps.yaml": "apps: {shop: {dir: shop}}"}
			for k, v := range c.files {
				files[k] = v
			}
			dir := folder(t, files)
			list, err := resource.ReadFiles(filepath.Join(dir, "apps.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = mustRegistry(t).Decode(list, resource.Local{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	_, err := mustRegistry(t).DecodeOne(resource.Key{Kind: "apps", Name: "a"}, resource.File{Name: "body.json", Content: `{"dir":"/etc"}`})
	if err == nil || !strings.Contains(err.Error(), "a folder is read where freshet apply runs") {
		t.Errorf("a request reads the server's disk: %v", err)
	}
	_, err = mustRegistry(t).DecodeOne(resource.Key{Kind: "apps", Name: "a"}, resource.File{Name: "body.json", Content: `{"queries":{"q":{"url":"https://a.example","body":"x"}}}`})
	if err != nil {
		t.Error(err)
	}
}
