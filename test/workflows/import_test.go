package workflows

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-dev/freshet/api"
)

// documents is where the two exports of the document are: as their authors
// published them if FRESHET_DOCUMENTS says where, else re-creations that do the
// same to the letter of their logic.
func documents() string {
	if d := os.Getenv("FRESHET_DOCUMENTS"); d != "" {
		return filepath.Join(d, "samples")
	}
	return filepath.Join(root, "internal", "workflow", "testdata")
}

var exports = []string{"get-changing-access-token-authentication.json", "call-my-api.json"}

func export(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(documents(), name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestUnchanged runs the exports as they are, with what they lack attached
// beside them.
func TestUnchanged(t *testing.T) {
	stores(t, func(t *testing.T, args ...string) {
		w := newWorld(t, nil, args...)
		var paths []string
		for _, name := range exports {
			paths = append(paths, filepath.Join(documents(), name))
		}
		t.Run("cap081 both import and are listed by their names", func(t *testing.T) {
			out, errs, code := w.cli(t, append([]string{"import", "--publish"}, paths...)...)
			if code != 0 || !strings.Contains(out, getter) || !strings.Contains(out, caller) {
				t.Fatalf("%d %s %s", code, out, errs)
			}
			// What it lacks, exactly.
			for _, want := range []string{"variable BaseURL", "variable api", "variable Method", "variable Content", "--set BaseURL=", "--map-input api=", "APIBaseURL", "tokens: as written"} {
				if !strings.Contains(out, want) {
					t.Errorf("the report does not say %q:\n%s", want, out)
				}
			}
			if out, _, _ := w.cli(t, "get", "workflows"); !strings.Contains(out, caller) || !strings.Contains(out, getter) {
				t.Error(out)
			}
		})
		t.Run("as it is, CallMyAPI faults where the report says", func(t *testing.T) {
			r := w.run(t, caller, m{"api": "/api/me"})
			if r.Status != "faulted" || r.Fault.Type != "SendHttpRequest" || r.Fault.Property != "Url" {
				t.Errorf("%+v %+v", r, r.Fault)
			}
		})
		t.Run("with attachments it runs unchanged", func(t *testing.T) {
			out, errs, code := w.cli(t, append([]string{"import", "--publish", "--set", `BaseURL={"Data1":"` + w.base + `"}`, "--map-input", "api=input.api", "--map-input", "Method=input.method2",
				"--map-input", "Content=input.content2", "--map-input", "Method2=input.method2"}, paths[1])...)
			if code != 0 || strings.Contains(out, "never set") {
				t.Fatalf("%d %s %s", code, out, errs)
			}
			w.expire(t)
			before := w.em.Count("login")
			got := w.good(t, caller, m{"api": "/api/me", "method2": "GET"})
			if !strings.Contains(got, `"sub": "alice"`) || w.em.Count("login") != before+1 { // JSON.stringify of two blanks, as the document has it
				t.Errorf("%s, %d logins", got, w.em.Count("login")-before)
			}
			w.good(t, caller, m{"api": "/api/me", "method2": "GET"})
			if w.em.Count("login") != before+1 {
				t.Error("a fresh token is fetched anew")
			}
			// The document's own error text, quoted as its JSON.stringify quotes it.
			r := w.run(t, caller, m{"api": "/api/me", "method2": "GET"})
			if r.Outcomes[0] != "success" {
				t.Errorf("%+v", r)
			}
		})
		t.Run("two runs that see it expired both log in by the table, and with a lock one does", func(t *testing.T) {
			race := func() int {
				w.expire(t)
				w.em.Next()
				before := w.em.Count("login")
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() { w.good(t, caller, m{"api": "/api/me", "method2": "GET"}) })
				}
				wg.Wait()
				return w.em.Count("login") - before
			}
			if n := race(); n < 1 || n > 8 {
				t.Errorf("%d logins without a lock", n)
			}
			w.apply(t, "workflows: { "+getter+": { file: d.json, publish: true, lock: '\"token\"' } }", "d.json", string(export(t, exports[0])))
			if n := race(); n != 1 {
				t.Errorf("%d logins with a lock", n)
			}
		})
		t.Run("cap082 the diff is only the edit", func(t *testing.T) {
			file := w.ask(t, "GET", "/api/v1/workflows/"+caller+"/versions/0/file", "", w.admin()...)
			original := export(t, exports[1])
			if file.body != string(original) {
				t.Fatal("the file is not kept byte for byte")
			}
			edited := strings.Replace(file.body, "Correlate - finished - bad", "Correlate - went wrong", 1)
			if edited == file.body { // a re-creation has other words
				edited = strings.Replace(file.body, `"displayName":"`, `"displayName":"edited `, 1)
			}
			got := w.ask(t, "POST", "/api/v1/import", edited, append(w.admin(), "Content-Type", "application/json")...)
			if got.status != 200 {
				t.Fatalf("%+v", got)
			}
			again := w.ask(t, "GET", "/api/v1/workflows/"+caller+"/versions/0/file", "", w.admin()...)
			if again.body != edited {
				t.Error("an export is not what was imported")
			}
			diff := w.ask(t, "GET", "/api/v1/workflows/"+caller+"/diff", "", w.admin()...)
			var d struct{ Changes []json.RawMessage }
			if err := json.Unmarshal([]byte(diff.body), &d); err != nil || len(d.Changes) != 1 {
				t.Errorf("%v %s", err, diff.body)
			}
		})
	})
}

// TestBadFiles brings what is broken: each is one clear message, and nothing
// comes to the server that ends it.
func TestBadFiles(t *testing.T) {
	w := newWorld(t, nil)
	bring := func(b []byte) (reply, string) {
		t.Helper()
		got := w.ask(t, "POST", "/api/v1/import?name=bad.json&publish=true", string(b), append(w.admin(), "Content-Type", "application/json")...)
		return got, got.body
	}
	doc := func(activities, edges string) string {
		return `{"definitionId":"d1","name":"Bad","version":1,"activities":[` + activities + `],"connections":[` + edges + `]}`
	}
	act := func(id, typ, props string) string {
		return `{"activityId":"` + id + `","type":"` + typ + `","name":"step-` + id + `","properties":[` + props + `]}`
	}
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"a missing target":           {doc(act("a", "WriteLine", ""), `{"sourceActivityId":"a","targetActivityId":"nowhere","outcome":"Done"}`), []string{"nowhere"}},
		"a duplicate id":             {doc(act("a", "WriteLine", "")+","+act("a", "WriteLine", ""), ""), []string{`\"a\"`}},
		"a JavaScript syntax error":  {doc(act("a", "If", `{"name":"Condition","syntax":"JavaScript","expressions":{"JavaScript":"return ((1"}}`), ""), []string{"Condition", "step-a", "SyntaxError"}},
		"an unknown type":            {doc(act("a", "NoSuchThing", ""), ""), []string{"NoSuchThing", "step-a"}},
		"a column that is not there": {doc(act("a", "ObjectInstanceList", `{"name":"ObjectType","expressions":{"Literal":"Settings"}},{"name":"Filter","expressions":{"Literal":"Nope eq 'x'"}}`), ""), []string{"Nope", "Settings"}},
		"an endpoint of the server":  {doc(act("a", "HttpEndpoint", `{"name":"Path","expressions":{"Literal":"/api/x"}}`), ""), []string{"/api", "step-a"}},
		"a wrong cron expression":    {doc(act("a", "Cron", `{"name":"CronExpression","expressions":{"Literal":"every day"}}`), ""), []string{"step-a", "cron"}},
		"invalid UTF-8":              {doc(act("a", "WriteLine", "")+"\xff", ""), []string{"UTF-8"}},
		"no JSON":                    {`{"activities": [`, []string{"line 1"}},
		"a back edge":                {doc(act("a", "WriteLine", ""), `{"sourceActivityId":"a","targetActivityId":"a","outcome":"Done"}`), []string{`"published":true`}},
	} {
		got, text := bring([]byte(c.file))
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: HTTP %d does not say %q: %s", name, got.status, want, text)
			}
		}
	}
	t.Run("an endless loop meets its limit", func(t *testing.T) {
		w.declare(t, "Endless", "workflow: Endless\nactivities:\n  a: { type: SetVariable, with: { VariableName: x, Value: y }, next: b }\n  b: { type: SetVariable, with: { VariableName: x, Value: z }, next: a }\n")
		if r := w.run(t, "Endless", nil); r.Status != "faulted" || !strings.Contains(r.Fault.Message, "100000") && !strings.Contains(r.Fault.Message, "100,000") {
			t.Errorf("%+v %+v", r, r.Fault)
		}
	})
	t.Run("an unknown type faults when it is reached", func(t *testing.T) {
		w.declare(t, "Unknown", "workflow: Unknown\nactivities:\n  a: { type: WriteLine, with: { Text: fine }, next: b }\n  b: { type: NoSuchThing }\n")
		if r := w.run(t, "Unknown", nil); r.Status != "faulted" || r.Fault.Type != "NoSuchThing" || !strings.Contains(w.story(t, r.RunID), "a [WriteLine] Done") {
			t.Errorf("%+v %+v", r, r.Fault)
		}
	})
	t.Run("a file of 50 MB", func(t *testing.T) {
		big := bytes.Repeat([]byte(" "), 50<<20)
		copy(big, doc(act("a", "WriteLine", ""), ""))
		if got, text := bring(big); got.status != 200 && got.status != 413 && got.status != 422 || len(text) > 4096 {
			t.Errorf("HTTP %d, %d bytes: %.300s", got.status, len(text), text)
		}
	})
	if _, err := w.client.Import(t.Context(), api.Import{Files: []api.ImportFile{{Name: exports[0], Data: export(t, exports[0])}}}); err != nil {
		t.Errorf("the server does not import any more: %v", err)
	}
}
