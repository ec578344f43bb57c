package resource_test

import (
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/process"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
)

// keeper is the process of the guide, with its service and schedule.
const keeper = `
services:
  Acme:
    base_url: https://auth.example
    methods:
      "Get/Refresh Auth Token":
        method: POST
        path: /oauth/token
        content_type: form
        request:  { headers: [], body: [grant_type, client_id, client_secret, redirect_url, refresh_token] }
        response: { headers: [], body: [access_token, token_type, expires_in, refresh_token, created_at] }
processes:
  TokenKeeper:
    fields: [GrantType, ClientId, {name: ClientSecret, secret: true}, RedirectUrl, {name: RefreshToken, secret: true}, {name: AccessToken, secret: true}, ExpiresIn, CreatedAt]
    buttons:
      Refresh:
        - set_field: { AccessToken: "" }
        - create_item:
            service: Acme
            method: "Get/Refresh Auth Token"
            input: { grant_type: "[GrantType]", client_id: "[ClientId]", client_secret: "[ClientSecret]", redirect_url: "[RedirectUrl]", refresh_token: "[RefreshToken]" }
            on_success: { AccessToken: "[body.access_token]", RefreshToken: "[body.refresh_token]", ExpiresIn: "[body.expires_in]", CreatedAt: "[body.created_at]" }
        - save: {}
    expiry: { expires_in: ExpiresIn, created_at: CreatedAt }
    instances: [ { GrantType: refresh_token, ClientId: a, ClientSecret: CANARY-one, RefreshToken: {file: token.txt}, ExpiresIn: 3600 } ]
schedules:
  "Keep the token fresh": { every: 55m, process: TokenKeeper, instance: TokenKeeper-1, trigger: "button:Refresh" }
`

type files struct{ env }

func (files) Secret(string, string) (freshet.Secret, string, error) {
	return freshet.NewSecret("CANARY-file"), "", nil
}

// formBook is a book that keeps instances of processes beside them.
func formBook(t *testing.T) (*resource.Book, *store.Store) {
	v := newVault(t)
	o := resource.Options{Sealer: v}
	var b *resource.Book
	var st *store.Store
	o.Written = func(c *store.Change, u resource.Update) error {
		if u.Kind != "processes" {
			return nil
		}
		if u.Action == resource.Deleted {
			return process.Remove(c, u.ID)
		}
		p, err := b.ProcessIn(c, u.Name)
		if err != nil {
			return err
		}
		return process.Declare(c, v, u.ID, p)
	}
	lazy := &lateChecker{}
	o.Processes = lazy
	b, st = newBook(t, o)
	lazy.Checker = process.Checker{Store: st}
	return b, st
}

type lateChecker struct{ process.Checker }

func TestProcessIsDeclared(t *testing.T) {
	b, st := formBook(t)
	ctx := t.Context()
	set, err := b.Registry().Decode([]resource.File{{Name: "test.yaml", Content: keeper}}, files{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Apply(ctx, set, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := effects(r); got != "created services/Acme, created processes/TokenKeeper, created schedules/Keep the token fresh" || len(r.Warnings) != 0 {
		t.Error(got, r.Warnings)
	}
	p, _, err := b.Process(ctx, "TokenKeeper")
	if err != nil {
		t.Fatal(err)
	}
	if in := p.Instances[0]; in["ClientSecret"].Secret.Reveal() != "CANARY-one" || in["RefreshToken"].Secret.Reveal() != "CANARY-file" || in["ClientId"].Text != "a" || in["ExpiresIn"].Text != "3600" {
		t.Errorf("%+v", in)
	}
	row, err := st.Resource(ctx, "processes", "TokenKeeper")
	if err != nil || strings.Contains(row.Spec+string(row.Secrets), "CANARY") {
		t.Errorf("kept in the clear: %s, %v", row.Spec, err)
	}
	in, err := st.ProcessInstance(ctx, "TokenKeeper-1")
	if err != nil || in.SavedBy != "config" || in.ExpiresAt.IsZero() {
		t.Errorf("%+v, %v", in, err)
	}
	// What it is exported as is what it was declared as.
	var out strings.Builder
	if err := b.Export(ctx, &out, resource.Key{}, false); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{"fields:", "- GrantType", "client_secret: '[ClientSecret]'", `AccessToken: ''`, "body: [grant_type, client_id, client_secret, redirect_url, refresh_token]", "Get/Refresh Auth Token:", "secret: '[secret]'"} {
		if !strings.Contains(strings.ReplaceAll(text, `"`, "'"), strings.ReplaceAll(want, `"`, "'")) {
			t.Errorf("the export lacks %s\n%s", want, text)
		}
	}
	if strings.Contains(text, "CANARY") {
		t.Error(text)
	}
	if got := must(t, b, text, nil); strings.Contains(got, "created") || strings.Contains(got, "changed ") && !strings.Contains(got, "unchanged processes/TokenKeeper") {
		t.Errorf("applied again: %s\n%s", got, text)
	}
	// A seed that was deleted comes again, one that is there stays as it is.
	if err := st.Change(ctx, func(c *store.Change) error { return c.DeleteProcessInstance(in.ID) }); err != nil {
		t.Fatal(err)
	}
	if got := must(t, b, text, nil); !strings.Contains(got, "changed processes/TokenKeeper") {
		t.Error(got)
	}
	if again, err := st.ProcessInstance(ctx, "TokenKeeper-1"); err != nil || again.ID == in.ID {
		t.Error(again, err)
	}
	if err := b.Delete(ctx, resource.Key{Kind: "processes", Name: "TokenKeeper"}); err == nil || err.Error() != "processes/TokenKeeper is used by schedules/Keep the token fresh" {
		t.Error(err)
	}
	schema, err := b.Registry().Schema()
	if err != nil {
		t.Fatal(err)
	}
	if faults := newSchema(t, schema).yaml(t, keeper); len(faults) > 0 {
		t.Errorf("the schema refuses the process: %v", faults)
	}
}

func TestProcessFaults(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no such service":               {"service: Acme", "service: Acne", `processes.TokenKeeper.buttons.Refresh[1].create_item.service: there is no service "Acne"; did you mean "Acme"?`},
		"no such method":                {`method: "Get/Refresh Auth Token"`, `method: "Get Token"`, `processes.TokenKeeper.buttons.Refresh[1].create_item.method: service Acme has no method "Get Token": it has Get/Refresh Auth Token`},
		"no such parameter":             {"redirect_url: \"[", "redirect_uri: \"[", `create_item.input.redirect_uri: method Get/Refresh Auth Token has no parameter redirect_uri: it has grant_type, client_id, client_secret, redirect_url, refresh_token, urlPath`},
		"no such field":                 {`"[ClientId]"`, `"[ClientID]"`, `create_item.input.client_id: there is no field ClientID: the fields are GrantType, ClientId,`},
		"no such target field":          {"on_success: { AccessToken", "on_success: { Token", `on_success.Token: there is no field Token`},
		"a field set that is not there": {"set_field: { AccessToken", "set_field: { AccesToken", `set_field.AccesToken: there is no field AccesToken`},
		"an answer in an input":         {`"[ClientId]"`, `"[body.x]"`, `create_item.input.client_id: [body.x] is of an answer: it is there in on_success and on_error`},
		"two actions":                   {"- save: {}", `- {save: {}, set_field: {ClientId: x}}`, `buttons.Refresh[2]: does one thing: exactly one of`},
		"a broken condition":            {"- save: {}", `- {save: {}, when: "[ClientId] ==="}`, `buttons.Refresh[2].when: does not compile`},
		"no such trigger":               {`"button:Refresh"`, `"button:Refrsh"`, `schedules."Keep the token fresh".trigger: process TokenKeeper has no button:Refrsh: it has button:Refresh, rule:Refresh/1, rule:Refresh/2, rule:Refresh/3`},
		"no such expiry field":          {"created_at: CreatedAt }", "created_at: Created }", `expiry.created_at: there is no field Created`},
		"a seed of no field":            {"ClientId: a,", "ClientID: a,", `instances[0].ClientID: there is no field ClientID`},
		"a base in the clear":           {"https://auth.example", "http://auth.example", `services.Acme.base_url: plain http to auth.example`},
		"a path that climbs":            {"path: /oauth/token", "path: /../token", `methods."Get/Refresh Auth Token".path: the path holds .., which leaves the service's base URL`},
		"fields of one name":            {"fields: [GrantType,", "fields: [GrantType, GrantType,", `fields[1]: GrantType is given twice`},
		"an empty save":                 {"- save: {}", "- save:", `buttons.Refresh[2].save: has no value`},
		"a GET with a body":             {"method: POST", "method: GET", `request.body: a GET has no body: name these under query`},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(keeper, c.old) {
				t.Fatal("the test changes nothing")
			}
			b, _ := formBook(t)
			set, err := b.Registry().Decode([]resource.File{{Name: "test.yaml", Content: strings.Replace(keeper, c.old, c.new, 1)}}, files{})
			if err == nil {
				_, err = b.Apply(t.Context(), set, true)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestProcessWarnings(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no final save":        {"        - save: {}\n", "", "buttons.Refresh: does not end in a Save form rule"},
		"rotation is lost":     {`, RefreshToken: "[body.refresh_token]"`, "", "the answer holds a refresh_token that nothing keeps"},
		"no source":            {`, redirect_url: "[RedirectUrl]"`, "", "parameter redirect_url of Get/Refresh Auth Token has no source: it is not sent"},
		"too slow":             {"every: 55m", "every: 65m", "schedules.\"Keep the token fresh\".every: "},
		"no such instance":     {"instance: TokenKeeper-1", "instance: TokenKeeper-7", "process TokenKeeper has no instance TokenKeeper-7 now"},
		"shown to everybody":   {"{name: AccessToken, secret: true}", "AccessToken", "AccessToken sounds like a secret"},
		"a secret is shown":    {`ExpiresIn: "[body.expires_in]"`, `ExpiresIn: "[body.expires_in]", RedirectUrl: "[body.access_token]"`, "puts a secret, [body.access_token], into field RedirectUrl"},
		"a secret is copied":   {`- set_field: { AccessToken: "" }`, `- set_field: { AccessToken: "", ClientId: "[ClientSecret]" }`, "puts a secret, [ClientSecret], into field ClientId"},
		"not said to be there": {"[body.created_at]", "[body.created]", "does not say that it answers with body.created"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(keeper, c.old) {
				t.Fatal("the test changes nothing")
			}
			b, _ := formBook(t)
			set, err := b.Registry().Decode([]resource.File{{Name: "test.yaml", Content: strings.Replace(keeper, c.old, c.new, 1)}}, files{})
			if err != nil {
				t.Fatal(err)
			}
			r, err := b.Apply(t.Context(), set, false)
			if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Error(), c.want) {
				t.Errorf("got %v, %v\nwant %s", r, err, c.want)
			}
		})
	}
}

// Changes of one resource find what others name of it.
func TestProcessReferencesAreKept(t *testing.T) {
	b, _ := formBook(t)
	must(t, b, strings.Replace(keeper, "{file: token.txt}", "x", 1), nil)
	service := keeper[:strings.Index(keeper, "processes:")]
	if _, err := apply(t, b, strings.Replace(service, `"Get/Refresh Auth Token":`, `"Get Auth Token":`, 1), nil); err == nil || !strings.Contains(err.Error(), `services.Acme.methods: process TokenKeeper calls the method "Get/Refresh Auth Token", which would be gone`) {
		t.Error(err)
	}
	// Row 121: another method disturbs nothing.
	if got := must(t, b, service+"      Other: {method: GET, path: /x}\n", nil); got != "changed services/Acme" {
		t.Error(got)
	}
	if _, err := apply(t, b, "processes: {TokenKeeper: {fields: [A], buttons: {Go: [{save: {}}]}}}", nil); err == nil || !strings.Contains(err.Error(), "schedule Keep the token fresh triggers button:Refresh, which would be gone") {
		t.Error(err)
	}
}

// Hard coded credentials are sealed, other texts are not.
func TestLiteralsThatAreSecret(t *testing.T) {
	b, st := formBook(t)
	text := strings.NewReplacer(`client_secret: "[ClientSecret]"`, `client_secret: CANARY-lit`, `"[ClientId]"`, "plain-id", "{file: token.txt}", "x",
		"body: [grant_type, ", "headers: [{Authorization: Basic CANARY-hdr}, {X-Kind: plain-kind}], body: [{grant_type: plain-grant}, ").Replace(keeper)
	text = strings.Replace(text, "request:  { headers: [], ", "request:  { ", 1)
	must(t, b, text, nil)
	for kind, n := range map[string]string{"services": "Acme", "processes": "TokenKeeper"} {
		row, err := st.Resource(t.Context(), kind, n)
		if err != nil || strings.Contains(row.Spec+string(row.Secrets), "CANARY") || !strings.Contains(row.Spec, "plain-") {
			t.Errorf("%s: %s, %v", kind, row.Spec, err)
		}
	}
	s, err := b.Service(t.Context(), "Acme")
	if err != nil {
		t.Fatal(err)
	}
	if r := s.Methods[0].Request; r.Headers[0].Secret.Reveal() != "Basic CANARY-hdr" || r.Headers[1].Value != "plain-kind" || r.Body[0].Value != "plain-grant" {
		t.Errorf("%+v", r)
	}
	p, _, err := b.Process(t.Context(), "TokenKeeper")
	if err != nil || p.Buttons["Refresh"][1].CreateItem.Input["client_secret"].Secret.Reveal() != "CANARY-lit" {
		t.Errorf("%+v, %v", p, err)
	}
	var out strings.Builder
	if err := b.Export(t.Context(), &out, resource.Key{}, false); err != nil {
		t.Fatal(err)
	}
	if got := must(t, b, out.String(), nil); strings.Contains(got, "created") || strings.Contains(strings.ReplaceAll(got, "unchanged", ""), "changed") {
		t.Errorf("%s\n%s", got, out.String())
	}
}
