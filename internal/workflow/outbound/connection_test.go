package outbound

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/upstream"
)

func TestCallsAsAConnection(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token-1" && r.URL.Query().Get("old") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/v1/away" {
			http.Redirect(w, r, "http://127.0.0.2/", http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"ok":true}`))
	})
	crm := newAccount("crm", &freshet.API{BaseURL: a.URL + "/v1"})
	crm.def.Connection.Refresh.When = []freshet.Trigger{freshet.On401}
	o := local(t)
	o.Connections = accounts{"crm": crm}
	var put []Entry
	o.Admit = func(_ context.Context, e Entry) error { put = append(put, e); return nil }

	t.Run("a refused token is renewed once and the request repeated", func(t *testing.T) {
		res, _, err := do(t, o, "CallConnection", m{"Connection": "crm", "Method": "POST", "Path": "/me?x=1", "Content": `{"a":1}`, "ContentType": "application/json", "RequestHeaders": m{"Authorization": "mine", "X-A": "b"}})
		if err != nil {
			t.Fatal(err)
		}
		r, body := a.last(t)
		if !slices.Equal(res.Outcomes, []string{"Done", "200"}) || crm.refreshes != 1 || a.count() != 2 || body != `{"a":1}` || r.RequestURI != "/v1/me?x=1" ||
			!slices.Equal(r.Header["Authorization"], []string{"Bearer token-2"}) || r.Header.Get("X-A") != "b" || res.Data["Token"] == nil {
			t.Errorf("%+v; %d refreshes, %d requests, %s %q %v", res, crm.refreshes, a.count(), r.RequestURI, body, r.Header)
		}
	})
	for name, path := range map[string]string{"relative": "me", "rooted": "/me", "query alone": "?a=b", "blank": " ", "whole": a.URL + "/v1/me"} {
		t.Run("path "+name, func(t *testing.T) {
			if _, _, err := do(t, o, "SendHttpRequest", m{"Connection": "crm", "Url": path}); err != nil {
				t.Error(err)
			}
			if r, _ := a.last(t); !strings.HasPrefix(r.RequestURI, "/v1") {
				t.Errorf("%s", r.RequestURI)
			}
		})
	}
	before := a.count()
	t.Run("S27 to no other host", func(t *testing.T) {
		other := newAPI(t, nil)
		_, _, err := do(t, o, "SendHttpRequest", m{"Connection": "crm", "Url": other.URL + "/"})
		r, ok := errors.AsType[*upstream.RefusedError](err)
		if !ok || r.Refusal != upstream.HostRefused || other.count() != 0 {
			t.Errorf("%v, %d requests", err, other.count())
		}
	})
	t.Run("redirects are answers", func(t *testing.T) {
		res, _, err := do(t, o, "CallConnection", m{"Connection": "crm", "Path": "/away", "SupportedStatusCodes": []int64{302}})
		if err != nil || !slices.Equal(res.Outcomes, []string{"Done", "302"}) {
			t.Errorf("%v, %v", res.Outcomes, err)
		}
	})
	t.Run("no such connection", func(t *testing.T) {
		for _, in := range []m{{"Connection": "nobody", "Path": "/"}, {"Connection": " ", "Path": "/"}} {
			_, _, err := do(t, o, "CallConnection", in, Failed, Reauthorize, Unavailable)
			if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Field != "Connection" {
				t.Errorf("%v", err)
			}
		}
	})
	t.Run("what is not on record is not sent", func(t *testing.T) {
		if len(put) == 0 || put[0] != (Entry{Run: "run", Connection: "crm", Method: "POST", Path: "/me"}) {
			t.Errorf("on record: %+v", put)
		}
		sent := a.count()
		o := o
		o.Admit = func(context.Context, Entry) error { return errors.New("the audit is full") }
		for typ, in := range map[string]m{"CallConnection": {"Connection": "crm"}, "GetAccessToken": {"Connection": "crm"}} {
			if _, _, err := do(t, o, typ, in); err == nil || !strings.Contains(err.Error(), "on record") {
				t.Errorf("%s: %v", typ, err)
			}
		}
		if a.count() != sent {
			t.Error("a request left")
		}
	})
	if got := a.count() - before; got != 1 {
		t.Errorf("%d requests beyond the redirect", got-1)
	}
}

func TestConnectionsWithoutAToken(t *testing.T) {
	crm := newAccount("crm", &freshet.API{BaseURL: "http://127.0.0.1:1"})
	o := local(t)
	o.Connections = accounts{"crm": crm}
	for _, c := range []struct {
		name  string
		state freshet.State
		edges []string
		want  string // "": a fault
	}{
		{"reauth with a way", freshet.StateReauth, []string{"needs reauthorization"}, Reauthorize},
		{"reauth without one", freshet.StateReauth, []string{"Done", Unavailable}, ""},
		{"attention", freshet.StateAttention, []string{Unavailable}, Unavailable},
		{"misconfigured", freshet.StateMisconfigured, []string{Unavailable}, Unavailable},
		{"uncertain, any failure", freshet.StateUncertain, []string{Failed}, Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			crm.none = &freshet.StateError{Name: "crm", State: c.state}
			for typ, in := range map[string]m{"CallConnection": {"Connection": "crm", "Path": "/"}, "GetAccessToken": {"Connection": "crm", "VariableName": "t"}} {
				res, run, err := do(t, o, typ, in, c.edges...)
				if c.want == "" {
					if _, ok := errors.AsType[*freshet.StateError](err); !ok {
						t.Errorf("%s: %v", typ, err)
					}
					continue
				}
				if err != nil || !slices.Equal(res.Outcomes, []string{c.want}) || res.Outputs["FailReason"] == nil || len(run.Set) != 0 {
					t.Errorf("%s: %+v, %v", typ, res, err)
				}
			}
		})
	}
}

func TestGetAccessToken(t *testing.T) {
	crm := newAccount("crm", nil)
	crm.expiry = time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	o := Options{Connections: accounts{"crm": crm}}
	res, run, err := do(t, o, "GetAccessToken", m{"Connection": " crm ", "MinTtl": "00:01:30", "VariableName": "access_token"})
	if err != nil {
		t.Fatal(err)
	}
	if run.Set["access_token"] != "token-1" || res.Outputs["Output"] != "token-1" || res.Outputs["ExpiresAt"] != crm.expiry || crm.asked != 90*time.Second || !slices.Contains(run.Secrets, "token-1") {
		t.Errorf("%+v, set %v, told %q, asked %s", res, run.Set, run.Secrets, crm.asked)
	}
	if res.Outcomes != nil {
		t.Errorf("outcomes %q", res.Outcomes)
	}
	for in, want := range map[any]time.Duration{nil: 0, int64(5): 5 * time.Second, 1.5: 1500 * time.Millisecond, "": 0, "90": 90 * time.Second, "2m": 2 * time.Minute, "1.02:00:00": 26 * time.Hour} {
		if got, err := duration(in); err != nil || got != want {
			t.Errorf("%v = %s, %v", in, got, err)
		}
	}
	for _, in := range []any{"soon", "1:2", "-5s", true, int64(-1), "a:b:c", 1e12} {
		if got, err := duration(in); err == nil {
			t.Errorf("%v = %s", in, got)
		}
	}
	if _, _, err := do(t, Options{}, "GetAccessToken", m{"Connection": "crm"}); err == nil {
		t.Error("a token from nowhere")
	}
}
