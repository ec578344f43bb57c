package endpoint

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/workflow"
)

func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		template, path string
		want           string // values, "-": no match
	}{
		{"/getAccessToken", "/getaccesstoken", "{}"},
		{"getAccessToken", "/getAccessToken/", "{}"},
		{"/step2-workflowIDSingle", "/step2-workflowIDsingle", "{}"},
		{"/x/{id}", "/x/Ab%2Fc", "{id:Ab/c}"},
		{"/x/{id}", "/x", "-"},
		{"/x/{id}", "/x/a/b", "-"},
		{"/x/{OrderId}", "/X/7", "{OrderId:7 orderid:7}"},
		{"/x/{id:int}", "/x/7", "{id:7}"},
		{"/x/{id:int}", "/x/a", "-"},
		{"/x/{id:guid}", "/x/fc515559-ab76-4f5b-9e0c-fc65cd1012fd", "{id:fc515559-ab76-4f5b-9e0c-fc65cd1012fd}"},
		{"/x/{id?}", "/x", "{}"},
		{"/x/{id?}", "/x/7", "{id:7}"},
		{"/x/{id=9}", "/x", "{id:9}"},
		{"/x/{*rest}", "/x/a/b", "{rest:a/b}"},
		{"/x/{**rest}", "/x", "{}"},
		{"/a b/c", "/a%20b/C", "{}"},
		{"/caf%C3%A9", "/CAF%C3%A9", "{}"},
		{"/", "/", "{}"},
	} {
		tm, err := parseTemplate(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		segs, ok := split(c.path)
		if !ok {
			t.Errorf("%s is no path", c.path)
			continue
		}
		values, ok := tm.match(segs)
		got := "-"
		if ok {
			var list []string
			for _, k := range slices.Sorted(maps.Keys(values)) {
				list = append(list, fmt.Sprintf("%s:%v", k, values[k]))
			}
			got = "{" + strings.Join(list, " ") + "}"
		}
		if got != c.want {
			t.Errorf("%s at %s = %s, want %s", c.template, c.path, got, c.want)
		}
	}
	for _, bad := range []string{"", " ", "/a//b", "//", "/../x", "/a/%2e%2e", "/a/{", "/a/}b", "/a/{b}c", "/a/{}", "/a/{b?}/c", "/a/{*b}/c", "/a/{b:colour}", "/a/{b}/{B}", "/a/%zz", "/a\\b", "/a/%2Fb", strings.Repeat("/a", 65), "/" + strings.Repeat("a", 5000), "/a/b\x00"} {
		if tm, err := parseTemplate(bad); err == nil {
			t.Errorf("%.40q is %+v", bad, tm)
		}
	}
	for _, bad := range []string{"", "x", "//", "/a//b", "/a/../b", "/a/%2e", "/%zz", strings.Repeat("/a", 65), "/" + strings.Repeat("a", 5000)} {
		if segs, ok := split(bad); ok {
			t.Errorf("%.40q is %q", bad, segs)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/x/{id:int}", "/a/{b?}", "{*r}", "/a%20b"} {
		f.Add(s, "/x/1")
	}
	f.Add("0 ?", "0")
	f.Fuzz(func(t *testing.T, text, path string) {
		tm, err := parseTemplate(text)
		if err != nil || len(tm.text) > maxPath {
			return
		}
		if again, err := parseTemplate(tm.text); err != nil || again.text != tm.text {
			t.Fatalf("%q becomes %q, which becomes %q, %v", text, tm.text, again.text, err)
		}
		if segs, ok := split(path); ok {
			tm.match(segs)
			newIndex([]*Endpoint{{template: tm, Methods: []string{"GET"}}}).find(segs, "GET")
		}
	})
}

func TestRouting(t *testing.T) {
	w := newWorld(t,
		version("one", true, []workflow.Activity{endpoint("get", "/orders/{id}", `["GET","put"]`), endpoint("new", "orders/new", `["GET"]`), endpoint("int", "/orders/{n:int}", `["GET"]`), endpoint("rest", "/orders/{*r}", `["DELETE"]`)}),
		version("two", true, []workflow.Activity{endpoint("blank", "/plain", "")}),
	)
	for _, c := range []struct {
		method, target string
		status         int
		activity       string
		allow          string
	}{
		{"GET", "/orders/new", 200, "new", ""},
		{"GET", "/ORDERS/New", 200, "new", ""},
		{"PUT", "/orders/new", 200, "get", ""}, // the literal one does not take it
		{"GET", "/orders/7", 200, "int", ""},
		{"GET", "/orders/x", 200, "get", ""},
		{"DELETE", "/orders/x/y", 200, "rest", ""},
		{"GET", "/orders/x/y", 405, "", "DELETE"},
		{"POST", "/orders/x", 405, "", "DELETE, GET, PUT"},
		{"POST", "/plain", 405, "", "GET"},
		{"HEAD", "/plain", 405, "", "GET"}, // a run has effects: not for a HEAD that nobody asked for
		{"OPTIONS", "/orders/x", 204, "", "DELETE, GET, OPTIONS, PUT"},
		{"GET", "/nothing", 404, "", ""},
		{"OPTIONS", "/nothing", 404, "", ""},
		{"GET", "/plain/x", 404, "", ""},
	} {
		before := w.runs()
		rec := w.ask(c.method, c.target, "")
		if rec.Code != c.status || rec.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s = %d, Allow %q", c.method, c.target, rec.Code, rec.Header().Get("Allow"))
		}
		if c.activity == "" {
			if w.runs() != before {
				t.Errorf("%s %s started a run", c.method, c.target)
			}
			continue
		}
		if got := w.last().Activity; got != c.activity || w.runs() != before+1 {
			t.Errorf("%s %s ran %s, want %s", c.method, c.target, got, c.activity)
		}
	}
	// What a browser of another origin asks before it sends gets no permission.
	rec := w.ask("OPTIONS", "/plain", "", "Origin: https://evil.example", "Access-Control-Request-Method: POST")
	if len(rec.Header()) != 1 || rec.Code != 204 {
		t.Errorf("preflight: %d %v", rec.Code, rec.Header())
	}
	// Unpublished is gone with the next request.
	w.list = w.list[:1]
	w.rebuild()
	if rec := w.ask("GET", "/plain", ""); rec.Code != 404 {
		t.Errorf("unpublished: %d", rec.Code)
	}
	site := w.Front(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(418) }))
	for target, want := range map[string]int{"/plain": 418, "/orders/new": 200} {
		rec := httptest.NewRecorder()
		if site.ServeHTTP(rec, httptest.NewRequest("GET", target, nil)); rec.Code != want {
			t.Errorf("in front of a site, %s: %d", target, rec.Code)
		}
	}
}

func TestCheck(t *testing.T) {
	w := newWorld(t, version("theirs", true, []workflow.Activity{endpoint("e", "/orders/{id}", `["GET","POST"]`)}))
	for _, c := range []struct {
		name string
		v    *workflow.Version
		code string // of the worst finding; "": there is none
	}{
		{"taken", version("mine", true, []workflow.Activity{endpoint("a", "Orders/{other}", `["POST"]`)}), "endpoint-taken"},
		{"other method", version("mine", true, []workflow.Activity{endpoint("a", "/orders/{id}", `["DELETE"]`)}), ""},
		{"more literal", version("mine", true, []workflow.Activity{endpoint("a", "/orders/new", `["GET"]`)}), ""},
		{"its own new version", version("theirs", true, []workflow.Activity{endpoint("e", "/orders/{id}", `["GET"]`)}), ""},
		{"twice in one workflow", version("mine", true, []workflow.Activity{endpoint("a", "/x", ""), endpoint("b", "/X/", `["get"]`)}), "endpoint-taken"},
		{"later in the flow is no start", version("mine", true, []workflow.Activity{endpoint("a", "/x", ""), endpoint("b", "/orders/{id}", `["GET"]`)}, "a>b"), ""},
		{"the API's", version("mine", true, []workflow.Activity{endpoint("a", "/api/v1/x", "")}), "endpoint-reserved"},
		{"the API's in other letters", version("mine", true, []workflow.Activity{endpoint("a", "/HealthZ", "")}), "endpoint-reserved"},
		{"the API's, encoded", version("mine", true, []workflow.Activity{endpoint("a", "/%61pi", "")}), "endpoint-reserved"},
		{"everything", version("mine", true, []workflow.Activity{endpoint("a", "/{*all}", "")}), "endpoint-reserved"},
		{"no path", version("mine", true, []workflow.Activity{endpoint("a", "", "")}), "endpoint-path"},
		{"bad path", version("mine", true, []workflow.Activity{endpoint("a", "/a//b", "")}), "endpoint-path"},
		{"bad method", version("mine", true, []workflow.Activity{endpoint("a", "/a", `["CONNECT"]`)}), "endpoint-methods"},
		{"blank name of the header", version("mine", true, []workflow.Activity{endpoint("a", "/a", "", prop("AuthorizeWithCustomHeader", workflow.Literal, "true"), prop("CustomHeaderValue", workflow.Literal, "x"))}), "endpoint-closed"},
		{"blank value of the header", version("mine", true, []workflow.Activity{endpoint("a", "/a", "", prop("AuthorizeWithCustomHeader", workflow.Literal, "true"), prop("CustomHeaderName", workflow.Literal, "Bearer"), prop("CustomHeaderValue", workflow.Liquid, "{{Variables.access_token}}"))}), "endpoint-closed"},
		{"security that fails", version("mine", true, []workflow.Activity{endpoint("a", "/a", "", prop("Authorize", workflow.JavaScript, "throw 1"))}), "endpoint-security"},
		{"a policy", version("mine", true, []workflow.Activity{endpoint("a", "/a", "", prop("Policy", workflow.Literal, "Staff"))}), "endpoint-policy"},
		{"no security", version("mine", false, []workflow.Activity{endpoint("a", "/a", "")}), "endpoint-key"},
		{"public", version("mine", true, []workflow.Activity{endpoint("a", "/a", "")}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var codes []string
			for _, f := range w.Check(t.Context(), c.v) {
				codes = append(codes, f.Code)
				if f.ID == "" || f.What == "" {
					t.Errorf("%+v says not where or what", f)
				}
			}
			if c.code == "" && len(codes) > 0 || c.code != "" && !slices.Contains(codes, c.code) {
				t.Errorf("%q, want %q", codes, c.code)
			}
		})
	}
	t.Run("published all the same", func(t *testing.T) {
		w := newWorld(t, version("a", true, []workflow.Activity{endpoint("e", "/x", "")}), version("b", true, []workflow.Activity{endpoint("e", "/x", "")}), version("c", true, []workflow.Activity{endpoint("e", "/api/x", ""), endpoint("f", "/fine", "")}))
		if rec := w.ask("GET", "/x", ""); rec.Code != http.StatusInternalServerError || !strings.Contains(rec.Body.String(), "ambiguous") || w.runs() != 0 {
			t.Errorf("%d %s, %d runs", rec.Code, rec.Body, w.runs())
		}
		if rec := w.ask("GET", "/api/x", ""); rec.Code != 404 {
			t.Errorf("reserved: %d", rec.Code)
		}
		if rec := w.ask("GET", "/fine", ""); rec.Code != 200 {
			t.Errorf("the other endpoint of that workflow: %d", rec.Code)
		}
		if got := w.log.String(); !strings.Contains(got, "endpoint not served") || !strings.Contains(got, "two workflows") {
			t.Errorf("the log: %s", got)
		}
	})
}

func TestHostilePaths(t *testing.T) {
	w := newWorld(t, version("one", true, []workflow.Activity{endpoint("a", "/x/{id}", "")}))
	for _, target := range []string{"/x/..", "/x/%2e%2e", "/x/%2E", "/x//1", "/%2e%2e/x/1", "//x/1", "/" + strings.Repeat("a/", 3000)} {
		r := httptest.NewRequest("GET", target, nil)
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != 404 {
			t.Errorf("%.40s: %d", target, rec.Code)
		}
	}
	if w.runs() != 0 {
		t.Error("a run was started")
	}
}
