package workflows

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/api"
)

// A mutant is a JSON document with something else somewhere in it.
type mutant struct {
	r *rand.Rand
}

// spots lists every place of a value: a setter for what stands there.
func (x mutant) spots(v any, set func(any), out *[]func(any)) {
	*out = append(*out, set)
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			x.spots(child, func(n any) {
				if n == nil && x.r.IntN(2) == 0 {
					delete(v, name)
					return
				}
				v[name] = n
			}, out)
		}
	case []any:
		for i, child := range v {
			x.spots(child, func(n any) { v[i] = n }, out)
		}
	}
}

// anything is a value that has no business where it is put.
func (x mutant) anything() any {
	deep := any("bottom")
	for range 50 {
		deep = []any{deep}
	}
	list := []any{nil, true, 0, -1, 1e308, "", "x", " ", "Done", "JavaScript", "Liquid", "Secret", "Switch", "HttpEndpoint", "NoSuchType", "while (true) {}", "{{", "{{ Variables.", "return (", "Key eq '",
		"/getAccessToken", "/api/v1", "* * *", "\x00", "é\u202e", strings.Repeat("long ", 3000), []any{}, []any{nil, map[string]any{}}, map[string]any{}, map[string]any{"$ref": "4"}, map[string]any{"$ref": "no such"},
		map[string]any{"$id": "1", "$type": "System.String", "__proto__": map[string]any{"polluted": 1}}, deep, "e7b00765-6f49-4e92-972d-9ef5dbeebbf5"}
	return list[x.r.IntN(len(list))]
}

// of changes a document in one to four places, or its bytes in one.
func (x mutant) of(b []byte) []byte {
	if x.r.IntN(5) == 0 { // the bytes
		c := append([]byte(nil), b...)
		i := x.r.IntN(len(c))
		switch x.r.IntN(3) {
		case 0:
			return c[:i]
		case 1:
			c[i] = byte(x.r.IntN(256))
			return c
		}
		j := min(len(c), i+x.r.IntN(200))
		return append(c[:i], c[j:]...)
	}
	var doc any
	if err := json.Unmarshal(b, &doc); err != nil {
		panic(err)
	}
	for range 1 + x.r.IntN(4) {
		var all []func(any)
		x.spots(doc, func(n any) { doc = n }, &all)
		if len(all) == 1 {
			break
		}
		all[1+x.r.IntN(len(all)-1)](x.anything()) // not the whole document
	}
	out, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return out
}

// TestAnyMutation brings exports with something changed: each comes over, kept
// byte for byte and with a report, or is refused with one message; publishing
// and running it ends its own run at worst.
func TestAnyMutation(t *testing.T) {
	seed := uint64(1)
	if s := os.Getenv("FRESHET_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	n := 300
	if testing.Short() {
		n = 60
	}
	w := newWorld(t, nil)
	x := mutant{rand.New(rand.NewPCG(seed, 1))}
	came, refused, ran := 0, 0, map[string]int{}
	for i := range n {
		original := export(t, exports[x.r.IntN(len(exports))])
		doc := x.of(original)
		name := fmt.Sprint("Mutant", i%10)
		where := fmt.Sprintf("seed %d, mutant %d", seed, i)
		got := w.ask(t, "POST", "/api/v1/import?name=mutant.json&publish=true&as="+name, string(doc), append(w.admin(), "Content-Type", "application/json")...)
		switch got.status {
		case 200:
			var out struct {
				Reports []api.ImportReport
				Skipped []struct{ Why string }
			}
			if err := json.Unmarshal([]byte(got.body), &out); err != nil || len(out.Reports)+len(out.Skipped) == 0 {
				t.Fatalf("%s: %v %.500s", where, err, got.body)
			}
			if len(out.Reports) == 0 {
				refused++
				continue
			}
			came++
			file := w.ask(t, "GET", "/api/v1/workflows/"+name+"/versions/0/file", "", w.admin()...)
			if file.body != string(doc) {
				t.Errorf("%s: it is not kept byte for byte", where)
			}
			if !out.Reports[0].Published {
				continue
			}
			r, err := w.client.RunWorkflow(t.Context(), api.RunRequest{Name: name, Input: json.RawMessage(`{"api":"/api/me"}`)})
			if err != nil {
				var p *api.Problem
				if !asProblem(err, &p) || p.Status >= 500 {
					t.Errorf("%s: %v\n%s", where, err, doc)
				}
				continue
			}
			ran[r.Status]++
			if r.Status == "faulted" && (r.Fault == nil || r.Fault.Message == "") {
				t.Errorf("%s: it faulted and nobody knows why", where)
			}
		case 400, 413, 422, 501:
			refused++
			var p api.Problem
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Detail == "" || len(p.Detail) > 2000 {
				t.Errorf("%s: HTTP %d %.500s", where, got.status, got.body)
			}
		default:
			t.Errorf("%s: HTTP %d %.500s\n%s", where, got.status, got.body, doc)
		}
	}
	t.Logf("%d came over, %d were refused; runs: %v", came, refused, ran)
	if came < n/3 || refused == 0 {
		t.Errorf("%d came over, %d were refused: the mutations are no good", came, refused)
	}
	select {
	case <-w.done:
		t.Fatalf("the server ended\n%s", w.err.String())
	default:
	}
	if log := w.err.String(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		i := strings.Index(log, "panic")
		t.Errorf("something panicked: %.2000s", log[max(i, 0):])
	}
}

func asProblem(err error, p **api.Problem) bool {
	e, ok := err.(*api.Problem)
	*p = e
	return ok
}
