package endpoint

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/workflow"
)

// guarded is an endpoint that asks for a header.
func guarded(name string, value workflow.Property, more ...workflow.Property) []workflow.Activity {
	props := append([]workflow.Property{prop("AuthorizeWithCustomHeader", workflow.Literal, "true"), prop("CustomHeaderName", workflow.Literal, name), value}, more...)
	return []workflow.Activity{endpoint("a", "/secure", `["GET","POST"]`, props...)}
}

func TestSecurity(t *testing.T) {
	const secret = "s3cret-CANARY"
	literal := prop("CustomHeaderValue", workflow.Literal, secret)
	on := prop("Authorize", workflow.Literal, "true")
	for _, c := range []struct {
		name   string
		v      *workflow.Version
		head   []string
		status int
	}{
		{"cap108 the header", version("w", false, guarded("X-Token", literal)), []string{"X-Token: " + secret}, 200},
		{"cap108 without it", version("w", false, guarded("X-Token", literal)), nil, 401},
		{"cap108 with another value", version("w", false, guarded("X-Token", literal)), []string{"X-Token: s3cret-canary"}, 401},
		{"cap108 with a part of it", version("w", false, guarded("X-Token", literal)), []string{"X-Token: s3cret"}, 401},
		{"cap108 with more", version("w", false, guarded("X-Token", literal)), []string{"X-Token: " + secret + "x"}, 401},
		{"cap108 twice", version("w", false, guarded("X-Token", literal)), []string{"X-Token: " + secret, "X-Token: " + secret}, 401},
		{"cap108 blank header", version("w", false, guarded("X-Token", literal)), []string{"X-Token: "}, 401},
		{"cap108 under another name", version("w", false, guarded("X-Token", literal)), []string{"Authorization: Bearer " + secret}, 401},
		{"public does not open what is declared", version("w", true, guarded("X-Token", literal)), nil, 401},
		{"an API key does not stand for the header", version("w", false, guarded("X-Token", literal)), []string{"Authorization: Bearer fk_all"}, 401},

		{"cap107 Bearer as the picture has it", version("w", false, guarded("Bearer", literal)), []string{"Bearer: " + secret}, 200},
		{"cap107 Bearer as callers send it", version("w", false, guarded("Bearer", literal)), []string{"Authorization: Bearer " + secret}, 200},
		{"cap107 bearer in small letters", version("w", false, guarded("bearer", literal)), []string{"Authorization: bearer " + secret}, 200},
		{"Bearer, another scheme", version("w", false, guarded("Bearer", literal)), []string{"Authorization: Basic " + secret}, 401},
		{"Bearer, no scheme", version("w", false, guarded("Bearer", literal)), []string{"Authorization: " + secret}, 401},
		{"Bearer, another token", version("w", false, guarded("Bearer", literal)), []string{"Authorization: Bearer x"}, 401},
		{"Bearer twice", version("w", false, guarded("Bearer", literal)), []string{"Authorization: Bearer x", "Authorization: Bearer " + secret}, 401},
		{"Authorization without the scheme in the value", version("w", false, guarded("Authorization", literal)), []string{"Authorization: Bearer " + secret}, 200},
		{"Authorization with the scheme in the value", version("w", false, guarded("Authorization", prop("CustomHeaderValue", workflow.Literal, "Bearer "+secret))), []string{"Authorization: Bearer " + secret}, 200},
		{"Authorization without any scheme", version("w", false, guarded("Authorization", literal)), []string{"Authorization: " + secret}, 200},
		{"Authorization with its own scheme", version("w", false, guarded("Authorization", prop("CustomHeaderValue", workflow.Literal, "Basic "+secret))), []string{"Authorization: Basic " + secret}, 200},
		{"Authorization, another scheme than expected", version("w", false, guarded("Authorization", prop("CustomHeaderValue", workflow.Literal, "Basic "+secret))), []string{"Authorization: Bearer " + secret}, 401},

		{"blank name", version("w", true, guarded("", literal)), []string{": " + secret}, 401},
		{"blank value", version("w", true, guarded("X-Token", prop("CustomHeaderValue", workflow.Literal, " "))), []string{"X-Token: "}, 401},
		{"blank value of Bearer", version("w", true, guarded("Authorization", prop("CustomHeaderValue", workflow.Literal, "Bearer "))), []string{"Authorization: Bearer "}, 401},
		{"no value at all", version("w", true, []workflow.Activity{endpoint("a", "/secure", "", prop("AuthorizeWithCustomHeader", workflow.Literal, "true"), prop("CustomHeaderName", workflow.Literal, "X"))}), []string{"X: "}, 401},
		{"a variable that only the flow would set", version("w", true, guarded("Bearer", prop("CustomHeaderValue", workflow.Liquid, "{{Variables.access_token}}"))), []string{"Bearer: x"}, 401},
		{"a value that fails", version("w", true, guarded("X-Token", prop("CustomHeaderValue", workflow.JavaScript, "throw 1"))), []string{"X-Token: x"}, 401},
		{"a name that fails", version("w", true, []workflow.Activity{endpoint("a", "/secure", "", prop("AuthorizeWithCustomHeader", workflow.Literal, "true"), prop("CustomHeaderName", workflow.JavaScript, "throw"), literal)}), nil, 401},
		{"security that fails", version("w", true, []workflow.Activity{endpoint("a", "/secure", "", prop("AuthorizeWithCustomHeader", workflow.JavaScript, "throw"))}), nil, 401},
		{"an Authorize that fails", version("w", true, []workflow.Activity{endpoint("a", "/secure", "", prop("Authorize", workflow.JavaScript, "throw"))}), []string{"Authorization: Bearer fk_all"}, 401},

		{"a key, none", version("w", false, []workflow.Activity{endpoint("a", "/secure", "")}), nil, 401},
		{"a key", version("w", false, []workflow.Activity{endpoint("a", "/secure", "")}), []string{"Authorization: Bearer fk_all"}, 200},
		{"a key for others", version("w", false, []workflow.Activity{endpoint("a", "/secure", "")}), []string{"Authorization: Bearer fk_other"}, 403},
		{"public", version("w", true, []workflow.Activity{endpoint("a", "/secure", "")}), nil, 200},
		{"Authorize, though public", version("w", true, []workflow.Activity{endpoint("a", "/secure", "", on)}), nil, 401},
		{"Authorize with a key", version("w", true, []workflow.Activity{endpoint("a", "/secure", "", on)}), []string{"Authorization: Bearer fk_all"}, 200},
		{"Policy asks for a key", version("w", true, []workflow.Activity{endpoint("a", "/secure", "", prop("Policy", workflow.Literal, "Staff"))}), nil, 401},
		{"both, the key missing", version("w", false, guarded("X-Token", literal, on)), []string{"X-Token: " + secret}, 401},
		{"both, the header missing", version("w", false, guarded("X-Token", literal, on)), []string{"Authorization: Bearer fk_all"}, 401},
		{"both", version("w", false, guarded("X-Token", literal, on)), []string{"X-Token: " + secret, "Authorization: Bearer fk_all"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.v)
			rec := w.ask("GET", "/secure", "", c.head...)
			if rec.Code != c.status {
				t.Errorf("%d %s, want %d", rec.Code, rec.Body, c.status)
			}
			if want := map[bool]int{true: 1}[c.status == 200]; w.runs() != want {
				t.Errorf("%d runs, want %d", w.runs(), want)
			}
			if c.status == 200 {
				return
			}
			if w.Refused() != 1 || len(w.refusals) != 1 {
				t.Errorf("counted %d, %v", w.Refused(), w.refusals)
			}
			if c.status == 401 && rec.Header().Get("WWW-Authenticate") == "" || rec.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%v", rec.Header())
			}
			for where, text := range map[string]string{"the log": w.log.String(), "the answer": rec.Body.String()} {
				if strings.Contains(strings.ToLower(text), "s3cret") {
					t.Errorf("%s holds the value: %s", where, text)
				}
			}
		})
	}
}

func TestTheExpectedTokenCanBeElsewhere(t *testing.T) {
	for _, c := range []struct {
		name  string
		value workflow.Property
		vars  m
	}{
		{"cap109 a default variable", prop("CustomHeaderValue", workflow.Liquid, "{{Variables.access_token}}"), m{"access_token": "first"}},
		{"cap109 a variable that stands for a cell", prop("CustomHeaderValue", workflow.Liquid, "{{Variables.access_token}}"), m{"access_token": m{"$from": "Table:Settings/AccessToken/Data1"}, "unread": m{"$from": "Nonsense"}}},
		{"cap109 a variable that stands for a connection", prop("CustomHeaderValue", workflow.Variable, "access_token"), m{"access_token": m{"$from": "Connection:crm"}}},
		{"cap109 a cell", prop("CustomHeaderValue", workflow.Secret, "Table:Settings/AccessToken/Data1"), nil},
		{"cap109 a connection", prop("CustomHeaderValue", workflow.Secret, "Connection: crm"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := version("w", false, guarded("Bearer", c.value))
			v.Attachments.Variables = c.vars
			w := newWorld(t, v)
			w.cells["Settings/AccessToken/Data1"], w.tokens["crm"] = "first", "first"
			send := func(token string, want int) {
				t.Helper()
				if rec := w.ask("GET", "/secure", "", "Authorization: Bearer "+token); rec.Code != want {
					t.Errorf("%s: %d %s; %s", token, rec.Code, rec.Body, w.log.String())
				}
			}
			send("first", 200)
			send("second", 401)
			w.mu.Lock()
			w.cells["Settings/AccessToken/Data1"], w.tokens["crm"] = "second", "second"
			w.mu.Unlock()
			if c.vars["access_token"] == "first" {
				next := *v
				next.Attachments.Variables = m{"access_token": "second"}
				w.list = []*workflow.Version{&next}
				w.rebuild()
			}
			send("first", 401) // from the very next request on
			send("second", 200)
			w.mu.Lock()
			clear(w.cells)
			clear(w.tokens)
			w.mu.Unlock()
			if c.vars["access_token"] != "first" {
				send("second", 401) // what is not there is blank, and blank lets nobody in
				send("", 401)
			}
		})
	}
	for _, bad := range []string{"Table:Settings", "Table:Settings/Key"} {
		w := newWorld(t, version("w", true, guarded("X", prop("CustomHeaderValue", workflow.Secret, bad))))
		if rec := w.ask("GET", "/secure", "", "X: "); rec.Code != 401 {
			t.Errorf("%s: %d", bad, rec.Code)
		}
	}
	v := version("w", true, guarded("X", prop("CustomHeaderValue", workflow.Variable, "v")))
	v.Attachments.Variables = m{"v": m{"$from": "Nonsense:x"}}
	w := newWorld(t, v)
	if rec := w.ask("GET", "/secure", "", "X: map[$from:Nonsense:x]"); rec.Code != 401 {
		t.Errorf("a reference that is none: %d", rec.Code)
	}
}

func TestTheExpectedValueIsMasked(t *testing.T) {
	w := newWorld(t, version("w", false, guarded("X-Odd-Name", prop("CustomHeaderValue", workflow.Literal, "odd-value-1"))))
	if rec := w.ask("GET", "/secure", "", "X-Odd-Name: odd-value-1"); rec.Code != http.StatusOK {
		t.Fatal(rec.Code)
	}
	if got := w.o.Values.Scrub("it was odd-value-1"); strings.Contains(got, "odd-value-1") {
		t.Errorf("%s", got)
	}
	if s := fmt.Sprint(w.last().Secrets); strings.Contains(s, "nothing") {
		t.Error(s)
	}
}
