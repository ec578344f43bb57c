package workflows

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-dev/freshet/api"
)

// TestEndpoints is the document's last chapter: an access token between one's
// own workflows.
func TestEndpoints(t *testing.T) {
	w := newWorld(t, nil)
	const own = "own-access-token-1"
	b := func(t *testing.T, header string) {
		t.Helper()
		w.declare(t, "B", `
workflow: B
variables: { access_token: `+own+` }
activities:
  in:
    type: HttpEndpoint
    with: { Path: /secured, Methods: [POST], ReadContent: true, AuthorizeWithCustomHeader: true, CustomHeaderName: `+header+`, CustomHeaderValue: !liquid "{{Variables.access_token}}" }
    next: done
  done: { type: Finish, with: { ActivityOutput: !js '"B got " + activities.in.Output().body.order', OutcomeNames: [success] } }
`)
	}
	ran := func() int { return len(w.runs(t, "B")) }

	t.Run("cap107 A calls B with the header and B runs", func(t *testing.T) {
		// The picture sets the header's name to Bearer, and its callers send
		// Authorization: Bearer …
		b(t, "Bearer")
		w.declare(t, "A", `
workflow: A
variables: { access_token: `+own+` }
activities:
  call:
    type: SendHttpRequest
    with: { Url: "`+w.url+`/secured", Method: POST, Content: '{"order":7}', ContentType: application/json, Authorization: !liquid "Bearer {{Variables.access_token}}", ReadContent: true }
    next: { "200": done, Unsupported Status Code: bad }
  done: { type: Finish, with: { ActivityOutput: !js activities.call.ResponseContent(), OutcomeNames: [success] } }
  bad: { type: Finish, with: { ActivityOutput: !js String(activities.call.Response().StatusCode), OutcomeNames: [error] } }
`)
		if got := w.good(t, "A", nil); got != "B got 7" {
			t.Errorf("%q", got)
		}
		if got := w.ask(t, "POST", "/secured", `{"order":8}`, "Bearer", own, "Content-Type", "application/json"); got.status != 200 || got.body != "B got 8" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("cap108 without it, or with another, no step of B runs", func(t *testing.T) {
		for _, name := range []string{"Bearer", "X-Token"} {
			b(t, name)
			before := ran()
			for _, header := range [][]string{nil, {"Authorization", "Bearer " + own + "x"}, {"Authorization", "Bearer"}, {"Authorization", "Basic " + own}, {"Bearer", ""}, {"X-Token", "wrong"}, {"X-Token", own[:5]}, {"Authorization", "Bearer " + w.key}} {
				if got := w.ask(t, "POST", "/secured", `{"order":7}`, header...); got.status != 401 || strings.Contains(got.body, own) {
					t.Errorf("%s, %v: %+v", name, header, got)
				}
			}
			if n := ran() - before; n != 0 {
				t.Errorf("%s: %d runs", name, n)
			}
		}
		if got := w.ask(t, "POST", "/secured", `{"order":7}`, "X-Token", own, "Content-Type", "application/json"); got.status != 200 {
			t.Errorf("%+v", got)
		}
		if strings.Contains(w.err.String(), own) {
			t.Error("the log holds the token")
		}
	})
	t.Run("cap109 the expected token is a cell or a connection's, and rotates at once", func(t *testing.T) {
		w.apply(t, "workflows: { B: { file: d.yaml, publish: true, variables: { access_token: { $from: Table:Settings/AccessToken/Data1 } } } }", "d.yaml", `
workflow: B
activities:
  in: { type: HttpEndpoint, with: { Path: /secured, Methods: [POST], AuthorizeWithCustomHeader: true, CustomHeaderName: Bearer, CustomHeaderValue: !liquid "{{Variables.access_token}}" }, next: done }
  done: { type: Finish, with: { ActivityOutput: in, OutcomeNames: [success] } }
`)
		for _, tok := range []string{"rotated-token-1", "rotated-token-2"} {
			w.set(t, "AccessToken", tok, "")
			for _, sent := range []string{"rotated-token-1", "rotated-token-2"} {
				want := 401
				if sent == tok {
					want = 200
				}
				if got := w.ask(t, "POST", "/secured", "", "Authorization", "Bearer "+sent); got.status != want {
					t.Errorf("stored %s, sent %s: %+v", tok, sent, got)
				}
			}
		}
		w.declare(t, "OfConnection", `
workflow: OfConnection
activities:
  in: { type: HttpEndpoint, with: { Path: /of-connection, AuthorizeWithCustomHeader: true, CustomHeaderName: Authorization, CustomHeaderValue: !secret "Connection:example-api" }, next: done }
  done: { type: Finish, with: { ActivityOutput: in, OutcomeNames: [success] } }
`)
		tok, err := w.client.Token(t.Context(), "example-api")
		if err != nil {
			t.Fatal(err)
		}
		if got := w.ask(t, "GET", "/of-connection", "", "Authorization", "Bearer "+tok.AccessToken); got.status != 200 {
			t.Errorf("%+v", got)
		}
		next, err := w.client.Refresh(t.Context(), "example-api")
		if err != nil {
			t.Fatal(err)
		}
		if got := w.ask(t, "GET", "/of-connection", "", "Authorization", "Bearer "+tok.AccessToken); got.status != 401 {
			t.Errorf("the former token: %+v", got)
		}
		if got := w.ask(t, "GET", "/of-connection", "", "Authorization", "Bearer "+next.AccessToken); got.status != 200 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a key for its workflow, and public", func(t *testing.T) {
		const open = "workflow: Open\nactivities:\n  in: { type: HttpEndpoint, with: { Path: '/open/{id}' }, next: done }\n  done: { type: Finish, with: { ActivityOutput: !js activities.in.Output().RouteValues.id, OutcomeNames: [success] } }\n"
		w.declare(t, "Open", open)
		key := func(scope string) string {
			k, err := w.client.CreateKey(t.Context(), api.KeyRequest{Name: strings.NewReplacer(":", "-", "*", "all").Replace(scope), Scopes: []string{scope}})
			if err != nil {
				t.Fatal(err)
			}
			return k.Key
		}
		for _, c := range []struct {
			key  string
			want int
		}{{"", 401}, {"fk_wrong", 401}, {key("run:Other"), 403}, {key("token:*"), 403}, {key("run:Open"), 200}} {
			var header []string
			if c.key != "" {
				header = []string{"Authorization", "Bearer " + c.key}
			}
			if got := w.ask(t, "GET", "/open/7", "", header...); got.status != c.want || c.want == 200 && got.body != "7" {
				t.Errorf("%d: %+v", c.want, got)
			}
		}
		w.declare(t, "Open", open, "public: true")
		if got := w.ask(t, "GET", "/OPEN/x%2Fy", ""); got.status != 200 || got.body != "x/y" {
			t.Errorf("%+v", got)
		}
		if err := w.client.Delete(t.Context(), "workflows", "Open"); err != nil {
			t.Fatal(err)
		}
		if got := w.ask(t, "GET", "/open/7", ""); got.status != 404 {
			t.Errorf("deleted: %+v", got)
		}
	})
	t.Run("paths that are taken are refused at publish", func(t *testing.T) {
		for path, want := range map[string]string{"/SECURED": "taken by workflow B", "/api/v1/x": "", "/console/x": "", "/{any}": ""} {
			dir := t.TempDir()
			for name, content := range map[string]string{"r.yaml": "workflows: { Taker: { file: d.yaml, publish: true } }", "d.yaml": "workflow: Taker\nactivities:\n  in: { type: HttpEndpoint, name: entry, with: { Path: '" + path + "', Methods: [POST] } }\n"} {
				if err := os.WriteFile(dir+"/"+name, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, errs, code := w.cli(t, "apply", "-f", dir+"/r.yaml")
			if code == 0 || !strings.Contains(errs, want) || !strings.Contains(errs, `"entry"`) || !strings.Contains(errs, "Path") {
				t.Errorf("%s: %d %s", path, code, errs)
			}
		}
	})
	t.Run("several triggers and many requests at once", func(t *testing.T) {
		w.declare(t, "Dual", `
workflow: Dual
activities:
  one: { type: HttpEndpoint, with: { Path: '/dual/{n}', Methods: [GET, PUT] }, next: done }
  two: { type: HttpEndpoint, with: { Path: /other, Methods: [POST], ReadContent: true }, next: done }
  clock: { type: Timer, with: { Timeout: "24:00:00" }, next: done }
  done:
    type: Finish
    with: { ActivityOutput: !js 'input && input.RouteValues && input.RouteValues.n || input && input.Body && input.Body.n || "clock"', OutcomeNames: [success] }
`)
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				n := fmt.Sprint("n", i)
				method, path, body := "GET", "/dual/"+n, ""
				switch i % 3 {
				case 1:
					method = "PUT"
				case 2:
					method, path, body = "POST", "/other", `{"n":"`+n+`"}`
				}
				if got := w.ask(t, method, path, body, append(w.admin(), "Content-Type", "application/json")...); got.status != 200 || got.body != n {
					t.Errorf("%s %s: %+v", method, path, got)
				}
			})
		}
		wg.Wait()
		if got := w.ask(t, "DELETE", "/dual/1", "", w.admin()...); got.status != http.StatusMethodNotAllowed {
			t.Errorf("%+v", got)
		}
		if n := len(w.runs(t, "Dual")); n != 60 {
			t.Errorf("%d runs", n)
		}
	})
	t.Run("a run that wrote nothing and one that faulted", func(t *testing.T) {
		w.declare(t, "Nothing", "workflow: Nothing\nactivities:\n  in: { type: HttpEndpoint, with: { Path: /nothing } }\n")
		if got := w.ask(t, "GET", "/nothing", "", w.admin()...); got.status != 200 || got.body != "" {
			t.Errorf("%+v", got)
		}
		w.declare(t, "Faults", "workflow: Faults\nactivities:\n  in: { type: HttpEndpoint, with: { Path: /faults }, next: fault }\n  fault: { type: Fault, with: { Message: on purpose } }\n")
		got := w.ask(t, "GET", "/faults", "", w.admin()...)
		var p struct{ Type string }
		if json.Unmarshal([]byte(got.body), &p); got.status != 500 || p.Type == "" || got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%+v", got)
		}
	})
}
