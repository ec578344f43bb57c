package process_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
)

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	r := w.press("TokenKeeper-1", "button:Refresh")
	if r.Status != run.Finished || !r.Saved || r.Fault != nil {
		t.Fatalf("%+v %+v", r, r.Fault)
	}
	// Row 49: the five names as they are written, each from its field.
	got := w.took()
	if len(got) != 1 || got[0].Method != "POST" || got[0].Path != "/v1/oauth/token" || got[0].Type != "application/x-www-form-urlencoded" ||
		got[0].Body != "grant_type=refresh_token&client_id=a&client_secret=CANARY-client&redirect_url=https%3A%2F%2Fapp.example%2Fback&refresh_token=CANARY-refresh-0" {
		t.Errorf("sent %+v", got)
	}
	if w.value("TokenKeeper-1", "AccessToken") != "CANARY-access-1" || w.value("TokenKeeper-1", "RefreshToken") != "CANARY-refresh-1" || w.value("TokenKeeper-1", "ExpiresIn") != int64(3600) {
		t.Error(w.value("TokenKeeper-1", "AccessToken"), w.value("TokenKeeper-1", "ExpiresIn"))
	}
	if r.Instance.Fields["AccessToken"] != freshet.Redacted || r.Instance.Fields["ClientId"] != "a" || r.Instance.Fields["Problem"] != "" {
		t.Error(r.Instance.Fields)
	}
	if d := r.Instance.ExpiresAt.Sub(time.Now()); d < 59*time.Minute || d > time.Hour {
		t.Errorf("expires in %v", d)
	}
	if got, want := w.steps(r.RunID), "Refresh/1 Set form field Executed; Refresh/2 Create item Executed; Refresh/3 Save form Executed"; got != want {
		t.Errorf("journal %s", got)
	}
	if text := w.journaled(r.RunID); strings.Contains(text, "CANARY") || !strings.Contains(text, "redirect_url=https") {
		t.Errorf("journal %s", text)
	}
	// The next one spends what this one brought.
	w.press("TokenKeeper-1", "Refresh")
	if got := w.took(); got[0].Form.Get("refresh_token") != "CANARY-refresh-1" {
		t.Errorf("sent %+v", got)
	}
}

func TestRulesRunInTheirOrder(t *testing.T) {
	w := newWorld(t)
	d := keeper()
	rules := d.Buttons["Refresh"]
	rules[0].SetField = texts("RefreshToken", "typed")
	w.declare(d)
	w.press("TokenKeeper-1", "Refresh")
	if got := w.took()[0].Form.Get("refresh_token"); got != "typed" {
		t.Errorf("first the field, then the call: sent %q", got)
	}
	rules[0], rules[1] = rules[1], rules[0]
	r := w.press("TokenKeeper-1", "Refresh")
	if got := w.took()[0].Form.Get("refresh_token"); got != "CANARY-refresh-1" {
		t.Errorf("first the call, then the field: sent %q", got)
	}
	if w.value("TokenKeeper-1", "RefreshToken") != "typed" {
		t.Error("the field is not what the last rule set")
	}
	if got, want := w.steps(r.RunID), "Refresh/1 Create item Executed; Refresh/2 Set form field Executed; Refresh/3 Save form Executed"; got != want {
		t.Errorf("journal %s", got)
	}
}

// Others see the saved token while a press has cleared it, and after one failed.
func TestNothingIsSeenBeforeSave(t *testing.T) {
	w := newWorld(t)
	var during any
	w.answers(func(rw http.ResponseWriter, s sent) {
		during = w.value("TokenKeeper-1", "AccessToken")
		rw.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(rw, `{"error":"server_error","error_description":"try later"}`)
	})
	r := w.press("TokenKeeper-1", "Refresh")
	if during != "CANARY-access-0" {
		t.Errorf("during the call others see %v", during)
	}
	if r.Status != run.Faulted || r.Saved || r.Fault.Activity != "Refresh/2" || r.Fault.Message != "Get/Refresh Auth Token of Acme: answered with status 500: server_error: try later" {
		t.Errorf("%+v %+v", r, r.Fault)
	}
	if r.Fields["Problem"] != "answered with status 500: server_error: try later" || r.Fields["AccessToken"] != "" {
		t.Errorf("fields %v", r.Fields)
	}
	if w.value("TokenKeeper-1", "AccessToken") != "CANARY-access-0" || w.value("TokenKeeper-1", "Problem") != "" || w.value("TokenKeeper-1", "RefreshToken") != "CANARY-refresh-0" {
		t.Error("the saved instance is not as it was")
	}
	if got, want := w.steps(r.RunID), "Refresh/1 Set form field Executed; Refresh/2 Create item Faulted"; got != want {
		t.Errorf("journal %s", got)
	}
}

func TestAnswersThatLackSomething(t *testing.T) {
	for name, c := range map[string]struct {
		answer          string
		access, refresh any
		fault           string
	}{
		"refresh token omitted": {`{"access_token":"CANARY-new","expires_in":60}`, "CANARY-new", "CANARY-refresh-0", ""},
		"access token omitted":  {`{"refresh_token":"CANARY-turned"}`, "CANARY-access-0", "CANARY-turned", ""},
		"null is absent":        {`{"access_token":"CANARY-new","refresh_token":null}`, "CANARY-new", "CANARY-refresh-0", ""},
		"an error with 200":     {`{"ok":false,"error":"invalid_grant"}`, "CANARY-access-0", "CANARY-refresh-0", "nothing of what the success mapping takes from it: invalid_grant"},
		"a page":                {`<html>`, "CANARY-access-0", "CANARY-refresh-0", "nothing of what the success mapping takes"},
		"nothing":               {``, "CANARY-access-0", "CANARY-refresh-0", "nothing of what the success mapping takes"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.answers(func(rw http.ResponseWriter, s sent) { fmt.Fprint(rw, c.answer) })
			r := w.press("TokenKeeper-1", "Refresh")
			if (r.Fault == nil) != (c.fault == "") || r.Fault != nil && !strings.Contains(r.Fault.Message, c.fault) {
				t.Errorf("fault %+v", r.Fault)
			}
			if a, f := w.value("TokenKeeper-1", "AccessToken"), w.value("TokenKeeper-1", "RefreshToken"); a != c.access || f != c.refresh {
				t.Errorf("access %v, refresh %v", a, f)
			}
		})
	}
}

// Two presses of one instance are one after the other: the second spends what
// the first brought.
func TestPressesOfOneInstanceWaitForEachOther(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprint(alone), func(t *testing.T) {
			w := newWorld(t, func(o *process.Options) { o.Alone = alone })
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if r := w.press("TokenKeeper-1", "Refresh"); r.Fault != nil {
						t.Error(r.Fault.Message)
					}
				})
			}
			wg.Wait()
			seen := map[string]bool{}
			for _, s := range w.took() {
				if k := s.Form.Get("refresh_token"); seen[k] {
					t.Errorf("%s was spent twice", k)
				} else {
					seen[k] = true
				}
			}
			if len(seen) != 8 {
				t.Errorf("%d requests", len(seen))
			}
		})
	}
}

// What somebody enters while a press runs is kept, and so is what the press
// brings.
func TestSavesOfOthersAreKept(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, s sent) {
		if _, err := w.Enter(context.Background(), "TokenKeeper", "TokenKeeper-1", map[string]any{"ClientId": "entered", "AccessToken": freshet.Redacted}, "key:me"); err != nil {
			t.Error(err)
		}
		fmt.Fprint(rw, `{"access_token":"CANARY-new","refresh_token":"CANARY-next"}`)
	})
	if r := w.press("TokenKeeper-1", "Refresh"); r.Fault != nil || r.Instance.Fields["ClientId"] != "entered" {
		t.Errorf("%+v", r)
	}
	if w.value("TokenKeeper-1", "ClientId") != "entered" || w.value("TokenKeeper-1", "AccessToken") != "CANARY-new" {
		t.Error("something is lost")
	}
}

// A caller that hangs up does not stop what it began.
func TestPressOutlivesItsCaller(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	w.answers(func(rw http.ResponseWriter, s sent) {
		cancel()
		fmt.Fprint(rw, `{"access_token":"CANARY-new","refresh_token":"CANARY-next"}`)
	})
	r, err := w.Press(ctx, process.Press{Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: "Refresh"})
	if err != nil || r.Fault != nil || w.value("TokenKeeper-1", "RefreshToken") != "CANARY-next" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOneRuleAndFieldsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	d := keeper()
	d.Fields[0].Rules = []freshet.ProcessRule{{SetField: texts("GrantType", "x")}, {Save: &freshet.SaveRule{}}}
	w.declare(d)
	r := w.press("TokenKeeper-1", "rule:ask")
	if r.Fault != nil || r.Saved || len(r.Warnings) != 1 || w.value("TokenKeeper-1", "AccessToken") != "CANARY-access-0" {
		t.Errorf("%+v", r)
	}
	if got := w.steps(r.RunID); got != "Refresh/2 Create item Executed" {
		t.Error(got)
	}
	if r := w.press("TokenKeeper-1", "rule:Refresh/1"); w.steps(r.RunID) != "Refresh/1 Set form field Executed" {
		t.Error(w.steps(r.RunID))
	}
	if r := w.press("TokenKeeper-1", "field:GrantType"); !r.Saved || w.value("TokenKeeper-1", "GrantType") != "x" {
		t.Errorf("%+v", r)
	}
	for _, trigger := range []string{"button:Refrsh", "rule:none", "field:ClientId", "page:x", ""} {
		_, err := w.Press(context.Background(), process.Press{Process: "TokenKeeper", Instance: "TokenKeeper-1", Trigger: trigger})
		if _, ok := errors.AsType[*process.TriggerError](err); !ok || !strings.Contains(err.Error(), "button:Refresh, field:GrantType, rule:Refresh/1, rule:ask") {
			t.Errorf("%s: %v", trigger, err)
		}
	}
}

func TestNewAndDeletedInstances(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	r, err := w.Press(ctx, process.Press{Process: "TokenKeeper", Trigger: "Refresh", Fields: map[string]any{"GrantType": "refresh_token", "RefreshToken": "CANARY-mine"}})
	if err != nil || r.Instance == nil || r.Instance.ID != "TokenKeeper-2" || w.took()[0].Form.Get("refresh_token") != "CANARY-mine" {
		t.Fatalf("%+v, %v", r, err)
	}
	if strings.Contains(w.journaled(r.RunID), "CANARY") {
		t.Error("the journal shows what was entered")
	}
	w.answers(func(rw http.ResponseWriter, _ sent) { rw.WriteHeader(401) })
	if r, err := w.Press(ctx, process.Press{Process: "TokenKeeper", Trigger: "Refresh"}); err != nil || r.Instance != nil || r.Fault == nil {
		t.Fatalf("one that failed was saved: %+v, %v", r, err)
	}
	if err := w.Delete(ctx, "TokenKeeper", "TokenKeeper-2"); err != nil {
		t.Fatal(err)
	}
	_, err = w.Press(ctx, process.Press{Process: "TokenKeeper", Instance: "TokenKeeper-2", Trigger: "Refresh"})
	if !errors.Is(err, freshet.ErrNotFound) || err.Error() != "process TokenKeeper has no instance TokenKeeper-2: it was deleted, or never saved; name another one, or none for a new one" {
		t.Error(err)
	}
	if in, err := w.Enter(ctx, "TokenKeeper", "", map[string]any{"ClientId": "b"}, "me"); err != nil || in.ID != "TokenKeeper-3" {
		t.Errorf("%+v, %v", in, err)
	}
	for what, f := range map[string]func() error{
		"a field that is not there": func() error {
			_, err := w.Enter(ctx, "TokenKeeper", "", map[string]any{"Nope": 1}, "me")
			return err
		},
		"a process that is not there": func() error {
			_, err := w.Press(ctx, process.Press{Process: "Nope", Trigger: "x"})
			return err
		},
		"an instance of another process": func() error {
			other := keeper()
			other.Name, other.Instances = "Other", nil
			w.declare(other)
			_, err := w.Instance(ctx, "Other", "TokenKeeper-1")
			return err
		},
		"a field of nothing":       func() error { _, err := w.Field(ctx, "TokenKeeper-9", "AccessToken"); return err },
		"no such field of another": func() error { _, err := w.Field(ctx, "TokenKeeper-1", "Nope"); return err },
	} {
		if err := f(); !errors.Is(err, freshet.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestConditionsAndExpressions(t *testing.T) {
	w := newWorld(t)
	d := keeper()
	d.Buttons = map[string][]freshet.ProcessRule{"Go": {
		{When: "[ExpiresIn] < 10", SetField: texts("Problem", "never")},
		{When: "[ExpiresIn] >= 3600 && [ClientId] === 'a'", SetField: map[string]freshet.ProcessValue{
			"ExpiresIn": {Expression: "Number([ExpiresIn]) - 300"}, "Problem": {Expression: "`${ProcessID()} [x] ` + [ClientId].toUpperCase()"}, "RedirectUrl": text("[ClientId]/[GrantType]"),
			"CreatedAt": {Expression: "DateAdd('2027-01-01T00:00:00Z', 2, 'days')"}, "GrantType": text("[ClientId]")}},
		{Save: &freshet.SaveRule{}},
	}}
	w.declare(d)
	r := w.press("TokenKeeper-1", "Go")
	if r.Fault != nil {
		t.Fatal(r.Fault.Message)
	}
	for f, want := range map[string]any{"ExpiresIn": int64(3300), "Problem": "TokenKeeper-1 [x] A", "RedirectUrl": "a/refresh_token", "CreatedAt": "2027-01-03T00:00:00.000Z", "GrantType": "a"} {
		if got := w.value("TokenKeeper-1", f); got != want {
			t.Errorf("%s is %v, want %v", f, got, want)
		}
	}
	if got, want := w.steps(r.RunID), "Go/1 Set form field Skipped; Go/2 Set form field Executed; Go/3 Save form Executed"; got != want {
		t.Error(got)
	}
	d.Buttons["Go"][1].When = ""
	d.Buttons["Go"][1].SetField = map[string]freshet.ProcessValue{"Problem": {Expression: "[ClientId].nope.more"}}
	if r := w.press("TokenKeeper-1", "Go"); r.Fault == nil || !strings.Contains(r.Fault.Message, "Problem: ") {
		t.Errorf("%+v", r.Fault)
	}
	d.Buttons["Go"][1].SetField = map[string]freshet.ProcessValue{"Problem": {Expression: "for(;;){}"}}
	if r := w.press("TokenKeeper-1", "Go"); r.Fault == nil || !strings.Contains(r.Fault.Message, "limit of 250ms") {
		t.Errorf("%+v", r.Fault)
	}
}

func TestHeadersQueryAndOtherForms(t *testing.T) {
	w := newWorld(t)
	user := &freshet.Process{Name: "User", Fields: []freshet.ProcessField{{Name: "Name"}, {Name: "Limit"}, {Name: "Path"}, {Name: "Code"}, {Name: "First"}, {Name: "Kept"}},
		Buttons: map[string][]freshet.ProcessRule{
			"Read": {{FindItems: &freshet.ItemRule{Service: "Acme", Method: "Get user",
				Input:     texts("authorization", "Bearer [TokenKeeper-1.AccessToken]", "X-Trace", "from [ProcessID]", "page", "2&3", "urlPath", "[Path]"),
				OnSuccess: texts("Name", "[body.name]", "Limit", "[headers.x-limit]", "Code", "got [status]", "First", "[body.items[0].id]")}}, {Save: &freshet.SaveRule{}}},
			"Add": {{CreateItem: &freshet.ItemRule{Service: "Acme", Method: "Add user", Input: map[string]freshet.ProcessValue{"name": text("[Name]"), "age": {Expression: "40+2"}, "Authorization": text("Bearer {{process.TokenKeeper-1.AccessToken}}")}}}},
		}, Instances: []map[string]freshet.ProcessValue{{"Kept": text("k")}}}
	w.declare(user)
	press := func(button string) *process.Result {
		t.Helper()
		r, err := w.Press(context.Background(), process.Press{Process: "User", Instance: "User-1", Trigger: button})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := press("Read")
	if r.Fault != nil {
		t.Fatal(r.Fault.Message)
	}
	if s := w.took()[0]; s.Auth != "Bearer CANARY-access-0" || s.Trace != "from User-1" || s.Path != "/v1/users/me?page=2%263" || s.Method != "GET" {
		t.Errorf("%+v", s)
	}
	if f := r.Instance.Fields; f["Name"] != "Ada" || f["Limit"] != "17" || f["Code"] != "got 200" || f["First"] != int64(7) || f["Kept"] != "k" {
		t.Error(f)
	}
	if strings.Contains(w.journaled(r.RunID), "CANARY") {
		t.Error(w.journaled(r.RunID))
	}
	// After a refresh the other form's new token, with no edit.
	w.press("TokenKeeper-1", "Refresh")
	w.took()
	press("Read")
	if s := w.took()[0]; s.Auth == "Bearer CANARY-access-0" || !strings.HasPrefix(s.Auth, "Bearer CANARY-access-") {
		t.Errorf("%+v", s)
	}
	if r := press("Add"); r.Fault != nil {
		t.Fatal(r.Fault.Message)
	}
	if s := w.took()[0]; s.Body != `{"name":"Ada","kind":"person","age":42}` || s.Type != "application/json" || !strings.HasPrefix(s.Auth, "Bearer CANARY-access-") {
		t.Errorf("%+v", s)
	}
	for path, want := range map[string]string{
		"users/7?x=1": "/v1/users/7?x=1&page=2%263", "/a b/ü": "/v1/a%20b/%C3%BC?page=2%263", "": "/v1/users/me?page=2%263",
		"../admin": "", "a/%2e%2e/b": "", "a/%252e%252e/b": "", "..%2fadmin": "", "//evil.example/x": "", "https://evil.example/": "", "a\\..\\b": "", "x#y": "", "..;/a": "",
	} {
		if _, err := w.Enter(context.Background(), "User", "User-1", map[string]any{"Path": path}, "me"); err != nil {
			t.Fatal(err)
		}
		r := press("Read")
		got := w.took()
		if want == "" && (r.Fault == nil || len(got) != 0) {
			t.Errorf("urlPath %q was sent: %+v", path, got)
		}
		if want != "" && (r.Fault != nil || got[0].Path != want) {
			t.Errorf("urlPath %q: %+v %+v", path, got, r.Fault)
		}
	}
}

// At rest and in the journal there is nothing of what the fields hold.
func TestSealed(t *testing.T) {
	w := newWorld(t)
	w.press("TokenKeeper-1", "Refresh")
	in, err := w.store.ProcessInstance(context.Background(), "TokenKeeper-1")
	if err != nil || strings.Contains(string(in.Sealed), "CANARY") || strings.Contains(string(in.Sealed), "refresh_token") {
		t.Errorf("%q, %v", in.Sealed, err)
	}
	// A row that somebody put in the place of another does not open.
	other, err := w.Enter(context.Background(), "TokenKeeper", "", map[string]any{"ClientId": "b"}, "me")
	if err != nil {
		t.Fatal(err)
	}
	row, err := w.store.ProcessInstance(context.Background(), other.ID)
	if err != nil {
		t.Fatal(err)
	}
	row.Sealed, row.Revision = in.Sealed, row.Revision+1
	if err := w.store.Change(context.Background(), func(c *store.Change) error { return c.SaveProcessInstance(row) }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Instance(context.Background(), "TokenKeeper", other.ID); err == nil {
		t.Error("a moved instance opens")
	}
}
