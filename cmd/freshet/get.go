package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/api"
)

type getCmd struct {
	remote `embed:""`
	format `embed:""`
	What   string `arg:"" name:"KIND[/NAME]" help:"connections, providers, clients, tables, workflows, webhooks, network, keys or audit."`
	State  string `enum:",ok,uncertain,attention,misconfigured,reauth" default:"" placeholder:"STATE" help:"With connections: only those in this state."`
}

// Help gives the example that --help shows.
func (getCmd) Help() string {
	return example("freshet get connections", "providers lists the catalogue too. Times are relative; --output json has the exact ones.")
}

// Run lists a kind, or shows one resource.
func (c *getCmd) Run(e *env) error {
	kind, name, err := kindName(c.What)
	if err != nil {
		return err
	}
	if c.State != "" && (kind != "connections" || name != "") {
		return usage("--state goes with: freshet get connections")
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	switch {
	case name != "" && (kind == "keys" || kind == "audit"):
		return usage("%s are listed only: freshet get %s", kind, kind)
	case name != "" || kind == "network":
		return c.one(e, cl, kind, name)
	case kind == "connections":
		return c.connections(e, cl)
	case kind == "tables":
		return c.tables(e, cl)
	case kind == "workflows":
		return c.workflows(e, cl)
	case kind == "keys":
		return listKeys(e, cl, c.format)
	case kind == "audit":
		return c.audit(e, cl)
	}
	return c.list(e, cl, kind)
}

// connections lists where each connection stands.
func (c *getCmd) connections(e *env, cl *api.Client) error {
	path := "/api/v1/connections?limit=200"
	if c.State != "" {
		path += "&state=" + url.QueryEscape(c.State)
	}
	all := []json.RawMessage{}
	now := time.Now()
	t := newTable("NAME", "STATE", "EXPIRES", "NEXT REFRESH", "LAST ERROR")
	err := cl.List(e.ctx, path, "connections", func(raw json.RawMessage) error {
		var cn api.Connection
		if err := json.Unmarshal(raw, &cn); err != nil {
			return fmt.Errorf("GET /api/v1/connections: %w", err)
		}
		if c.State != "" && cn.State != c.State {
			return nil
		}
		all = append(all, raw)
		t.add(cn.Name, standing(&cn), expiry(&cn, now), relative(cn.NextRefreshAt, now), trouble(&cn, now))
		return nil
	})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"connections": all})
	}
	if len(all) == 0 {
		fmt.Fprintln(e.stderr, "there is no connection yet; make one with: freshet apply -f FILE")
		return nil
	}
	return t.print(e.stdout)
}

// standing is a connection's state, with the reason if there is one.
func standing(cn *api.Connection) string {
	if cn.Reason == "" {
		return cn.State
	}
	return cn.State + " (" + cn.Reason + ")"
}

func expiry(cn *api.Connection, now time.Time) string {
	switch {
	case cn.Generation == 0:
		return "no token"
	case cn.ExpiresAt == nil:
		return "not known"
	case cn.ExpiresAt.Before(now):
		return "expired " + relative(cn.ExpiresAt, now)
	}
	return relative(cn.ExpiresAt, now)
}

// trouble is the last error in words.
func trouble(cn *api.Connection, now time.Time) string {
	f := cn.LastError
	if f == nil {
		if cn.Reason == string(freshet.ReasonNeverAuthorized) {
			return "nobody has authorized it yet"
		}
		return ""
	}
	s := f.Code
	if f.Detail != "" {
		s = f.Detail
		if f.Code != "" && !strings.Contains(s, f.Code) {
			s = f.Code + ": " + s
		}
	}
	if !f.At.IsZero() {
		s += " (" + relative(&f.At, now) + ")"
	}
	return s
}

// authorize is the command that gives a connection its grant.
func authorize(cn *api.Connection) string {
	var spec struct{ Grant freshet.GrantType }
	if json.Unmarshal(cn.Spec, &spec) == nil && spec.Grant == freshet.GrantRefreshToken {
		return "freshet tokens import " + cn.Name + " -f FILE"
	}
	return "freshet connect " + cn.Name
}

// one shows a single resource.
func (c *getCmd) one(e *env, cl *api.Client, kind, name string) error {
	var raw json.RawMessage
	if err := cl.Get(e.ctx, kind, name, &raw); err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, raw)
	}
	switch kind {
	case "connections":
		return c.connection(e, raw)
	case "tables":
		return c.table(e, raw)
	}
	return cl.Export(e.ctx, kind, name, false, e.stdout)
}

func (c *getCmd) connection(e *env, raw json.RawMessage) error {
	var cn api.Connection
	if err := json.Unmarshal(raw, &cn); err != nil {
		return fmt.Errorf("the connection does not read: %w", err)
	}
	now := time.Now()
	at := func(t *time.Time) string { return t.Local().Format(time.RFC3339) + " (" + relative(t, now) + ")" }
	line := func(name, value string) { fmt.Fprintf(e.stdout, "%-14s %s\n", name, plain(value)) }
	line("name", cn.Name)
	line("state", standing(&cn))
	line("generation", fmt.Sprint(cn.Generation))
	if cn.ExpiresAt == nil {
		line("expires", expiry(&cn, now))
	} else {
		line("expires", at(cn.ExpiresAt))
	}
	if cn.NextRefreshAt != nil {
		line("next refresh", at(cn.NextRefreshAt))
	}
	if cn.RefreshExpiresAt != nil {
		line("refresh token", "dies "+at(cn.RefreshExpiresAt))
	}
	if s := trouble(&cn, now); s != "" {
		line("last error", s)
	}
	if cn.State == string(freshet.StateReauth) {
		line("what to do", authorize(&cn))
	} else if cn.Hint != "" {
		line("what to do", cn.Hint)
	}
	return nil
}

// list shows the names of a kind, with what its specs have in common with
// people's questions.
func (c *getCmd) list(e *env, cl *api.Client, kind string) error {
	all := []json.RawMessage{}
	columns := listColumns[kind]
	t := newTable(append([]string{"NAME"}, columns.head...)...)
	err := cl.List(e.ctx, "/api/v1/"+url.PathEscape(kind)+"?limit=200", kind, func(raw json.RawMessage) error {
		all = append(all, raw)
		var r api.Resource
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("GET /api/v1/%s: %w", kind, err)
		}
		row := []string{r.Name}
		if columns.row != nil {
			var spec map[string]any
			json.Unmarshal(r.Spec, &spec)
			row = append(row, columns.row(&r, spec)...)
		}
		t.add(row...)
		return nil
	})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{kind: all})
	}
	if len(all) == 0 {
		fmt.Fprintf(e.stderr, "there are no %s yet\n", plain(kind))
		return nil
	}
	return t.print(e.stdout)
}

// listColumns are the columns of a kind's list beside the name.
var listColumns = map[string]struct {
	head []string
	row  func(r *api.Resource, spec map[string]any) []string
}{
	"providers": {[]string{"TITLE", "GRANTS", "FROM"}, func(r *api.Resource, spec map[string]any) []string {
		from := r.Origin
		if from == "" {
			from = "applied"
		}
		return []string{words(spec["title"]), words(spec["grants"]), from}
	}},
	"clients": {[]string{"PROVIDER", "ID"}, func(r *api.Resource, spec map[string]any) []string {
		return []string{words(spec["provider"]), words(spec["id"])}
	}},
	"webhooks": {[]string{"URL", "EVENTS"}, func(r *api.Resource, spec map[string]any) []string {
		events := words(spec["events"])
		if events == "" {
			events = "all"
		}
		return []string{words(spec["url"]), events}
	}},
}

// words is a spec's text, or list of texts.
func words(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		var out []string
		for _, m := range v {
			out = append(out, fmt.Sprint(m))
		}
		return strings.Join(out, " ")
	}
	return ""
}

// audit shows the newest rows of the audit.
func (c *getCmd) audit(e *env, cl *api.Client) error {
	var out struct {
		Audit []json.RawMessage `json:"audit"`
	}
	if err := cl.Do(e.ctx, "GET", "/api/v1/audit?limit=100", nil, &out); err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"audit": append([]json.RawMessage{}, out.Audit...)})
	}
	t := newTable("WHEN", "WHO", "DID", "TO")
	slices.Reverse(out.Audit) // oldest first, as logs are read
	for _, raw := range out.Audit {
		var a struct {
			At                     time.Time
			Actor, Action, Subject string
		}
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("GET /api/v1/audit: %w", err)
		}
		t.add(a.At.Local().Format("2006-01-02 15:04:05"), a.Actor, a.Action, a.Subject)
	}
	return t.print(e.stdout)
}
