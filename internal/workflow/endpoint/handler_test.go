package endpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/activity/activitytest"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

func open(name, path, methods string, props ...workflow.Property) *workflow.Version {
	return version(name, true, []workflow.Activity{endpoint("a", path, methods, props...)})
}

func TestTheRequestModel(t *testing.T) {
	w := newWorld(t, open("w", "/items/{Id}", `["POST"]`, prop("ReadContent", workflow.Literal, "true")), open("blind", "/blind", `["POST"]`))
	rec := w.ask("POST", "/items/a%20b?q=1&q=2&x=%zz;y&empty", `{"a":[1]}`, "Content-Type: application/json; charset=utf-8", "X-Two: 1", "X-Two: 2", "Cookie: sid=cookie-value-1", "Authorization: Bearer caller-token-1")
	if rec.Code != 200 {
		t.Fatal(rec.Code, rec.Body)
	}
	got := model.Plain(w.last().Input).(m)
	want := m{"Path": "/items/a b", "Method": "POST", "RouteValues": m{"Id": "a b", "id": "a b"}, "QueryString": m{"q": "1,2", "x": "%zz;y", "empty": ""}, "RawBody": `{"a":[1]}`, "Body": m{"a": []any{int64(1)}},
		"Headers": m{"Content-Type": "application/json; charset=utf-8", "X-Two": "1,2", "Cookie": "sid=cookie-value-1", "Authorization": "Bearer caller-token-1", "Host": "example.com"}}
	if !reflect.DeepEqual(got, want) {
		g, _ := json.Marshal(got)
		x, _ := json.Marshal(want)
		t.Errorf("\n%s, want\n%s", g, x)
	}
	for _, s := range []string{"caller-token-1", "Bearer caller-token-1", "sid=cookie-value-1"} {
		if !slices.Contains(w.last().Secrets, s) {
			t.Errorf("the run is not told that %s is secret", s)
		}
	}
	w.ask("POST", "/blind", `{"a":1}`, "Content-Type: application/json")
	if got := model.Plain(w.last().Input).(m); got["Body"] != nil || got["RawBody"] != "" {
		t.Errorf("without ReadContent: %v", got)
	}
	for _, c := range []struct {
		media, body string
		want        any
	}{
		{"application/x-www-form-urlencoded", "a=1&b=x+y", m{"a": "1", "b": "x y"}},
		{"application/json", `[1]`, []any{int64(1)}},
		{"application/json", ``, nil},
		{"text/xml", `<a><b>1</b></a>`, m{"a": m{"b": "1"}}},
		{"text/plain", `hello`, "hello"},
		{"", `hello`, "hello"},
	} {
		rec := w.ask("POST", "/items/1", c.body, "Content-Type: "+c.media)
		if got := model.Plain(w.last().Input).(m)["Body"]; rec.Code != 200 || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s: %d, %v", c.media, c.body, rec.Code, got)
		}
	}
	w.o.MaxBody = 10
	before := w.runs()
	for body, want := range map[string]int{`{"a":`: 400, `{"a":"0123456789"}`: 413} {
		if rec := w.ask("POST", "/items/1", body, "Content-Type: application/json"); rec.Code != want || w.runs() != before {
			t.Errorf("%s: %d %s, %d runs", body, rec.Code, rec.Body, w.runs()-before)
		}
	}
	if rec := w.ask("POST", "/blind", `{"a":"0123456789"}`); rec.Code != 200 {
		t.Errorf("a body that nobody reads: %d", rec.Code)
	}
	if rec := w.ask("POST", "/items/1", "{}", "X-Correlation-Id: c1"); rec.Code != 200 || w.last().CorrelationID != "c1" {
		t.Errorf("correlation %q", w.last().CorrelationID)
	}
}

func TestAnswers(t *testing.T) {
	finished := func(output any, outcomes ...string) End {
		return End{RunID: "run1", Status: "finished", Outcomes: outcomes, Output: output}
	}
	for _, c := range []struct {
		name   string
		end    End
		wrote  *activity.Answer
		status int
		media  string
		body   string // "~": part of it
	}{
		{"cap092 a text is raw", finished("token<&>", "success"), nil, 200, "text/plain; charset=utf-8", "token<&>"},
		{"cap102 JSON stays JSON", finished(model.JSON(`{"z":"<&>","a":1}`), "Done"), nil, 200, "application/json", `{"z":"<&>","a":1}`},
		{"an object", finished(m{"a": "<b>"}), nil, 200, "application/json", `{"a":"<b>"}`},
		{"nothing, as on the platform", finished(nil, "Done"), nil, 200, "", ""},
		{"bytes", finished([]byte{1, 2}), nil, 200, "application/octet-stream", "\x01\x02"},
		{"cap093 the outcome error", finished("Unable to get access token", "Error"), nil, 502, "application/problem+json", `~"detail":"Unable to get access token"`},
		{"an error that is an object", finished(m{"code": 7}, "error"), nil, 502, "application/problem+json", `~{\"code\":7}`},
		{"a fault", End{RunID: "run1", Status: "faulted", Fault: "SendHttpRequest auth: inner CANARY"}, nil, 500, "application/problem+json", `~run run1 says why`},
		{"cancelled", End{RunID: "run1", Status: "cancelled"}, nil, 500, "application/problem+json", `~run-cancelled`},
		{"it waits", End{RunID: "run1", Status: "suspended"}, nil, 202, "application/json", `{"run":"/api/v1/runs/run1","run_id":"run1","status":"suspended"}`},
		{"cap100 what the run wrote", finished("output", "error"), &activity.Answer{Status: 404, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-A": {"b"}}, Body: []byte("not found")}, 404, "text/plain; charset=utf-8", "not found"},
		{"what a run wrote before it broke off", End{RunID: "run1", Status: "faulted"}, &activity.Answer{Status: 200, Body: []byte("x")}, 200, "", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, open("w", "/x", ""))
			w.result = func(s Start) (End, error) {
				if c.wrote != nil {
					if err := s.HTTP.Write(*c.wrote); err != nil {
						return End{}, err
					}
				}
				return c.end, nil
			}
			rec := w.ask("GET", "/x", "")
			body := rec.Body.String()
			part, ok := strings.CutPrefix(c.body, "~")
			if rec.Code != c.status || !ok && body != c.body || ok && !strings.Contains(body, part) || strings.Contains(body, "CANARY") {
				t.Errorf("%d %s, want %d %s", rec.Code, body, c.status, c.body)
			}
			if got := rec.Header().Get("Content-Type"); c.media != "" && got != c.media {
				t.Errorf("Content-Type %q, want %q", got, c.media)
			}
			if rec.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%v", rec.Header())
			}
		})
	}
	t.Run("who has a key is told why", func(t *testing.T) {
		w := newWorld(t, version("w", false, []workflow.Activity{endpoint("a", "/x", "")}))
		w.result = func(Start) (End, error) {
			return End{RunID: "run1", Status: "faulted", Fault: "step auth: authToken=abcdef123456 refused by api.example"}, nil
		}
		rec := w.ask("GET", "/x", "", "Authorization: Bearer fk_all")
		if rec.Code != 500 || !strings.Contains(rec.Body.String(), "step auth") {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
	t.Run("no run", func(t *testing.T) {
		for err, want := range map[error]int{ErrSingleton: 404, ErrGone: 404, ErrNotWaiting: 409, ErrClosed: 503, errors.New("the disk of CANARY is full"): 500} {
			w := newWorld(t, open("w", "/x", ""))
			w.result = func(Start) (End, error) { return End{}, fmt.Errorf("run: %w", err) }
			if rec := w.ask("GET", "/x", ""); rec.Code != want || strings.Contains(rec.Body.String(), "CANARY") {
				t.Errorf("%v: %d %s", err, rec.Code, rec.Body)
			}
		}
	})
	t.Run("pages are kept from the console's origin", func(t *testing.T) {
		w := newWorld(t, open("w", "/x", ""))
		for media, want := range map[string]bool{"text/html": true, "image/svg+xml; charset=utf-8": true, "application/xhtml+xml": true, "application/json": false, "text/plain": false} {
			w.result = func(s Start) (End, error) {
				return End{}, s.HTTP.Write(activity.Answer{Status: 200, Header: http.Header{"Content-Type": {media}}, Body: []byte("<p>")})
			}
			if got := strings.HasPrefix(w.ask("GET", "/x", "").Header().Get("Content-Security-Policy"), "sandbox"); got != want {
				t.Errorf("%s: sandbox %t", media, got)
			}
		}
		w.result = func(s Start) (End, error) {
			return End{}, s.HTTP.Write(activity.Answer{Status: 200, Header: http.Header{"Content-Type": {"text/html"}, "Content-Security-Policy": {"default-src 'self'"}}, Body: []byte("<p>")})
		}
		if got := w.ask("GET", "/x", "").Header().Get("Content-Security-Policy"); got != "default-src 'self'" {
			t.Errorf("a policy of its own: %q", got)
		}
	})
}

func TestDispatch(t *testing.T) {
	w := newWorld(t, open("w", "/x", ""))
	for _, c := range []struct {
		target, head string
		want         int
	}{{"/x?x-dispatch=true", "", 202}, {"/x?X-Dispatch", "", 202}, {"/x", "x-dispatch: 1", 202}, {"/x?x-dispatch=false", "", 200}, {"/x", "X-Dispatch: false", 200}, {"/x", "", 200}} {
		var head []string
		if c.head != "" {
			head = []string{c.head}
		}
		rec := w.ask("GET", c.target, "", head...)
		if rec.Code != c.want || c.want == 202 && (rec.Header().Get("Location") != "/api/v1/runs/run2" || w.last().HTTP != nil) {
			t.Errorf("%s %s: %d %v", c.target, c.head, rec.Code, rec.Header())
		}
	}
}

func TestRunsThatWait(t *testing.T) {
	later := version("approve", true, []workflow.Activity{endpoint("start", "/ask", ""), endpoint("wait", "/approve", `["post","GET"]`), endpoint("both", "/ask", "")}, "start>wait", "wait>both")
	w := newWorld(t, later)
	ask := func(target string, status int, resumed string) {
		t.Helper()
		w.mu.Lock()
		w.resumed = nil
		w.mu.Unlock()
		rec := w.ask("GET", target, "")
		got := ""
		if len(w.resumed) > 0 {
			got = w.resumed[0].RunID
		}
		if rec.Code != status || got != resumed {
			t.Errorf("%s: %d %s, resumed %q; want %d, %q", target, rec.Code, rec.Body, got, status, resumed)
		}
	}
	ask("/approve", 404, "")
	w.waiting["GET,POST /approve"] = []Wait{{"b1", "r1"}}
	ask("/approve", 200, "r1")
	w.waiting["GET,POST /approve"] = []Wait{{"b1", "r1"}, {"b2", "r2"}}
	ask("/approve", 409, "")
	w.waiting["GET,POST /approve two"] = []Wait{{"b2", "r2"}}
	ask("/approve?correlation=two", 200, "r2")
	ask("/approve?correlation=three", 404, "")
	// A path that starts runs and is waited at: who names a run means it.
	w.waiting["GET /ask four"] = []Wait{{"b4", "r4"}}
	before := len(w.started)
	ask("/ask", 200, "")
	ask("/ask?correlation=four", 200, "r4")
	ask("/ask?correlation=five", 200, "")
	if got := len(w.started) - before; got != 2 {
		t.Errorf("%d runs started", got)
	}
	if w.last().CorrelationID != "five" || w.last().Activity != "start" {
		t.Errorf("%+v", w.last())
	}
	t.Run("not let in", func(t *testing.T) {
		w := newWorld(t, version("w", false, []workflow.Activity{endpoint("s", "/s", ""), endpoint("wait", "/approve", "", prop("AuthorizeWithCustomHeader", workflow.Literal, "true"), prop("CustomHeaderName", workflow.Literal, "X"), prop("CustomHeaderValue", workflow.Literal, "secret-1"))}, "s>wait"))
		w.waiting["GET /approve"] = []Wait{{"b1", "r1"}}
		if rec := w.ask("GET", "/approve", ""); rec.Code != 401 || w.runs() != 0 {
			t.Errorf("%d, %d runs", rec.Code, w.runs())
		}
	})
}

func TestDualTriggersAndManyAtOnce(t *testing.T) {
	w := newWorld(t, version("dual", true, []workflow.Activity{endpoint("one", "/one", ""), endpoint("two", "/two", ""), {ID: "tail", Type: "Finish"}}, "one>tail", "two>tail"))
	w.result = func(s Start) (End, error) {
		return End{RunID: "r", Status: "finished", Output: s.Activity + " " + s.HTTP.Request.QueryString["n"]}, nil
	}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			path := []string{"one", "two"}[i%2]
			resp, err := http.Get(fmt.Sprintf("%s/%s?n=%d", srv.URL, path, i))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var b strings.Builder
			buf := make([]byte, 100)
			for {
				n, err := resp.Body.Read(buf)
				b.Write(buf[:n])
				if err != nil {
					break
				}
			}
			if want := fmt.Sprintf("%s %d", path, i); b.String() != want {
				t.Errorf("%q, want %q", b.String(), want)
			}
		})
		if i%8 == 0 {
			wg.Go(w.rebuild)
		}
	}
	wg.Wait()
	t.Run("no more than the limit", func(t *testing.T) {
		w := newWorld(t, open("w", "/x", ""))
		w.o.Concurrent = 1
		var inner int
		w.result = func(Start) (End, error) {
			if inner == 0 {
				inner = w.ask("GET", "/x", "").Code
			}
			return End{Status: "finished"}, nil
		}
		if rec := w.ask("GET", "/x", ""); rec.Code != 200 || inner != 503 {
			t.Errorf("%d, within it %d", rec.Code, inner)
		}
		if rec := w.ask("GET", "/x", ""); rec.Code != 200 {
			t.Errorf("afterwards %d", rec.Code)
		}
	})
}

func TestExamples(t *testing.T) { activitytest.Examples(t, Specs(), nil) }

func call(t *testing.T, typ string, in m, x *activity.HTTPExchange) (activity.Result, *activitytest.Run, error) {
	t.Helper()
	s, _ := activity.NewRegistry(Specs()...).Lookup(typ)
	c, run := activitytest.New(t, s, in)
	c.HTTP = x
	res, err := s.Run(t.Context(), c)
	return res, run, err
}

func TestWriteHttpResponse(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     m
		status int
		media  string
		body   string
	}{
		{"the default", m{"Content": "x"}, 200, "text/plain; charset=utf-8", "x"},
		{"cap100 a name of a status", m{"Content": "not found", "StatusCode": "NotFound"}, 404, "text/plain; charset=utf-8", "not found"},
		{"a number", m{"StatusCode": "429"}, 429, "text/plain; charset=utf-8", ""},
		{"in other letters", m{"StatusCode": "serviceunavailable"}, 503, "", ""},
		{"the platform's own names", m{"StatusCode": "Redirect"}, 302, "", ""},
		{"an object is JSON", m{"Content": m{"Key": "<"}, "ContentType": "application/json"}, 200, "application/json; charset=utf-8", `{"Key":"<"}`},
		{"an object of the platform", m{"Content": model.Row{ObjectID: 1, Values: m{"B": 1, "A": 2}, Columns: []string{"B", "A"}}.Object(), "ContentType": "application/json"}, 200, "", `{"ObjectId":1,"B":1,"A":2}`},
		{"bytes", m{"Content": []byte{0, 255}, "ContentType": "image/png"}, 200, "image/png", "\x00\xff"},
		{"another charset", m{"Content": "é", "CharSet": "iso-8859-1"}, 200, "text/plain; charset=iso-8859-1", "\xe9"},
		{"a charset in the type", m{"Content": "x", "ContentType": "text/html; charset=utf-8"}, 200, "text/html; charset=utf-8", "x"},
		{"no type", m{"Content": "x", "ContentType": ""}, 200, "", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &activity.HTTPExchange{}
			res, _, err := call(t, "WriteHttpResponse", c.in, x)
			a, ok := x.Answer()
			if err != nil || !ok || res.Outcomes != nil || a.Status != c.status || string(a.Body) != c.body || c.media != "" && a.Header.Get("Content-Type") != c.media {
				t.Errorf("%+v, %v, %+v", a, err, res)
			}
		})
	}
	t.Run("headers", func(t *testing.T) {
		x := &activity.HTTPExchange{}
		res, _, err := call(t, "WriteHttpResponse", m{"ResponseHeaders": m{"x-a": "b", "Set-Cookie": []any{"a=1", "b=2"}, "Content-Length": "99", "X-N": 3.0}}, x)
		a, _ := x.Answer()
		if err != nil || a.Header.Get("X-A") != "b" || len(a.Header["Set-Cookie"]) != 2 || a.Header.Get("Content-Length") != "" || a.Header.Get("X-N") != "3" || res.Data["Headers not sent"] != "Content-Length" {
			t.Errorf("%v, %v, %v", a.Header, res, err)
		}
	})
	for name, in := range map[string]m{
		"ResponseHeaders": {"ResponseHeaders": m{"X": "CANARY\r\nSet-Cookie: a=1"}}, "ResponseHeaders name": {"ResponseHeaders": m{"X\r\nY": "b"}}, "ContentType": {"ContentType": "text/plain\nX: y"},
		"StatusCode": {"StatusCode": "100"}, "StatusCode large": {"StatusCode": "999"}, "CharSet": {"Content": "x", "CharSet": "nonsense"}, "CharSet lacks": {"Content": "→", "CharSet": "iso-8859-1"}, "CharSet injects": {"Content": "x", "CharSet": "utf-8\r\nX: y"},
	} {
		x := &activity.HTTPExchange{}
		_, _, err := call(t, "WriteHttpResponse", in, x)
		if field, _, _ := strings.Cut(name, " "); err == nil || !strings.HasPrefix(err.Error(), field) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("S33 %s: %v", name, err)
		}
		if _, ok := x.Answer(); ok {
			t.Errorf("%s: it was written all the same", name)
		}
	}
	t.Run("once", func(t *testing.T) {
		x := &activity.HTTPExchange{}
		call(t, "WriteHttpResponse", m{"Content": "first"}, x)
		for typ, in := range map[string]m{"WriteHttpResponse": {"Content": "second"}, "Redirect": {"Location": "/"}} {
			if _, _, err := call(t, typ, in, x); !errors.Is(err, activity.ErrAnswered) {
				t.Errorf("%s: %v", typ, err)
			}
		}
		if a, _ := x.Answer(); string(a.Body) != "first" {
			t.Errorf("%s", a.Body)
		}
	})
	t.Run("nobody called", func(t *testing.T) {
		for typ, in := range map[string]m{"WriteHttpResponse": {"Content": "x"}, "Redirect": {"Location": "/"}} {
			if res, _, err := call(t, typ, in, nil); err != nil || res.Outcomes != nil {
				t.Errorf("%s: %+v, %v", typ, res, err)
			}
		}
	})
}

func TestRedirect(t *testing.T) {
	for in, want := range map[string]string{" /home\n": "/home", "https://a.example/x y?z=\"1\"": "https://a.example/x%20y?z=%221%22", "/x\r\nSet-Cookie: a=1": "/x%0D%0ASet-Cookie:%20a=1"} {
		for permanent, status := range map[bool]int{false: 302, true: 301} {
			x := &activity.HTTPExchange{}
			_, _, err := call(t, "Redirect", m{"Location": in, "Permanent": permanent}, x)
			a, _ := x.Answer()
			if err != nil || a.Status != status || a.Header.Get("Location") != want {
				t.Errorf("%q: %+v, %v", in, a, err)
			}
			if _, err := url.Parse(a.Header.Get("Location")); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestHttpEndpointActivity(t *testing.T) {
	s, _ := activity.NewRegistry(Specs()...).Lookup(Type)
	req := &model.Request{Path: "/x", Method: "GET", Headers: map[string]string{"Authorization": "Bearer token-in-header"}, QueryString: map[string]string{"api_key": "key-in-query"}}
	t.Run("first", func(t *testing.T) {
		c, run := activitytest.New(t, s, m{"Path": "/x"})
		c.First, c.Input, c.HTTP = true, req.Object(), &activity.HTTPExchange{Request: req}
		res, err := s.Run(t.Context(), c)
		if err != nil || res.Outputs["Output"] != c.Input || res.Message != "GET /x" {
			t.Errorf("%+v, %v", res, err)
		}
		for _, want := range []string{"token-in-header", "key-in-query"} {
			if !slices.Contains(run.Secrets, want) {
				t.Errorf("told %q", run.Secrets)
			}
		}
	})
	t.Run("without a request it falls through", func(t *testing.T) {
		c, _ := activitytest.New(t, s, m{"Path": "/x"})
		c.First = true
		if res, err := s.Run(t.Context(), c); err != nil || res.Outputs["Output"] != nil || res.Suspend != nil {
			t.Errorf("%+v, %v", res, err)
		}
	})
	t.Run("later it waits for what the handler looks for", func(t *testing.T) {
		c, _ := activitytest.New(t, s, m{"Path": "Approve/{Id}/", "Methods": []any{"post", "GET"}})
		res, err := s.Run(t.Context(), c)
		w := newWorld(t, version("w", true, []workflow.Activity{endpoint("s", "/s", ""), endpoint("a", "Approve/{Id}/", `["post","GET"]`)}, "s>a"))
		want := w.Endpoints()[1].Key()
		if err != nil || res.Suspend == nil || res.Suspend.Key != want || want != "GET,POST /approve/{id}" {
			t.Errorf("%+v, %v; the handler looks for %q", res.Suspend, err, want)
		}
	})
	t.Run("resumed", func(t *testing.T) {
		c, _ := activitytest.New(t, s, m{"Path": "/x"})
		c.Resume = &activity.Resumption{Kind: activity.WaitHTTP, Input: req.Object()}
		if res, err := s.Run(t.Context(), c); err != nil || res.Outputs["Output"] != c.Resume.Input {
			t.Errorf("%+v, %v", res, err)
		}
	})
}
