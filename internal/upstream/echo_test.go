package upstream

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/freshet-dev/freshet"
)

func TestS34_the_credential_is_not_echoed(t *testing.T) {
	const token = "tok/en+with=odd&chars"
	for _, tt := range []struct {
		name   string
		inject freshet.Injections
		body   func(r *http.Request) string
		want   string
		echoed bool
	}{
		{"S34 header dump", nil, func(r *http.Request) string { return "got " + r.Header.Get("Authorization") + "!" }, "got Bearer *********************!", true},
		{"S34 as JSON", nil, func(r *http.Request) string { return `{"t":"tok\/en+with=odd&chars"}` }, `{"t":"**********************"}`, true},
		{"S34 as JSON with HTML escapes", nil, func(r *http.Request) string { return `tok/en+with=odd\u0026chars` }, strings.Repeat("*", 26), true},
		{"S34 the query as it came", freshet.Injections{{Query: "t"}}, func(r *http.Request) string { return r.RequestURI }, "/?t=" + strings.Repeat("*", 29), true},
		{"S34 Basic", freshet.Injections{{Basic: "me", Template: "{{access_token}}"}}, func(r *http.Request) string { return r.Header.Get("Authorization") }, "Basic " + strings.Repeat("*", 32), true},
		{"S34 another credential", freshet.Injections{{Header: "Authorization"}, {Header: "X-Key", Template: "{{key}}"}}, func(r *http.Request) string { return "key " + r.Header.Get("X-Key") }, "key ************", true},
		{"S34 twice", nil, func(r *http.Request) string { return token + token }, strings.Repeat("*", 42), true},
		{"S34 nothing", nil, func(r *http.Request) string { return "tok/en+with=odd&char" }, "tok/en+with=odd&char", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newAPI(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Saw", strings.Join(r.Header["Authorization"], ""))
				w.Header().Set("Trailer", "X-Late")
				io.WriteString(w, tt.body(r))
				w.(http.Flusher).Flush()
				w.Header().Set("X-Late", token)
			})
			acc := newAccount(&freshet.API{BaseURL: api.URL, Inject: tt.inject, ScanEcho: true})
			acc.tok.Access = freshet.NewSecret(token)
			acc.def.Connection.Credentials = map[string]freshet.Secret{"key": freshet.NewSecret("s3cr3t-value")}
			got := do(t, newTransport(t), acc, &Call{Target: "/", Header: http.Header{"Accept-Encoding": {"gzip"}, "Range": {"bytes=0-3"}}})
			if got.body != tt.want {
				t.Errorf("body %q, want %q", got.body, tt.want)
			}
			for k, vv := range got.header {
				if strings.Contains(strings.Join(vv, ""), token) {
					t.Errorf("%s holds the token", k)
				}
			}
			if late := got.Response.Trailer.Get("X-Late"); late != strings.Repeat("*", len(token)) {
				t.Errorf("trailer %q", late)
			}
			if !got.Echoed() {
				t.Error("the trailer's echo was not noticed")
			}
			r, _ := api.call(0)
			if r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("Range") != "" {
				t.Errorf("asked for %q, %q", r.Header.Get("Accept-Encoding"), r.Header.Get("Range"))
			}
		})
	}
	t.Run("S34 an answer that cannot be searched is not passed on", func(t *testing.T) {
		api := newAPI(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Encoding", "gzip") })
		_, err := newTransport(t).Do(t.Context(), newAccount(&freshet.API{BaseURL: api.URL, ScanEcho: true}), &Call{Method: "GET"})
		if err == nil {
			t.Error("an encoded answer came through")
		}
	})
	t.Run("S34 without scan_echo answers pass as they are", func(t *testing.T) {
		api := newAPI(t, func(_ int, w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Authorization")) })
		if got := do(t, newTransport(t), newAccount(&freshet.API{BaseURL: api.URL}), &Call{}); got.body != "Bearer token-1" || got.Echoed() {
			t.Errorf("body %q", got.body)
		}
	})
}

// Wherever reads cut the body, the outcome is the same.
func TestScannerAcrossReads(t *testing.T) {
	const body = "aabaab abaabaaab secret secretsecre secret se"
	patterns := [][]byte{[]byte("secret"), []byte("abaab")}
	want := strings.ReplaceAll(strings.ReplaceAll(body, "secret", "******"), "abaab", "*****")
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"byte by byte": iotest.OneByteReader, "halves": iotest.HalfReader, "data with the error": iotest.DataErrReader, "whole": func(r io.Reader) io.Reader { return r },
	} {
		s := &scanner{resp: &http.Response{}, src: io.NopCloser(wrap(strings.NewReader(body))), patterns: patterns}
		got, err := io.ReadAll(wrap(s))
		if err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	s := &scanner{resp: &http.Response{}, src: io.NopCloser(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("ab")))), patterns: patterns}
	if got, err := io.ReadAll(s); err == nil || string(got) != "a" {
		t.Errorf("a body that breaks off: %q, %v", got, err)
	}
}

// Events are not held back for long: only what may be the token's beginning.
func TestScannerHoldsLittleBack(t *testing.T) {
	pr, pw := io.Pipe()
	s := &scanner{resp: &http.Response{}, src: pr, patterns: [][]byte{[]byte("secret")}}
	go func() {
		io.WriteString(pw, "data: 1\n\n")
		io.WriteString(pw, "data: sec")
		pw.Close()
	}()
	buf := make([]byte, 64)
	n, err := s.Read(buf)
	if err != nil || string(buf[:n]) != "data: 1\n\n" {
		t.Errorf("first read %q, %v", buf[:n], err)
	}
	rest, _ := io.ReadAll(s)
	if string(rest) != "data: sec" {
		t.Errorf("the rest %q", rest)
	}
}

func TestVerify(t *testing.T) {
	for _, tt := range []struct {
		name   string
		serve  func(int, http.ResponseWriter, *http.Request)
		verify *freshet.Verify
		ok     bool
		fresh  bool
		status int
	}{
		{"any success", nil, &freshet.Verify{Path: "/me"}, true, false, 200},
		{"the status asked for", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, &freshet.Verify{Path: "/me", Method: "HEAD", Status: []int{404}}, true, false, 404},
		{"another status", func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, &freshet.Verify{Path: "/me"}, false, false, 500},
		{"a dead token", refuseBelow(2, nil), &freshet.Verify{Path: "/me"}, true, true, 200},
		{"refused for good", refuseBelow(9, nil), &freshet.Verify{Path: "/me"}, false, true, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newAPI(t, tt.serve)
			// Callers may do next to nothing; verifying is the operator's.
			acc := newAccount(&freshet.API{BaseURL: api.URL, Verify: tt.verify, Paths: []string{"/other"}, Methods: []string{"PUT"}})
			v, err := newTransport(t).Verify(t.Context(), acc)
			if err != nil || v.OK != tt.ok || v.Refreshed != tt.fresh || v.Status != tt.status || (v.Detail == "") != tt.ok {
				t.Errorf("%+v, %v", v, err)
			}
			if r, _ := api.call(0); r.RequestURI != "/me" || r.Method != v.Method {
				t.Errorf("%s %s", r.Method, r.RequestURI)
			}
		})
	}
	if _, err := newTransport(t).Verify(t.Context(), newAccount(&freshet.API{BaseURL: "https://api.example"})); err == nil {
		t.Error("a connection without a verify request was verified")
	}
}

func TestRoundTripper(t *testing.T) {
	api, stray := newAPI(t, refuseBelow(2, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })), newAPI(t, nil)
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	client := &http.Client{Transport: newTransport(t).RoundTripper(acc)}
	resp, err := client.Post(api.URL+"/a%2Fb?x=1;y#here", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	r, body := api.call(1)
	if resp.StatusCode != 200 || acc.count() != 1 || r.RequestURI != "/a%2Fb?x=1;y" || body != "hello" || r.Header.Get("User-Agent") != "freshet" {
		t.Errorf("%d %q, %d refreshes, %s, %q", resp.StatusCode, b, acc.count(), r.RequestURI, body)
	}
	if _, err := client.Get(stray.URL); err == nil || stray.calls() != 0 {
		t.Errorf("a foreign host: %v, %d calls", err, stray.calls())
	}
}

func BenchmarkDo(b *testing.B) {
	tr := &Transport{o: Options{}, plain: canned{}}
	acc := &still{def: &freshet.Definition{ID: "c1", Connection: freshet.Connection{Name: "crm", API: &freshet.API{BaseURL: "https://api.example/v1"}}}, tok: &freshet.Token{Access: freshet.NewSecret("token"), Generation: 1}}
	h := http.Header{"Accept": {"application/json"}, "User-Agent": {"bench"}, "X-Request-Id": {"1"}}
	b.ReportAllocs()
	for b.Loop() {
		res, err := tr.Do(b.Context(), acc, &Call{Method: "GET", Target: "/things?x=1", Header: h})
		if err != nil {
			b.Fatal(err)
		}
		res.Close()
	}
}
