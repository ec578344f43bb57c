package resource_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/resource"
)

const examples = "../../examples/connections"

// TestExamples applies the examples as their README says, and asks the emulator
// for a token with each grant that nobody has to take part in.
func TestExamples(t *testing.T) {
	e, err := emulator.New(emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	base, err := e.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	private, public := keyPair(t)
	body, _ := json.Marshal(map[string]string{"id": "example-service-account", "public_key": public})
	resp, err := http.Post(base+"/_clients", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		t.Fatalf("register the key: %s", resp.Status)
	}

	b, _ := newBook(t, resource.Options{})
	files, err := resource.ReadFiles(examples)
	if err != nil {
		t.Fatal(err)
	}
	set, err := b.Registry().Decode(files, env{"EMULATOR": base, "EXAMPLE_SECRET": "s3cret", "EXAMPLE_PASSWORD": "pw", "EXAMPLE_KEY": private})
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Apply(t.Context(), set, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Warnings) > 0 {
		t.Errorf("examples deserve no warning: %v", r.Warnings)
	}

	grants := map[freshet.GrantType]bool{}
	sender := grant.New(grant.Options{})
	for name, err := range b.Names(t.Context(), "connections") {
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			d := definition(t, b, name)
			grants[d.Connection.Grant] = true
			if d.Connection.Grant.Interactive() {
				return
			}
			token := ask(t, sender, d, grant.Ask{})
			if name == "example-login-jwt" {
				if token.Refresh.IsZero() {
					t.Fatal("no refresh token")
				}
				ask(t, sender, d, grant.Ask{RefreshToken: token.Refresh, Previous: token})
			}
		})
	}
	for _, g := range freshet.GrantTypes {
		if !grants[g] {
			t.Errorf("no example of %s", g)
		}
	}
	// The page that leads through them names each file.
	readme, err := os.ReadFile(filepath.Join(examples, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.Contains(string(readme), "`"+filepath.Base(f.Name)+"`") {
			t.Errorf("README.md does not name %s", filepath.Base(f.Name))
		}
	}
}

func ask(t *testing.T, s *grant.Sender, d *freshet.Definition, a grant.Ask) *freshet.Token {
	t.Helper()
	o := s.Ask(t.Context(), d, a)
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	if o.Token.Access.IsZero() || !o.Token.AliveAt(time.Now()) || o.Token.Expiry.IsZero() {
		t.Fatalf("token %+v", o.Token)
	}
	return o.Token
}

func keyPair(t *testing.T) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("PRIVATE KEY", der), encode("PUBLIC KEY", pub)
}

// anything has a value for every variable and a secret in every file.
type anything struct{ given }

func (anything) Env(name string) (string, bool) { return "value-of-" + name, true }

func (anything) Document(_, path string) (string, error) { return "the file " + path, nil }

func (anything) Folder(_, path string) (map[string]string, error) {
	return map[string]string{"queries/me.yaml": "method: GET\nurl: https://api.acme.example/me\n"}, nil
}

var fenced = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// TestPages decodes every resource that the documentation shows. Blocks in
// other formats begin with another word.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "../../README.md")
	reg := mustRegistry(t)
	var kinds []string
	for _, k := range reg.Kinds() {
		kinds = append(kinds, k.Name)
	}
	seen := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fenced.FindAllStringSubmatchIndex(string(text), -1) {
			block := string(text[m[2]:m[3]])
			first, _, _ := strings.Cut(block, ":")
			if !slices.Contains(kinds, first) {
				continue
			}
			seen++
			// Line numbers of faults are those of the page.
			padded := strings.Repeat("\n", strings.Count(string(text[:m[2]]), "\n")) + block
			if _, err := reg.Decode([]resource.File{{Name: filepath.Base(page), Content: padded}}, anything{}); err != nil {
				t.Error(err)
			}
		}
	}
	if seen == 0 {
		t.Error("no page shows a resource")
	}
}
