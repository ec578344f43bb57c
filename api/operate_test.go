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
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
)

// answering is a server with one handler, and a client of it.
func answering(t *testing.T, h http.HandlerFunc) *api.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return api.New(srv.URL, "fk_test_key")
}

func TestListReadsEveryPage(t *testing.T) {
	asked := 0
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.URL.Query().Get("cursor") {
		case "":
			io.WriteString(w, `{"keys":[{"name":"a"},{"name":"b"}],"next_cursor":"b/?&"}`)
		case "b/?&":
			io.WriteString(w, `{"keys":[{"name":"c"}],"next_cursor":"b/?&"}`) // a server that repeats itself
		}
	})
	var names []string
	err := c.List(context.Background(), "/api/v1/keys?limit=2", "keys", func(raw json.RawMessage) error {
		var k api.Key
		err := json.Unmarshal(raw, &k)
		names = append(names, k.Name)
		return err
	})
	if got := strings.Join(names, ""); err != nil || got != "abc" || asked != 2 {
		t.Errorf("%q in %d requests, %v", got, asked, err)
	}
}

func TestStreamGoesOnAfterTheLastEvent(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" || r.Header.Get("Last-Event-ID") != "7" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		io.WriteString(w, ": hello\n\nid: 8\nevent: token.refreshed\ndata: {\"a\":\ndata: 1}\n\n:ping\n\nid:9\ndata:x\n\ndata: cut")
	})
	var got []string
	err := c.Stream(context.Background(), "/api/v1/stream", "7", func(id, event string, data []byte) error {
		got = append(got, fmt.Sprintf("%s|%s|%s", id, event, data))
		return nil
	})
	if !errors.Is(err, api.ErrStreamEnded) || strings.Join(got, " ") != "8|token.refreshed|{\"a\":\n1} 9||x" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCallKeepsEveryByte(t *testing.T) {
	seen := ""
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen = r.Method + " " + r.RequestURI + " " + string(b) + " " + r.Header.Get("X-A") + " " + r.Header.Get("Authorization")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "short and stout")
	})
	for _, target := range []string{"", "/", "/a%2Fb//c/../d;x=%41?q=a+b%20c&&=;", "/?", "/é"} {
		res, err := c.Call(context.Background(), "crm", api.Call{Method: "PATCH", Target: target, Header: http.Header{"X-A": {"1"}}, Body: strings.NewReader("body")})
		if err != nil {
			t.Errorf("%q: %v", target, err)
			continue
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if want := "PATCH /proxy/crm" + target + " body 1 Bearer fk_test_key"; seen != want {
			t.Errorf("%q went out as %q, want %q", target, seen, want)
		}
		if res.StatusCode != http.StatusTeapot || string(b) != "short and stout" {
			t.Errorf("%q came back as %d %q", target, res.StatusCode, b)
		}
	}
}

func TestCallTellsOurProblemsFromTheAPIs(t *testing.T) {
	body := ""
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, body)
	})
	body = `{"type":"https://freshet.dev/problems/connection-reauth","title":"t","status":409,"detail":"no token","state":"reauth","connection":"crm"}`
	_, err := c.Call(context.Background(), "crm", api.Call{Method: "GET", Target: "/me"})
	var p *api.Problem
	if !errors.As(err, &p) || p.State != "reauth" || p.Detail != "no token" || p.RetryAfter != 3*time.Second {
		t.Errorf("ours: %#v", err)
	}
	for _, body = range []string{
		`{"type":"https://api.example/problems/conflict","status":409,"detail":"` + strings.Repeat("x", 100<<10) + `"}`,
		`not even JSON`,
	} {
		res, err := c.Call(context.Background(), "crm", api.Call{Method: "GET", Target: "/me"})
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(b) != body {
			t.Errorf("an API's own problem of %d bytes came as %d", len(body), len(b))
		}
	}
}

func TestApplyFaultsHavePlaces(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "dry_run=true" {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		io.WriteString(w, `{"title":"t","status":422,"faults":[{"file":"crm.yaml","line":3,"column":5,"path":"connections.crm.client","detail":"there is no client x"}]}`)
	})
	_, err := c.Apply(context.Background(), json.RawMessage(`{}`), true)
	var p *api.Problem
	if !errors.As(err, &p) || len(p.Faults) != 1 || p.Faults[0].String() != "crm.yaml:3:5: connections.crm.client: there is no client x" {
		t.Errorf("%#v", err)
	}
}

func TestBackupThatBreaksOffIsAnError(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "four")
		panic(http.ErrAbortHandler)
	})
	if _, err := c.Backup(context.Background(), io.Discard); err == nil {
		t.Error("half a backup is taken for one")
	}
}

func TestUnreachableNamesTheAddressOnce(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	err := api.New(srv.URL, "k").Delete(context.Background(), "connections", "crm")
	var u *api.UnreachableError
	if !errors.As(err, &u) || strings.Count(err.Error(), "http://") != 1 || u.Hint() == "" {
		t.Errorf("%v", err)
	}
}
