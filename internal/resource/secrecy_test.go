package resource_test

import (
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/resource"
)

// TestSecretsStayOutOfFaults writes a secret in every wrong way that comes to
// mind. What is said about it must not hold it.
func TestSecretsStayOutOfFaults(t *testing.T) {
	const canary = "hunter2"
	for _, field := range []string{"secret: VALUE", "previous_secrets: VALUE", "previous_secrets: [VALUE]", "key: VALUE", "certificate: VALUE"} {
		for _, value := range []string{
			"[hunter2, x]", "{hunter2: x}", "{hunter2}", "{file: x, hunter2: y}", "{file: [hunter2]}", "!hunter2", "!hunter2 x", "!!binary hunter2", "*hunter2", "&hunter2",
			"@hunter2", "%hunter2", "`hunter2", "|hunter2", ">hunter2", "'hunter2", `"hunter2`, `"\hunter2"`, `"\u12hunter2"`, "hunter2: x", "[hunter2", "{hunter2", "? hunter2",
			"hunter2\thunter2: x", `"hunter2\0"`, "hunter2${", "hunter2${1x}", "${UNSET}hunter2", "- hunter2", "<<: hunter2", "{<<: hunter2}", strings.Repeat("hunter2", 10_000),
		} {
			for _, text := range []string{
				"clients:\n  acme:\n    provider: google\n    " + strings.Replace(field, "VALUE", value, 1) + "\n",
				"clients: {acme: {provider: google, " + strings.Replace(field, "VALUE", value, 1) + "}}\n",
				"clients: {acme: {provider: google, " + strings.Replace(strings.Replace(field, "VALUE", value, 1), ": ", ":", 1) + "}}\n",
				"clients: {acme: {provider: google, " + strings.Replace(strings.Replace(field, "VALUE", value, 1), ": ", " ", 1) + "}}\n",
				"connections: {crm: {provider: google, credentials: {" + strings.Replace(field, "VALUE", value, 1) + "}}}\n",
				"connections: {crm: {provider: google, credentials: " + value + "}}\n",
				"webhooks: {ops: {url: https://ops.example/, " + strings.Replace(field, "VALUE", value, 1) + "}}\n",
				`{"clients": {"acme": {"provider": "google", "secret": ` + value + "}}}\n",
				`{"clients": {"acme": {"provider": "google", "secret": "hunter2` + value + "}}}\n",
			} {
				for _, name := range []string{"a.yaml", "a.json"} {
					_, err := mustRegistry(t).Decode([]resource.File{{Name: name, Content: text}}, env{})
					if err != nil && strings.Contains(err.Error(), canary) {
						t.Errorf("%.200s\nis refused with\n%.500v", text, err)
					}
				}
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	_, sections := readSections(f, "testdata/bad.txt")
	for _, s := range sections {
		f.Add(s.Content, strings.HasSuffix(s.Name, ".json"))
	}
	f.Add(acme, false)
	reg := mustRegistry(f)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		name := "fuzz.yaml"
		if isJSON {
			name = "fuzz.json"
		}
		set, err := reg.Decode([]resource.File{{Name: name, Content: text}}, env{"A": "a"})
		if err != nil {
			if _, ok := err.(resource.Faults); !ok || err.Error() == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		for _, it := range set.Items {
			// What was taken once is taken again, and says the same.
			again, err := reg.DecodeOne(it.Key, resource.File{Name: "again.json", Content: string(it.Spec)})
			if err != nil {
				t.Fatalf("%s: %v", it.Spec, err)
			}
			if len(again.Items) != 1 || string(again.Items[0].Spec) != string(it.Spec) {
				t.Fatalf("%s becomes %+v", it.Spec, again.Items)
			}
		}
	})
}
