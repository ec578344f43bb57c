package outbound

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/activity/activitytest"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

type m = map[string]any

func TestWhatIsSent(t *testing.T) {
	a := newAPI(t, nil)
	o := local(t)
	type want struct {
		method, uri, body string
		header            map[string]string // "": must not be there
	}
	for _, c := range []struct {
		name string
		in   m
		want want
	}{
		{"blank method is GET, without a body", m{"Url": "  " + a.URL + "/x\n", "Content": "lost"},
			want{"GET", "/x", "", map[string]string{"Content-Type": "", "User-Agent": "freshet"}}},
		{"path and query byte for byte", m{"Url": a.URL + "/a%2Fb//c/../d;e?user_field_names=true&a=1;b=2&c=x+y%20z"},
			want{"GET", "/a%2Fb//c/../d;e?user_field_names=true&a=1;b=2&c=x+y%20z", "", nil}},
		{"what cannot stand in a URL is encoded", m{"Url": a.URL + "/a b/é?q=\"x\"&r={1}&p=100%&n=1\r\nX: y"},
			want{"GET", "/a%20b/%C3%A9?q=%22x%22&r=%7B1%7D&p=100%25&n=1%0D%0AX:%20y", "", map[string]string{"X": ""}}},
		{"a fragment is not sent", m{"Url": a.URL + "/x?y=1#frag"}, want{"GET", "/x?y=1", "", nil}},
		{"cap002 one Authorization with its prefix", m{"Url": a.URL, "Authorization": "Bearer abc", "RequestHeaders": m{"authorization": "Basic other"}},
			want{"GET", "/", "", map[string]string{"Authorization": "Bearer abc"}}},
		{"cap004 any header", m{"Url": a.URL, "RequestHeaders": m{"X-Api-Key": "k1", "Accept": "a/b, c/d", "X-Count": float64(3), "X-List": []any{"a", "b"}, "X-Blank": nil}},
			want{"GET", "/", "", map[string]string{"X-Api-Key": "k1", "Accept": "a/b, c/d", "X-Count": "3", "X-List": "a, b"}}},
		{"a secret that is none sends no header", m{"Url": a.URL, "Authorization": ""}, want{"GET", "/", "", map[string]string{"Authorization": ""}}},
		{"white space around a token", m{"Url": a.URL, "Authorization": " Bearer   abc\n"}, want{"GET", "/", "", map[string]string{"Authorization": "Bearer abc"}}},
		{"cap005 POST with body and type", m{"Url": a.URL, "Method": "POST", "Content": `{"a":1}`, "ContentType": "application/json"},
			want{"POST", "/", `{"a":1}`, map[string]string{"Content-Type": "application/json; charset=utf-8"}}},
		{"cap005 put in small letters", m{"Url": a.URL, "Method": "put", "Content": "x", "ContentType": "text/plain"},
			want{"PUT", "/", "x", map[string]string{"Content-Type": "text/plain; charset=utf-8"}}},
		{"cap005 DELETE with a body", m{"Url": a.URL, "Method": "DELETE", "Content": "x"}, want{"DELETE", "/", "x", map[string]string{"Content-Type": "text/plain; charset=utf-8"}}},
		{"a charset that is there stays", m{"Url": a.URL, "Method": "POST", "Content": "x", "ContentType": "text/xml; charset=us-ascii"},
			want{"POST", "/", "x", map[string]string{"Content-Type": "text/xml; charset=us-ascii"}}},
		{"type from the headers", m{"Url": a.URL, "Method": "POST", "Content": "{}", "RequestHeaders": m{"Content-Type": "application/json"}},
			want{"POST", "/", "{}", map[string]string{"Content-Type": "application/json; charset=utf-8"}}},
		{"an object is JSON", m{"Url": a.URL, "Method": "POST", "Content": m{"a": "<&>"}},
			want{"POST", "/", `{"a":"<&>"}`, map[string]string{"Content-Type": "application/json; charset=utf-8"}}},
		{"JSON that came in keeps its order", m{"Url": a.URL, "Method": "POST", "Content": model.JSON(`{"z":1,"a":12345678901234567890}`)},
			want{"POST", "/", `{"z":1,"a":12345678901234567890}`, nil}},
		{"an object as a form", m{"Url": a.URL, "Method": "POST", "Content": m{"grant_type": "password", "password": "a+b&c=d é"}, "ContentType": "application/x-www-form-urlencoded"},
			want{"POST", "/", "grant_type=password&password=a%2Bb%26c%3Dd+%C3%A9", map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}}},
		{"bytes as they are", m{"Url": a.URL, "Method": "POST", "Content": []byte("\x00\xff"), "ContentType": "application/pdf"},
			want{"POST", "/", "\x00\xff", map[string]string{"Content-Type": "application/pdf"}}},
		{"blank text is no body", m{"Url": a.URL, "Method": "POST", "Content": " \n", "ContentType": "application/json"},
			want{"POST", "/", "", map[string]string{"Content-Type": ""}}},
		{"what the transport writes is not the workflow's", m{"Url": a.URL, "RequestHeaders": m{"Host": "evil.example", "Content-Length": "5", "Transfer-Encoding": "chunked", "Connection": "Authorization", "Proxy-Authorization": "x"}},
			want{"GET", "/", "", map[string]string{"Transfer-Encoding": "", "Connection": "", "Proxy-Authorization": ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, _, err := do(t, o, "SendHttpRequest", c.in)
			if err != nil {
				t.Fatal(err)
			}
			r, body := a.last(t)
			if r.Method != c.want.method || r.RequestURI != c.want.uri || body != c.want.body {
				t.Errorf("%s %s %q, want %s %s %q", r.Method, r.RequestURI, body, c.want.method, c.want.uri, c.want.body)
			}
			if r.Host != strings.TrimPrefix(a.URL, "http://") {
				t.Errorf("Host %q", r.Host)
			}
			for name, v := range c.want.header {
				if got := r.Header[http.CanonicalHeaderKey(name)]; v == "" && len(got) > 0 || v != "" && !slices.Equal(got, []string{v}) {
					t.Errorf("%s: %q, want %q", name, got, v)
				}
			}
			if c.name[:4] == "what" && strings.Contains(c.name, "transport") && res.Data["Headers not sent"] == nil {
				t.Error("the journal does not say what was left out")
			}
		})
	}
}

func TestWhatIsNeverSent(t *testing.T) {
	a := newAPI(t, nil)
	o := local(t)
	host := strings.TrimPrefix(a.URL, "http://")
	for _, c := range []struct {
		name, field string
		in          m
	}{
		{"S33 line break in a header", "RequestHeaders", m{"Url": a.URL, "RequestHeaders": m{"X": "CANARY\r\nY: z"}}},
		{"S33 line feed in Authorization", "Authorization", m{"Url": a.URL, "Authorization": "Bearer CANARY\nY: z"}},
		{"S33 NUL in a header", "RequestHeaders", m{"Url": a.URL, "RequestHeaders": m{"X": "CANARY\x00"}}},
		{"S33 more than ASCII", "Authorization", m{"Url": a.URL, "Authorization": "Bearer CANARYé"}},
		{"S33 in a list", "RequestHeaders", m{"Url": a.URL, "RequestHeaders": m{"X": []any{"a", "CANARY\r\n" + "b"}}}},
		{"S33 name of a header", "RequestHeaders", m{"Url": a.URL, "RequestHeaders": m{"X: y\r\nZ": "CANARY"}}},
		{"S33 type", "Content", m{"Url": a.URL, "Method": "POST", "Content": "x", "ContentType": "text/plain\r\nX: CANARY"}},
		{"an object as a header", "RequestHeaders", m{"Url": a.URL, "RequestHeaders": m{"X": m{"a": "CANARY"}}}},
		{"S33 method", "Method", m{"Url": a.URL, "Method": "GET / HTTP/1.1\r\nX: CANARY"}},
		{"CONNECT", "Method", m{"Url": a.URL, "Method": "connect"}},
		{"TRACE", "Method", m{"Url": a.URL, "Method": "TRACE"}},
		{"blank URL", "Url", m{"Url": " \n"}},
		{"no URL", "Url", m{}},
		{"relative URL", "Url", m{"Url": "/path?key=CANARY"}},
		{"S21 user information", "Url", m{"Url": "http://user:CANARY@" + host + "/"}},
		{"S21 trailing dot", "Url", m{"Url": "http://localhost./"}},
		{"S21 decimal address", "Url", m{"Url": "http://2130706433/"}},
		{"S21 backslash host", "Url", m{"Url": "http:\\\\" + host + "/"}},
		{"S21 line break in the host", "Url", m{"Url": "http://127.0.0.1\r\n.evil/"}},
		{"S20 file", "Url", m{"Url": "file:///etc/passwd"}},
		{"S20 gopher", "Url", m{"Url": "gopher://" + host + "/"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := do(t, o, "SendHttpRequest", c.in, Failed)
			fe, ok := errors.AsType[*FieldError](err)
			if !ok || fe.Field != c.field || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("error %v, want one of field %s without the value", err, c.field)
			}
		})
	}
	if a.count() != 0 {
		t.Errorf("%d requests arrived", a.count())
	}
}

func TestOutcomes(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.URL.Query().Get("s"), &code)
		w.WriteHeader(code)
	})
	o := local(t)
	codes := func(n ...int64) []int64 { return append([]int64{}, n...) }
	for _, c := range []struct {
		name   string
		status int
		codes  []int64 // nil: the field is not there
		want   []string
	}{
		{"cap101 200 takes its own branch", 200, nil, []string{"Done", "200"}},
		{"cap103 201 is not 200", 201, nil, []string{"Done", "201", Unsupported}},
		{"cap103 404", 404, codes(200), []string{"Done", "404", Unsupported}},
		{"cap103 500", 500, codes(200), []string{"Done", "500", Unsupported}},
		{"several codes", 403, codes(204, 403), []string{"Done", "403"}},
		{"an empty list expects everything", 500, codes(), []string{"Done", "500"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := m{"Url": fmt.Sprintf("%s/?s=%d", a.URL, c.status)}
			if c.codes != nil {
				in["SupportedStatusCodes"] = c.codes
			}
			res, _, err := do(t, o, "SendHttpRequest", in)
			if err != nil || !slices.Equal(res.Outcomes, c.want) {
				t.Errorf("%q, %v; want %q", res.Outcomes, err, c.want)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	type answer struct {
		status      int
		media, body string
	}
	for _, c := range []struct {
		name   string
		answer answer
		parser string
		want   any
	}{
		{"JSON", answer{200, "application/json; charset=utf-8", `{"b":1,"a":[2]}`}, "", model.JSON(`{"b":1,"a":[2]}`)},
		{"JSON list", answer{200, "text/json", `[1]`}, "", model.JSON(`[1]`)},
		{"JSON scalar", answer{200, "application/json", `"x"`}, "", "x"},
		{"any +json", answer{200, "application/problem+json", `{}`}, "", model.JSON(`{}`)},
		{"JSON that is none", answer{200, "application/json", `<html>`}, "", "<html>"},
		{"no body", answer{200, "application/json", ``}, "", nil},
		{"cap104 not a success is text", answer{404, "application/json", `{"error":"x"}`}, "", `{"error":"x"}`},
		{"XML", answer{200, "application/xml", `<a><b>1</b></a>`}, "", m{"a": m{"b": "1"}}},
		{"text", answer{200, "text/html", `<p>`}, "", "<p>"},
		{"text without a type", answer{200, "", `x`}, "", "x"},
		{"charset", answer{200, "text/plain; charset=iso-8859-1", "caf\xe9"}, "", "café"},
		{"bytes", answer{200, "application/octet-stream", "\x00\xff"}, "", []byte("\x00\xff")},
		{"pdf", answer{200, "application/pdf", "%PDF"}, "", []byte("%PDF")},
		{"Plain Text", answer{200, "application/json", `{}`}, "Plain Text", "{}"},
		{"the old name JSON is Plain Text", answer{200, "application/json", `{}`}, "JSON", "{}"},
		{"Expando Object parses", answer{200, "text/plain", `{"a":1}`}, "Expando Object", model.JSON(`{"a":1}`)},
		{"File", answer{200, "text/plain", `x`}, "File", []byte("x")},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Type"] = nil
				if c.answer.media != "" {
					w.Header().Set("Content-Type", c.answer.media)
				}
				w.Header().Add("X-Two", "1")
				w.Header().Add("X-Two", "2")
				w.WriteHeader(c.answer.status)
				w.Write([]byte(c.answer.body))
			})
			in := m{"Url": a.URL, "ReadContent": true, "ResponseContentParserName": c.parser}
			res, _, err := do(t, local(t), "SendHttpRequest", in)
			if err != nil {
				t.Fatal(err)
			}
			if got := res.Outputs["ResponseContent"]; !reflect.DeepEqual(got, c.want) {
				t.Errorf("%#v, want %#v", got, c.want)
			}
			resp := res.Outputs["Response"].(*model.Object)
			if s, _ := resp.Get("statusCode"); s != int64(c.answer.status) {
				t.Errorf("status %v", s)
			}
			if h, _ := resp.Get("Headers"); !reflect.DeepEqual(h.(m)["X-Two"], []any{"1", "2"}) {
				t.Errorf("headers %v", h)
			}
			in["ReadContent"] = false
			if res, _, err = do(t, local(t), "SendHttpRequest", in); err != nil || res.Outputs["ResponseContent"] != nil {
				t.Errorf("without ReadContent: %v, %v", res.Outputs, err)
			}
		})
	}
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<")) })
	for _, parser := range []string{"JToken", "Nonsense"} {
		if _, _, err := do(t, local(t), "SendHttpRequest", m{"Url": a.URL, "ReadContent": true, "ResponseContentParserName": parser}); err == nil {
			t.Errorf("%s parsed it", parser)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	o := local(t)
	o.MaxBody, o.Timeout = 1000, 300*time.Millisecond
	stall := make(chan struct{})
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stall":
			<-stall
		case "/drip":
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-stall
		case "/cut":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("x"))
		case "/large":
			w.Write(make([]byte, 1001))
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write(make([]byte, 1<<20))
			z.Close()
		case "/fits":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write([]byte("small"))
			z.Close()
		}
	})
	t.Cleanup(func() { close(stall) }) // before the server is closed, which waits for its handlers
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	host := strings.TrimPrefix(a.URL, "http://")
	for _, c := range []struct{ name, url, cause, text string }{
		{"nobody listens", "http://" + closed + "/p?key=CANARY", "refused", closed + ": the host refuses"},
		{"no answer in time", a.URL + "/stall?key=CANARY", "timeout", host + ": no answer in time"},
		{"no end in time", a.URL + "/drip?key=CANARY", "timeout", "no answer in time"},
		{"cut off", a.URL + "/cut?key=CANARY", "closed", "before the answer was complete"},
		{"too large", a.URL + "/large?key=CANARY", "too-large", "larger than 1000 bytes"},
		{"S39 larger than it looks", a.URL + "/bomb?key=CANARY", "too-large", "larger than 1000 bytes"},
		{"S17 an address inside", "https://10.1.2.3/p?key=CANARY", "denied", "10.1.2.3: the target is not one"},
		{"S19 metadata", "http://169.254.169.254/latest/meta-data", "denied", "not one that this server may connect to"},
		{"S20 an unusual port", "https://93.184.215.14:22/", "denied", "not one that this server may connect to"},
		{"S20 plain http outside", "http://93.184.215.14/", "denied", "not one that this server may connect to"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := do(t, o, "SendHttpRequest", m{"Url": c.url, "ReadContent": true})
			u, ok := errors.AsType[*UnreachableError](err)
			if !ok || u.Cause != c.cause || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("%v (%+v), want %s: …%s…", err, u, c.cause, c.text)
			}
			res, _, err := do(t, o, "SendHttpRequest", m{"Url": c.url, "ReadContent": true}, Failed)
			if err != nil || !slices.Equal(res.Outcomes, []string{Failed}) || !strings.Contains(fmt.Sprint(res.Outputs["FailReason"]), c.text) {
				t.Errorf("with a way on: %+v, %v", res, err)
			}
		})
	}
	if res, _, err := do(t, o, "SendHttpRequest", m{"Url": a.URL + "/fits", "ReadContent": true}); err != nil || res.Outputs["ResponseContent"] != "small" {
		t.Errorf("compressed: %v, %v", res.Outputs, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the run was cancelled")
	cancel(stop)
	if _, err := o.Send(ctx, Fields{URL: a.URL}); !errors.Is(err, stop) {
		t.Errorf("a stopped run: %v", err)
	}
	if _, err := (Options{}).Send(t.Context(), Fields{URL: a.URL}); err == nil {
		t.Error("sent without a transport")
	}
}

func TestRedirects(t *testing.T) {
	other := newAPI(t, nil)
	var here *api
	here = newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			var code int
			fmt.Sscan(r.URL.Query().Get("s"), &code)
			w.Header().Set("Location", to)
			w.WriteHeader(code)
		}
	})
	o := local(t)
	for _, c := range []struct {
		name           string
		code           int
		method, to     string
		status         int    // that the workflow sees
		arrives        string // METHOD of the second request; "": there is none
		body, personal bool   // what arrives with it
	}{
		{"303 makes it GET", 303, "POST", here.URL + "/end", 200, "GET", false, true},
		{"302 after POST makes it GET", 302, "POST", "/end", 200, "GET", false, true},
		{"302 after PUT stays", 302, "PUT", "/end", 200, "PUT", true, true},
		{"307 keeps the body", 307, "POST", "/end", 200, "POST", true, true},
		{"a GET to another origin goes without credentials", 302, "GET", other.URL + "/end", 200, "GET", false, false},
		{"303 to another origin goes without credentials", 303, "POST", other.URL + "/end", 200, "GET", false, false},
		{"S12 307 takes no body to another origin", 307, "POST", other.URL + "/end", 307, "", false, false},
		{"S12 308 takes no body to another origin", 308, "PUT", other.URL + "/end", 308, "", false, false},
		{"S22 a scheme that is none", 302, "GET", "file:///etc/passwd", 302, "", false, false},
		{"300 without where", 300, "GET", " ", 300, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := []int{here.count(), other.count()}
			res, _, err := do(t, o, "SendHttpRequest", m{"Method": c.method, "Url": fmt.Sprintf("%s/begin?s=%d&to=%s", here.URL, c.code, url.QueryEscape(c.to)), "Content": "body", "ReadContent": true,
				"Authorization": "Bearer secret-token", "RequestHeaders": m{"Cookie": "a=1", "X-Api-Key": "k", "Accept": "x/y"}, "SupportedStatusCodes": []int64{}})
			if err != nil {
				t.Fatal(err)
			}
			if s, _ := res.Outputs["Response"].(*model.Object).Get("StatusCode"); s != int64(c.status) {
				t.Errorf("status %v, want %d", s, c.status)
			}
			hops := here.count() + other.count() - before[0] - before[1]
			if c.arrives == "" {
				if hops != 1 {
					t.Errorf("%d requests", hops)
				}
				return
			}
			last := here
			if other.count() > before[1] {
				last = other
			}
			r, body := last.last(t)
			if hops != 2 || r.Method != c.arrives || r.URL.Path != "/end" || (body == "body") != c.body {
				t.Errorf("%d requests, the last %s %s %q", hops, r.Method, r.URL, body)
			}
			for _, name := range []string{"Authorization", "Cookie", "X-Api-Key"} {
				if (r.Header.Get(name) != "") != c.personal {
					t.Errorf("%s: %q", name, r.Header.Get(name))
				}
			}
			if r.Header.Get("Accept") != "x/y" {
				t.Errorf("Accept: %q", r.Header.Get("Accept"))
			}
		})
	}
	t.Run("S22 to a target inside", func(t *testing.T) {
		_, _, err := do(t, o, "SendHttpRequest", m{"Url": here.URL + "/begin?s=302&to=http%3A%2F%2F169.254.169.254%2F"})
		if !errors.Is(err, dial.ErrDenied) {
			t.Errorf("%v", err)
		}
	})
	t.Run("round and round", func(t *testing.T) {
		loop := newAPI(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
		res, _, err := do(t, o, "SendHttpRequest", m{"Url": loop.URL})
		if err != nil || res.Outcomes[1] != "302" || loop.count() != maxRedirects+1 {
			t.Errorf("%v, %v, %d requests", res.Outcomes, err, loop.count())
		}
	})
}

func TestSecretsAreTold(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: "cookie-value-1"})
		w.Write([]byte(`{"authToken":"issued-token-1","expiresInMinutes":60,"user":{"refresh_token":"issued-refresh-1","name":"somebody"}}`))
	})
	in := m{"Url": a.URL, "Method": "POST", "ReadContent": true, "Content": `{"username":"wow","password":"login-password"}`,
		"Authorization": "Basic d293Om15LXBhc3M=", "RequestHeaders": m{"X-Api-Key": "api-key-value", "Accept": "application/json"}}
	_, run, err := do(t, local(t), "SendHttpRequest", in)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"issued-token-1", "issued-refresh-1", "login-password", "d293Om15LXBhc3M=", "api-key-value", "cookie-value-1"} {
		if !slices.Contains(run.Secrets, want) {
			t.Errorf("the run was not told of %s", want)
		}
	}
	for _, not := range []string{"somebody", "wow", "application/json"} {
		if slices.Contains(run.Secrets, not) {
			t.Errorf("%s is taken for a secret", not)
		}
	}
	// A value that the Secret syntax gave is opened on its way out.
	in["Authorization"] = freshet.NewSecret("Bearer from-the-vault")
	if _, run, err = do(t, local(t), "SendHttpRequest", in); err != nil {
		t.Fatal(err)
	}
	r, _ := a.last(t)
	if r.Header.Get("Authorization") != "Bearer from-the-vault" || !slices.Contains(run.Secrets, "from-the-vault") {
		t.Errorf("Authorization %q, told %q", r.Header.Get("Authorization"), run.Secrets)
	}
}

func TestExamples(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header()["Date"] = nil
		w.Write([]byte(`{"ok":true}`))
	})
	o := local(t)
	o.Connections = accounts{"crm": newAccount("crm", &freshet.API{BaseURL: a.URL})}
	activitytest.Examples(t, Specs(o), func(c *activity.Call) {
		if u, ok := c.In["Url"].(string); ok {
			c.In["Url"] = strings.Replace(u, "https://api.example", a.URL, 1)
		}
	})
}

func TestRedirectsStayEncrypted(t *testing.T) {
	r, err := build(Fields{URL: "https://api.example/begin"})
	if err != nil {
		t.Fatal(err)
	}
	to := func(where string) *request {
		return r.redirected(&http.Response{StatusCode: 302, Header: http.Header{"Location": {where}}})
	}
	if next := to("http://api.example/end"); next != nil {
		t.Errorf("follows to %s", next.url)
	}
	if next := to("//other.example/end?x=ä#f"); next == nil || next.url.String() != "https://other.example/end?x=%C3%A4" {
		t.Errorf("%+v", next)
	}
}

func TestNoListExpects200(t *testing.T) {
	if got := outcomes(404, nil, nil); !slices.Equal(got, []string{"Done", "404", Unsupported}) {
		t.Errorf("%q", got)
	}
	if got := outcomes(200, nil, nil); !slices.Equal(got, []string{"Done", "200"}) {
		t.Errorf("%q", got)
	}
}
