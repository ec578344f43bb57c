package upstream

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
)

// refuse answers 401 unless the request carries the token of generation gen or
// later.
func refuseBelow(gen int, h http.HandlerFunc) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, r *http.Request) {
		var got int
		fmt.Sscanf(r.Header.Get("Authorization"), "Bearer token-%d", &got)
		if got < gen {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			http.Error(w, fmt.Sprintf("refused %d", got), http.StatusUnauthorized)
			return
		}
		if h != nil {
			h(w, r)
		}
	}
}

func TestF79_refused_token_is_renewed_and_the_call_replayed(t *testing.T) {
	api := newAPI(t, refuseBelow(2, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "welcome") }))
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	tr := newTransport(t)
	send := http.Header{"X-Same": {"1"}, "Content-Type": {"text/plain"}}
	got := do(t, tr, acc, &Call{Method: "POST", Target: "/x?y=1", Header: send, Body: strings.NewReader("payload"), Length: 7})
	t.Run("F79 one refresh, two calls, the second answer", func(t *testing.T) {
		if acc.count() != 1 || api.calls() != 2 || got.status != 200 || got.body != "welcome" {
			t.Errorf("%d refreshes, %d calls, answer %d %q", acc.count(), api.calls(), got.status, got.body)
		}
		if !got.Refreshed || got.Rejected != 401 || got.Generation != 2 || got.NotReplayable {
			t.Errorf("result %+v", got.Result)
		}
	})
	t.Run("cap074 exactly two calls and one refresh", func(t *testing.T) {
		if acc.count() != 1 || api.calls() != 2 {
			t.Errorf("%d refreshes, %d calls", acc.count(), api.calls())
		}
	})
	t.Run("cap073 the second send differs in Authorization only", func(t *testing.T) {
		a, first := api.call(0)
		b, second := api.call(1)
		if first != "payload" || second != first {
			t.Errorf("bodies %q and %q", first, second)
		}
		if a.Method != b.Method || a.RequestURI != b.RequestURI || a.Host != b.Host || a.ContentLength != b.ContentLength {
			t.Errorf("%s %s, then %s %s", a.Method, a.RequestURI, b.Method, b.RequestURI)
		}
		a.Header.Del("Authorization")
		b.Header.Del("Authorization")
		if fmt.Sprint(a.Header) != fmt.Sprint(b.Header) {
			t.Errorf("headers differ:\n%v\n%v", a.Header, b.Header)
		}
	})
	t.Run("F79 a generation that is not the current one causes no refresh", func(t *testing.T) {
		stale := &late{account: acc, tok: acc.issue(1)}
		got := do(t, tr, stale, &Call{Target: "/x"})
		if acc.count() != 1 || got.status != 200 || !got.Refreshed {
			t.Errorf("%d refreshes, answer %d", acc.count(), got.status)
		}
	})
}

// late hands out a token that others have replaced meanwhile.
type late struct {
	*account
	tok *freshet.Token
}

func TestCap066_good_tokens_cause_no_refresh(t *testing.T) {
	t.Run("cap066 no refresh with a good token, exactly one after a refusal", testGoodTokens)
}

func testGoodTokens(t *testing.T) {
	api := newAPI(t, refuseBelow(1, nil))
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	tr := newTransport(t)
	for range 20 {
		do(t, tr, acc, &Call{Target: "/"})
	}
	if acc.count() != 0 || api.calls() != 20 {
		t.Errorf("%d refreshes for %d calls with a good token", acc.count(), api.calls())
	}
	api2 := newAPI(t, refuseBelow(2, nil))
	acc2 := newAccount(&freshet.API{BaseURL: api2.URL})
	acc2.def.ID = "c2"
	for range 20 {
		do(t, tr, acc2, &Call{Target: "/"})
	}
	if acc2.count() != 1 || api2.calls() != 21 {
		t.Errorf("%d refreshes, %d calls after one refusal, want 1 and 21", acc2.count(), api2.calls())
	}
}

func TestCap072_other_failures_reach_the_caller(t *testing.T) {
	t.Run("cap072 only a refusal refreshes", testOtherFailures)
}

func testOtherFailures(t *testing.T) {
	for _, status := range []int{400, 402, 403, 404, 407, 419, 429, 500, 502, 503} {
		api := newAPI(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Detail", "kept")
			w.WriteHeader(status)
			io.WriteString(w, "words")
		})
		acc := newAccount(&freshet.API{BaseURL: api.URL})
		got := do(t, newTransport(t), acc, &Call{Target: "/"})
		if acc.count() != 0 || api.calls() != 1 || got.status != status || got.body != "words" || got.header.Get("X-Detail") != "kept" || got.Rejected != 0 {
			t.Errorf("%d: %d refreshes, %d calls, answer %d %q", status, acc.count(), api.calls(), got.status, got.body)
		}
	}
}

func TestF80_fresh_tokens_that_are_refused(t *testing.T) {
	api := newAPI(t, refuseBelow(1000, nil))
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	tr := newTransport(t)
	got := do(t, tr, acc, &Call{Target: "/"})
	t.Run("F80 two calls, one refresh, the second answer as it came", func(t *testing.T) {
		if acc.count() != 1 || api.calls() != 2 || got.status != 401 || got.body != "refused 2\n" || got.header.Get("Www-Authenticate") == "" {
			t.Errorf("%d refreshes, %d calls, answer %d %q", acc.count(), api.calls(), got.status, got.body)
		}
		if len(acc.still) != 1 || acc.still[0] != 2 {
			t.Errorf("StillRejected was told %v, want [2]", acc.still)
		}
	})
	t.Run("cap075 no third call, both statuses are known", func(t *testing.T) {
		if api.calls() != 2 || got.Rejected != 401 || got.status != 401 || !got.Refreshed {
			t.Errorf("%d calls, first %d, second %d", api.calls(), got.Rejected, got.status)
		}
	})
	t.Run("F80 a thousand calls while forced refresh rests", func(t *testing.T) {
		for range 1000 {
			got = do(t, tr, acc, &Call{Target: "/"})
			if got.status != 401 || got.body != "refused 2\n" || !got.Resting || got.Refreshed {
				t.Fatalf("answer %d %q, %+v", got.status, got.body, got.Result)
			}
		}
		if acc.count() > 2 || api.calls() != 1002 {
			t.Errorf("%d refreshes, %d calls", acc.count(), api.calls())
		}
	})
}

// The table of F81: what a 401 or 403 with this WWW-Authenticate comes to.
func TestF81_challenges(t *testing.T) {
	for i, tt := range []struct {
		status int
		fields []string
		renew  bool
	}{
		{401, nil, true},
		{401, []string{``}, true},
		{401, []string{`Bearer`}, true},
		{401, []string{`Bearer realm="api"`}, true},
		{401, []string{`Bearer error="invalid_token"`}, true},
		{401, []string{`Bearer realm="api", error="invalid_token", error_description="The access token expired"`}, true},
		{401, []string{`Bearer error="insufficient_scope"`}, false},
		{401, []string{`bearer ERROR="insufficient_scope"`}, false},
		{401, []string{`Bearer error=insufficient_scope`}, false},
		{401, []string{`Bearer error = "insufficient_scope" , scope="a b"`}, false},
		{401, []string{`Bearer scope="read write",error="insufficient_scope"`}, false},
		{401, []string{`Bearer realm="a, error=\"insufficient_scope\""`}, true},
		{401, []string{`Bearer realm="error=insufficient_scope"`}, true},
		{401, []string{`Basic realm="x", Bearer error="insufficient_scope"`}, false},
		{401, []string{`Basic realm="x, y", Bearer realm="z", error="insufficient_scope"`}, false},
		{401, []string{`Basic realm="x"`, `Bearer error="insufficient_scope"`}, false},
		{401, []string{`Basic realm="gateway"`}, true},
		{401, []string{`Basic error="insufficient_scope"`}, true},
		{401, []string{`Negotiate YWJjZGVm==`, `Bearer error="insufficient_scope"`}, false},
		{401, []string{`Negotiate YWJjZGVm==, Bearer error="insufficient_scope"`}, false},
		{401, []string{`Digest qop="auth,auth-int", nonce="insufficient_scope"`}, true},
		{401, []string{`DPoP error="insufficient_scope", algs="ES256"`}, false},
		{401, []string{`DPoP algs="ES256", error="invalid_token"`}, true},
		{401, []string{`Bearer error="insufficient_scope", Bearer error="invalid_token"`}, true},
		{401, []string{`Bearer error="insufficient_scope`}, true},
		{401, []string{`,,, Bearer ,, error="insufficient_scope"`}, false},
		{401, []string{`Bearer error="insufficient\_scope"`}, false},
		{401, []string{`=,;"`, `Bearer error="insufficient_scope"`}, false},
		{403, nil, false},
		{403, []string{`Bearer error="invalid_token"`}, false},
		{403, []string{`Bearer error="insufficient_scope"`}, false},
		{403, []string{`Basic realm="x"`}, false},
	} {
		t.Run(fmt.Sprintf("F81 %d %d %q", i, tt.status, tt.fields), func(t *testing.T) {
			api := newAPI(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header()["Www-Authenticate"] = tt.fields
				w.WriteHeader(tt.status)
			})
			acc := newAccount(&freshet.API{BaseURL: api.URL})
			got := do(t, newTransport(t), acc, &Call{Target: "/"})
			if (acc.count() == 1) != tt.renew || got.status != tt.status {
				t.Errorf("%d refreshes, answer %d; want a refresh: %v", acc.count(), got.status, tt.renew)
			}
		})
	}
}

func TestF82_rejection_predicates(t *testing.T) {
	zip := func(s string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, s)
		z.Close()
		return b.String()
	}
	expired := `{"errcode":42001,"errmsg":"access_token expired"}`
	wechat := freshet.Rejection{Status: []int{200}, Body: "errcode in [40014, 42001]"}
	for _, tt := range []struct {
		name   string
		rule   freshet.Rejection
		own    *freshet.Rejection // of the connection's API
		status int
		header http.Header
		body   string
		renew  bool
	}{
		{"F82 default", freshet.Rejection{}, nil, 401, nil, "", true},
		{"F82 gateway without an API key", freshet.Rejection{Status: []int{401}, Body: `error == "expired_token"`}, nil, 401, nil, `{"error":"missing_api_key"}`, false},
		{"F82 the same gateway, a dead token", freshet.Rejection{Status: []int{401}, Body: `error == "expired_token"`}, nil, 401, nil, `{"error":"expired_token"}`, true},
		{"F82 403 by profile", freshet.Rejection{Status: []int{401, 403}}, nil, 403, nil, "", true},
		{"F82 403 by body", freshet.Rejection{Status: []int{403}, Body: `code == "TOKEN_EXPIRED"`}, nil, 403, nil, `{"code":"FORBIDDEN"}`, false},
		{"F82 status of the profile only", freshet.Rejection{Status: []int{498}}, nil, 401, nil, "", false},
		{"F82 200 with an error", wechat, nil, 200, nil, expired, true},
		{"F82 200 without", wechat, nil, 200, nil, `{"errcode":0}`, false},
		{"F82 200 as text", wechat, nil, 200, http.Header{"Content-Type": {"text/html"}}, expired, true},
		{"F82 200 with a mark in front", wechat, nil, 200, nil, "\xef\xbb\xbf" + expired, true},
		{"F82 200 compressed", wechat, nil, 200, http.Header{"Content-Encoding": {"gzip"}}, zip(expired), true},
		{"F82 200 compressed with something else", wechat, nil, 200, http.Header{"Content-Encoding": {"br"}}, expired, false},
		{"F82 an event stream is never held back", wechat, nil, 200, http.Header{"Content-Type": {"text/event-stream"}}, expired, false},
		{"F82 a picture", wechat, nil, 200, http.Header{"Content-Type": {"image/png"}}, expired, false},
		{"F82 no JSON", wechat, nil, 200, nil, "errcode 42001", false},
		{"F82 longer than any error", wechat, nil, 200, nil, `{"errcode":42001,"pad":"` + strings.Repeat("x", maxSniff) + `"}`, false},
		{"F82 the connection's own rule holds", wechat, &freshet.Rejection{Status: []int{419}}, 419, nil, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newAPI(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				for k, v := range tt.header {
					w.Header()[k] = v
				}
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			})
			acc := newAccount(&freshet.API{BaseURL: api.URL, Rejected: tt.own})
			acc.def.Provider.Rejected = tt.rule
			got := do(t, newTransport(t), acc, &Call{Target: "/"})
			if (acc.count() == 1) != tt.renew {
				t.Errorf("%d refreshes, want one: %v", acc.count(), tt.renew)
			}
			// What was read to decide is given again, byte for byte.
			if got.status != tt.status || got.body != tt.body {
				t.Errorf("answer %d with %d bytes, want %d with %d", got.status, len(got.body), tt.status, len(tt.body))
			}
		})
	}
}

// An answer that is looked into and breaks off must still break off.
func TestF82_a_cut_answer_stays_cut(t *testing.T) {
	raw := newRawAPI(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{\"errcode\":42001}")
	acc := newAccount(&freshet.API{BaseURL: raw.url(), Rejected: &freshet.Rejection{Status: []int{200}, Body: "errcode == 42001"}})
	res, err := newTransport(t).Do(t.Context(), acc, &Call{Method: "GET", Target: "/"})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if _, err := io.ReadAll(res.Response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("end of a cut answer: %v, want an unexpected EOF", err)
	}
	if acc.count() != 0 {
		t.Error("half an answer counted as a refusal")
	}
}

func TestPolicyWithoutOn401PassesRefusalsOn(t *testing.T) {
	api := newAPI(t, refuseBelow(2, nil))
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	acc.def.Connection.Refresh.When = []freshet.Trigger{freshet.BeforeExpiry}
	got := do(t, newTransport(t), acc, &Call{Target: "/"})
	if acc.count() != 0 || api.calls() != 1 || got.status != 401 {
		t.Errorf("%d refreshes, %d calls, answer %d", acc.count(), api.calls(), got.status)
	}
}

func TestCap079_a_failing_refresh_is_not_the_APIs_refusal(t *testing.T) {
	t.Run("cap079 the refresh's own failure is what the caller is told", testFailingRefresh)
}

func testFailingRefresh(t *testing.T) {
	api := newAPI(t, refuseBelow(2, nil))
	acc := newAccount(&freshet.API{BaseURL: api.URL})
	acc.fail = &freshet.StateError{Name: "crm", State: freshet.StateMisconfigured, Reason: "invalid_client", Detail: "the token endpoint answered 401"}
	_, err := newTransport(t).Do(t.Context(), acc, &Call{Method: "GET", Target: "/"})
	state, ok := errors.AsType[*freshet.StateError](err)
	if !ok || state.Reason != "invalid_client" || state.State != freshet.StateMisconfigured {
		t.Errorf("error %v, want the state that the refresh led to", err)
	}
	if api.calls() != 1 {
		t.Errorf("%d calls, want 1", api.calls())
	}
	if tok, _ := acc.Token(t.Context(), 0); tok.Generation != 1 {
		t.Error("the stored token changed")
	}
	t.Run("an error that names no state leaves the API's answer", func(t *testing.T) {
		acc.fail = errors.New("the store is busy")
		if got := do(t, newTransport(t), acc, &Call{Target: "/"}); got.status != 401 || got.body != "refused 1\n" {
			t.Errorf("answer %d %q", got.status, got.body)
		}
	})
}

func TestF91_no_call_without_its_token(t *testing.T) {
	api := newAPI(t, nil)
	tr := newTransport(t)
	for _, state := range []freshet.State{freshet.StateReauth, freshet.StateMisconfigured, freshet.StateUncertain, freshet.StateAttention} {
		acc := newAccount(&freshet.API{BaseURL: api.URL})
		acc.none, acc.tok = &freshet.StateError{Name: "crm", State: state}, nil
		_, err := tr.Do(t.Context(), acc, &Call{Method: "GET", Target: "/"})
		if s, ok := errors.AsType[*freshet.StateError](err); !ok || s.State != state {
			t.Errorf("F91 %s: %v", state, err)
		}
	}
	for name, tok := range map[string]*freshet.Token{"none at all": nil, "an empty one": {Generation: 3}} {
		acc := newAccount(&freshet.API{BaseURL: api.URL})
		acc.tok = tok
		_, err := tr.Do(t.Context(), acc, &Call{Method: "GET", Target: "/"})
		if _, ok := errors.AsType[*freshet.StateError](err); !ok {
			t.Errorf("F91 %s: %v", name, err)
		}
	}
	if n := api.calls(); n != 0 || api.wires != 0 {
		t.Errorf("F91: %d calls over %d connections", n, api.wires)
	}
}
