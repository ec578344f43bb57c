package freshet_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/freshet-dev/freshet"
)

const canary = "canary-8d21f0"

// leaks reports whether text shows the canary in any form that fmt could give
// it: as it is, in hexadecimal, as a list of byte values, quoted.
func leaks(text string) bool {
	forms := []string{
		canary,
		fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("% x", canary), fmt.Sprintf("% X", canary), fmt.Sprintf("%#x", canary),
		strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]"),
		strings.Trim(fmt.Sprintf("%o", []byte(canary)), "[]"),
		strings.Trim(fmt.Sprintf("%b", []byte(canary)), "[]"),
		strings.Trim(fmt.Sprintf("%U", []rune(canary)), "[]"),
		canary[:8], // cut by a precision
	}
	for _, f := range forms {
		if strings.Contains(strings.ToLower(text), strings.ToLower(f)) {
			return true
		}
	}
	return false
}

type exported struct {
	Name string
	S    freshet.Secret
	P    *freshet.Secret
	M    map[string]freshet.Secret
	L    []freshet.Secret
	A    [1]freshet.Secret
	I    any
	Sub  *exported
}

type unexported struct {
	name string
	s    freshet.Secret
	p    *freshet.Secret
	m    map[string]freshet.Secret
	l    []freshet.Secret
	a    [1]freshet.Secret
	i    any
	sub  *unexported
	key  map[freshet.Secret]int
}

type embedded struct {
	freshet.Secret
	n int
}

// shapes are all the ways in which a program can hold a secret.
func shapes() map[string]any {
	s := freshet.NewSecret(canary)
	m := map[string]freshet.Secret{"k": s}
	l := []freshet.Secret{s}
	a := [1]freshet.Secret{s}
	e := exported{Name: "e", S: s, P: &s, M: m, L: l, A: a, I: s, Sub: &exported{S: s, I: &s}}
	u := unexported{name: "u", s: s, p: &s, m: m, l: l, a: a, i: s, sub: &unexported{s: s}, key: map[freshet.Secret]int{s: 1}}
	return map[string]any{
		"value": s, "pointer": &s, "map": m, "slice": l, "array": a, "map key": map[freshet.Secret]int{s: 1},
		"exported fields": e, "pointer to exported fields": &e, "list of structs": []exported{e}, "map of structs": map[string]*exported{"k": &e},
		"unexported fields": u, "pointer to unexported fields": &u, "list of unexported": []unexported{u}, "map of unexported": map[string]unexported{"k": u},
		"interface in a list": []any{s, &s, e, u},
		"embedded":            embedded{s, 1}, "pointer to embedded": &embedded{s, 1},
		"anonymous struct": struct {
			a any
			b freshet.Secret
		}{u, s},
		"token": freshet.Token{Access: s, Refresh: s, ID: s, Answer: s, Session: m},
		"definition": &freshet.Definition{
			Connection: freshet.Connection{Name: "c", Secret: s, Credentials: m},
			Client:     freshet.Client{Name: "c", Secret: s, Previous: l, Key: s, Certificate: s},
		},
	}
}

func TestS41_a_secret_does_not_print(t *testing.T) {
	if !leaks(canary) || !leaks(fmt.Sprintf("%X", canary)) || !leaks(fmt.Sprintf("%d", []byte(canary))) {
		t.Fatal("the test is blind")
	}
	verbs := []string{
		"%v", "%+v", "%#v", "%T", "%s", "%+s", "%#s", "%q", "%+q", "%#q", "%x", "%X", "%#x", "% x", "% X", "%d", "%+d", "%b", "%o", "%O",
		"%c", "%U", "%#U", "%t", "%e", "%g", "%f", "%p", "%#p", "%w", "%y", "%!", "%100v", "%-100s", "%.8s", "%08d", "%[1]*[1]v",
	}
	for name, x := range shapes() {
		t.Run("S41 "+name, func(t *testing.T) {
			for _, verb := range verbs {
				if got := fmt.Sprintf(verb, x); leaks(got) {
					t.Errorf("%s prints %s", verb, got)
				}
			}
			for how, got := range map[string]string{
				"Sprint":   fmt.Sprint(x),
				"Sprintln": fmt.Sprintln("x", x),
				"Errorf":   fmt.Errorf("refresh %v: %w", x, errors.New("no")).Error(),
				"Append":   string(fmt.Append(nil, x)),
				"panic":    panicText(x),
				"JSON":     inJSON(x),
				"XML":      written(func(b *bytes.Buffer) error { return xml.NewEncoder(b).Encode(x) }),
				"gob":      written(func(b *bytes.Buffer) error { return gob.NewEncoder(b).Encode(x) }),
				"template": written(func(b *bytes.Buffer) error {
					return template.Must(template.New("").Parse(`{{.}} {{printf "%x %q" . .}} {{print .}} {{js .}}`)).Execute(b, x)
				}),
				"slog text": logged(x, func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }),
				"slog JSON": logged(x, func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) }),
			} {
				if leaks(got) {
					t.Errorf("%s shows %s", how, got)
				}
			}
		})
	}
	t.Run("S41 YAML", func(t *testing.T) {
		for name, x := range shapes() {
			if strings.Contains(name, "unexported") || strings.Contains(name, "anonymous") || name == "interface in a list" || name == "map key" {
				continue // yaml refuses some of them with a panic of its own
			}
			b, err := yaml.Marshal(x)
			if leaks(string(b)) || err != nil && leaks(err.Error()) {
				t.Errorf("%s: %s %v", name, b, err)
			}
		}
	})
	t.Run("S41 error texts", func(t *testing.T) {
		var s struct {
			S freshet.Secret `json:"s"`
		}
		if err := json.Unmarshal([]byte(`{"s": ["`+canary+`"]}`), &s); err == nil || leaks(err.Error()) {
			t.Errorf("decoding a list: %v", err)
		}
		if err := json.Unmarshal([]byte(`{"s": {"`+canary+`": 1}}`), &s); err == nil || leaks(err.Error()) {
			t.Errorf("decoding an object: %v", err)
		}
	})
}

func TestS41_a_secret_shows_that_it_is_there(t *testing.T) {
	s := freshet.NewSecret(canary)
	for _, got := range []string{s.String(), s.GoString(), fmt.Sprint(s), fmt.Sprintf("%q", s), fmt.Sprintf("%x", s), fmt.Sprintf("%d", &s)} {
		if got != freshet.Redacted {
			t.Errorf("a secret prints as %q", got)
		}
	}
	if got := inJSON(struct{ S freshet.Secret }{s}); got != `{"S":"[secret]"}` {
		t.Errorf("JSON = %s", got)
	}
	b, err := yaml.Marshal(map[string]any{"s": s})
	if err != nil || string(b) != "s: '[secret]'\n" {
		t.Errorf("YAML = %q, %v", b, err)
	}
	if got := logged(s, func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }); !strings.Contains(got, "x=[secret]") {
		t.Errorf("slog = %s", got)
	}
	var none freshet.Secret
	if got := fmt.Sprintf("%v%s%x%#v", none, none, none, none) + none.String(); got != "" {
		t.Errorf("an empty secret prints as %q", got)
	}
	if got := inJSON(struct {
		S freshet.Secret `json:"s,omitzero"`
	}{}); got != `{}` {
		t.Errorf("JSON of an empty secret = %s", got)
	}
}

func TestSecret(t *testing.T) {
	s := freshet.NewSecret(canary)
	if s.Reveal() != canary || s.Len() != len(canary) || s.IsZero() {
		t.Errorf("Reveal %q, Len %d, IsZero %t", s.Reveal(), s.Len(), s.IsZero())
	}
	if !s.Equal(freshet.NewSecret(strings.Clone(canary))) || s.Equal(freshet.NewSecret(canary+"x")) || s.Equal(freshet.Secret{}) {
		t.Error("Equal compares something else than the strings")
	}
	var none freshet.Secret
	if !none.IsZero() || none.Reveal() != "" || none.Len() != 0 || !none.Equal(freshet.NewSecret("")) || !freshet.NewSecret("").IsZero() {
		t.Error("the zero Secret is not the empty one")
	}
	t.Run("it is read from JSON, text and YAML", func(t *testing.T) {
		type holder struct {
			S freshet.Secret `json:"s" yaml:"s"`
		}
		var j, y holder
		if err := json.Unmarshal([]byte(`{"s":"`+canary+`"}`), &j); err != nil || j.S.Reveal() != canary {
			t.Errorf("JSON: %q, %v", j.S.Reveal(), err)
		}
		if err := json.Unmarshal([]byte(`{"s":null}`), &j); err != nil || !j.S.IsZero() {
			t.Errorf("JSON null: %v", err)
		}
		if err := yaml.Unmarshal([]byte("s: "+canary), &y); err != nil || y.S.Reveal() != canary {
			t.Errorf("YAML: %q, %v", y.S.Reveal(), err)
		}
		for _, bad := range []string{`1`, `true`, `["x"]`, `{}`} {
			if err := json.Unmarshal([]byte(`{"s":`+bad+`}`), &j); err == nil || !strings.Contains(err.Error(), "a secret is a string") {
				t.Errorf("%s: %v", bad, err)
			}
		}
	})
}

func inJSON(x any) string {
	b, err := json.Marshal(x)
	if err != nil {
		return err.Error() // a map with a Secret for a key, for one
	}
	return string(b)
}

func written(write func(*bytes.Buffer) error) string {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		b.WriteString(err.Error())
	}
	return b.String()
}

func logged(x any, handler func(*bytes.Buffer) slog.Handler) string {
	var b bytes.Buffer
	log := slog.New(handler(&b)).With("with", x).WithGroup("g")
	log.Info("m", "x", x, slog.Any("any", x), slog.Group("group", "x", x), "list", []any{x})
	return b.String()
}

func panicText(x any) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	panic(x)
}
