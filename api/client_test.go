package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/freshet-dev/freshet/api"
)

// A rig is a Freshet server reduced to its token answers, and an API.
type rig struct {
	*httptest.Server
	api       *httptest.Server
	gen       atomic.Int64
	reads     atomic.Int64
	refreshes atomic.Int64
	cache     time.Duration // 0: cache_until is left out
	good      func(gen string) bool
	calls     []string
	bodies    []string
	mu        sync.Mutex
	status    int
	challenge string
}

func newRig(t testing.TB) *rig {
	r := &rig{cache: time.Hour, status: 401, good: func(string) bool { return true }}
	r.gen.Store(1)
	r.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.calls = append(r.calls, strings.Join(req.Header.Values("Authorization"), ",")+" "+req.RequestURI)
		r.bodies = append(r.bodies, string(b))
		r.mu.Unlock()
		if !r.good(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer at-")) {
			if r.challenge != "" {
				w.Header().Set("WWW-Authenticate", r.challenge)
			}
			w.WriteHeader(r.status)
			return
		}
		io.WriteString(w, "ok")
	}))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer fk_test" {
			w.WriteHeader(401)
			return
		}
		switch {
		case strings.HasSuffix(req.URL.Path, "/token"):
			r.reads.Add(1)
		case strings.HasSuffix(req.URL.Path, "/refresh"):
			var in struct {
				Rejected int64 `json:"rejected_generation"`
			}
			json.NewDecoder(req.Body).Decode(&in)
			if r.gen.CompareAndSwap(in.Rejected, in.Rejected+1) {
				r.refreshes.Add(1)
			}
		}
		if strings.Contains(req.URL.Path, "/lost/") {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(409)
			io.WriteString(w, `{"type":"x","title":"t","status":409,"detail":"nobody authorized it","hint":"freshet connect lost","state":"reauth","reason":"never_authorized"}`)
			return
		}
		g := r.gen.Load()
		now := time.Now().UTC()
		out := map[string]any{"access_token": fmt.Sprintf("at-%d", g), "token_type": "Bearer", "generation": g, "expires_at": now.Add(2 * time.Hour),
			"use": map[string]any{"hosts": []string{r.api.URL}, "inject": []any{map[string]string{"in": "header", "name": "Authorization", "value": fmt.Sprintf("Bearer at-%d", g)}}, "rejected": map[string]any{"status": []int{401}}}}
		if r.cache > 0 {
			out["cache_until"] = now.Add(r.cache)
		}
		json.NewEncoder(w).Encode(out)
	}))
	t.Cleanup(func() { r.Server.Close(); r.api.Close() })
	return r
}

func (r *rig) client() *api.Client { return api.New(r.URL, "fk_test") }

func TestToken(t *testing.T) {
	ctx := context.Background()
	t.Run("is asked for once and then read from memory, without an allocation", func(t *testing.T) {
		r := newRig(t)
		c := r.client()
		first, err := c.Token(ctx, "crm")
		if err != nil || first.AccessToken != "at-1" {
			t.Fatalf("%+v, %v", first, err)
		}
		if n := testing.AllocsPerRun(1000, func() { c.Token(ctx, "crm", api.MinTTL(time.Minute)) }); n != 0 {
			t.Errorf("%v allocations a read", n)
		}
		if n := r.reads.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("longer life than it has is asked for again", func(t *testing.T) {
		r := newRig(t)
		c := r.client()
		c.Token(ctx, "crm")
		if _, err := c.Token(ctx, "crm", api.MinTTL(3*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if n := r.reads.Load(); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("a crowd shares one request", func(t *testing.T) {
		r := newRig(t)
		c := r.client()
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				if _, err := c.Token(ctx, "crm"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := r.reads.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("without cache_until it is asked for each time", func(t *testing.T) {
		r := newRig(t)
		r.cache = 0
		c := r.client()
		for range 3 {
			c.Token(ctx, "crm")
		}
		if n := r.reads.Load(); n != 3 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("a connection without a token is a Problem with a hint", func(t *testing.T) {
		_, err := newRig(t).client().Token(ctx, "lost")
		var p *api.Problem
		if !errors.As(err, &p) || p.State != "reauth" || p.Hint == "" || p.RetryAfter != 7*time.Second {
			t.Errorf("err = %#v", err)
		}
	})
	t.Run("no server is an UnreachableError with a hint", func(t *testing.T) {
		r := newRig(t)
		r.Server.Close()
		_, err := r.client().Token(ctx, "crm")
		var u *api.UnreachableError
		if !errors.As(err, &u) || u.Hint() == "" {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("TokenSource is x/oauth2's", func(t *testing.T) {
		r := newRig(t)
		src := r.client().TokenSource(ctx, "crm")
		a, err := src.Token()
		if err != nil || a.AccessToken != "at-1" || !a.Valid() {
			t.Fatalf("%+v, %v", a, err)
		}
		if b, _ := src.Token(); a != b {
			t.Error("the token was made anew")
		}
		res, err := oauth2.NewClient(ctx, src).Get(r.api.URL + "/me")
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		res.Body.Close()
	})
}

func TestHTTPClient(t *testing.T) {
	ctx := context.Background()
	t.Run("cap074 a refused token is renewed once and the request sent once more", func(t *testing.T) {
		r := newRig(t)
		r.good = func(gen string) bool { return gen == "2" }
		res, err := r.client().HTTPClient(ctx, "crm").Post(r.api.URL+"/a?x=1;y=2", "text/plain", strings.NewReader("body"))
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		res.Body.Close()
		want := []string{"Bearer at-1 /a?x=1;y=2", "Bearer at-2 /a?x=1;y=2"}
		if strings.Join(r.calls, "|") != strings.Join(want, "|") || strings.Join(r.bodies, "|") != "body|body" {
			t.Errorf("calls = %v, bodies = %v", r.calls, r.bodies)
		}
		if r.refreshes.Load() != 1 {
			t.Errorf("%d refreshes", r.refreshes.Load())
		}
	})
	t.Run("cap075 a second refusal goes to the caller", func(t *testing.T) {
		r := newRig(t)
		r.good = func(string) bool { return false }
		res, err := r.client().HTTPClient(ctx, "crm").Get(r.api.URL + "/a")
		if err != nil || res.StatusCode != 401 {
			t.Fatal(res, err)
		}
		res.Body.Close()
		if len(r.calls) != 2 {
			t.Errorf("%d calls", len(r.calls))
		}
	})
	t.Run("cap036 403 and insufficient_scope are no refusals of the token", func(t *testing.T) {
		for _, how := range []func(*rig){func(r *rig) { r.status = 403 }, func(r *rig) { r.challenge = `Bearer error="insufficient_scope"` }} {
			r := newRig(t)
			r.good = func(string) bool { return false }
			how(r)
			res, err := r.client().HTTPClient(ctx, "crm").Get(r.api.URL + "/a")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if len(r.calls) != 1 || r.refreshes.Load() != 0 {
				t.Errorf("%d calls, %d refreshes", len(r.calls), r.refreshes.Load())
			}
		}
	})
	t.Run("S27 the token goes to no other host", func(t *testing.T) {
		r := newRig(t)
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") }))
		defer other.Close()
		_, err := r.client().HTTPClient(ctx, "crm").Get(other.URL)
		var h *api.HostError
		if !errors.As(err, &h) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("S22 a redirect to another host is handed out", func(t *testing.T) {
		r := newRig(t)
		hop := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/", 302))
		defer hop.Close()
		r.api.Config.Handler = hop.Config.Handler
		res, err := r.client().HTTPClient(ctx, "crm").Get(r.api.URL)
		if err != nil || res.StatusCode != 302 {
			t.Fatal(res, err)
		}
		res.Body.Close()
	})
	t.Run("F83 a body that cannot be sent again is not", func(t *testing.T) {
		r := newRig(t)
		r.good = func(gen string) bool { return gen == "2" }
		hc := r.client().HTTPClient(ctx, "crm")
		pr, pw := io.Pipe()
		go func() { io.WriteString(pw, "stream"); pw.Close() }()
		res, err := hc.Post(r.api.URL, "text/plain", pr)
		if err != nil || res.StatusCode != 401 || len(r.calls) != 1 {
			t.Fatal(res, err, r.calls)
		}
		res.Body.Close()
		if res, err = hc.Get(r.api.URL); err != nil || res.StatusCode != 200 {
			t.Fatal("the next call:", res, err)
		}
		res.Body.Close()
	})
	t.Run("S26 the caller's own header gives way", func(t *testing.T) {
		r := newRig(t)
		req, _ := http.NewRequest("GET", r.api.URL+"/a", nil)
		req.Header["Authorization"] = []string{"Basic x", "Bearer y"}
		res, err := r.client().HTTPClient(ctx, "crm").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if r.calls[0] != "Bearer at-1 /a" {
			t.Errorf("call = %q", r.calls[0])
		}
		if len(req.Header["Authorization"]) != 2 {
			t.Error("the caller's request was changed")
		}
	})
}

// The pair of benchmarks behind the figure for cached reads.
func BenchmarkCachedRead(b *testing.B) {
	r := newRig(b)
	c := r.client()
	ctx := context.Background()
	if _, err := c.Token(ctx, "crm"); err != nil {
		b.Fatal(err)
	}
	reuse := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "x", Expiry: time.Now().Add(time.Hour)}, nil)
	for _, par := range []int{1, 64} {
		b.Run(fmt.Sprintf("api/%d", par), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(par)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c.Token(ctx, "crm")
				}
			})
		})
		b.Run(fmt.Sprintf("oauth2/%d", par), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(par)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					reuse.Token()
				}
			})
		})
	}
}
