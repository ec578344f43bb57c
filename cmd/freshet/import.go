package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
)

type importCmd struct {
	remote   `embed:""`
	format   `embed:""`
	File     []string `arg:"" name:"FILE" help:"Exports of World of Workflows or Elsa 2, Solutions (zip), definitions of our own, JavaScript objects of Appsmith; - is the standard input."`
	As       string   `placeholder:"NAME" help:"The name that the workflow, or the app of a JavaScript object, gets here. A known workflow gets a new version, a known app the object."`
	Publish  bool     `help:"New runs use it; without this it is a draft."`
	Set      []string `sep:"none" placeholder:"VAR=JSON" help:"A default variable to attach beside the file. Repeatable."`
	MapInput []string `sep:"none" placeholder:"VAR=EXPR" help:"A variable that is set before the first activity: JavaScript over input. Repeatable."`
}

// Help gives the example that --help shows.
func (importCmd) Help() string {
	return example(`freshet import call-my-api.json --publish --set 'BaseURL={"Data1":"https://api.example"}' --map-input api=input.api`,
		"Files are kept byte for byte. The report says what came over, and of everything else what, where, why, and what to do. Findings are no failure: the exit code is 1 when nothing could be imported.")
}

// Run imports.
func (c *importCmd) Run(e *env) error {
	in := api.Import{As: c.As, Publish: c.Publish, Set: map[string]json.RawMessage{}, MapInput: map[string]string{}}
	for _, s := range c.Set {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return usage("--set is VAR=JSON, not %q", s)
		}
		if !json.Valid([]byte(value)) {
			return usage("--set %s: the value is no JSON; a text needs quotes: --set '%s=\"…\"'", name, name)
		}
		in.Set[name] = json.RawMessage(value)
	}
	for _, s := range c.MapInput {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" || strings.TrimSpace(value) == "" {
			return usage("--map-input is VAR=EXPR, such as api=input.api, not %q", s)
		}
		in.MapInput[name] = value
	}
	for _, path := range c.File {
		f := api.ImportFile{Name: filepath.Base(path)}
		var err error
		if path == "-" {
			f.Name = "stdin"
			f.Data, err = io.ReadAll(e.stdin)
		} else {
			f.Data, err = os.ReadFile(path)
		}
		if err != nil {
			return readError(err)
		}
		fromEnvironment(e, &in, f.Data)
		in.Files = append(in.Files, f)
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	out, err := cl.Import(e.ctx, in)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, out)
	}
	for i := range out.Reports {
		if i > 0 {
			fmt.Fprintln(e.stdout)
		}
		printImported(e.stdout, &out.Reports[i])
	}
	for _, s := range out.Skipped {
		fmt.Fprintf(e.stdout, "skipped %s: %s: %s\n", plain(s.File), plain(s.What), plain(s.Why))
		if s.Do != "" {
			fmt.Fprintf(e.stdout, "  → %s\n", plain(s.Do))
		}
	}
	if len(out.Reports) == 0 {
		return errors.New("nothing could be imported")
	}
	return nil
}

// printImported writes a report as people read it: what it is, what it needs,
// what to do.
func printImported(w io.Writer, r *api.ImportReport) {
	line := func(format string, args ...any) { fmt.Fprintln(w, plain(fmt.Sprintf(format, args...))) }
	do := func(text string) {
		if text != "" {
			fmt.Fprintln(w, "    → "+plain(text))
		}
	}
	if r.Kind == "app" {
		printApp(w, r)
		return
	}
	if r.Kind == "component" {
		printComponent(w, r)
		return
	}
	standing := "draft"
	if r.Published {
		standing = "published"
	}
	line("%s workflow %s, version %d (%s)", r.Action, r.Name, r.Version, standing)
	line("  carried over: %d activities, %d connections, %d expressions; the file is kept byte for byte", r.Activities, r.Connections, r.Expressions)
	if len(r.Starts) > 0 {
		line("  starts with %q", r.Starts[0])
	}
	if len(r.Attached) > 0 {
		line("  attached: %s", strings.Join(r.Attached, ", "))
	}
	for _, p := range r.Endpoints {
		line("  endpoint %s %s: %s", p.Methods, p.Path, p.Security)
	}
	if in := r.Inputs; in != nil {
		words := strings.Join(in.Members, ", ")
		if in.Whole || words == "" {
			words = strings.TrimPrefix(words+", used as a whole", ", ")
		}
		line("  input: %s (%s)", words, uses(in.Uses))
	}
	for _, v := range r.Variables {
		line("  variable %s is read and never set: %s (%s)", v.Name, v.Effect, uses(v.Uses))
		do(v.Do)
	}
	for _, t := range r.Tables {
		detail := ""
		if len(t.Columns) > 0 {
			detail += "; columns " + strings.Join(t.Columns, ", ")
		}
		if len(t.Keys) > 0 {
			detail += "; rows " + strings.Join(t.Keys, ", ")
		}
		line("  table %s%s%s", t.Name, there(t.There), detail)
		do(t.Do)
	}
	for _, n := range r.Workflows {
		line("  calls workflow %s%s (%s)", n.Name, there(n.There), uses(n.Uses))
		do(n.Do)
	}
	for _, n := range r.Secrets {
		line("  secret %s%s (%s)", n.Name, there(n.There), uses(n.Uses))
		do(n.Do)
	}
	for _, n := range r.Used {
		line("  connection %s%s (%s)", n.Name, there(n.There), uses(n.Uses))
		do(n.Do)
	}
	if r.Road.Kind != "none" {
		line("  tokens: %s: %s", r.Road.Kind, r.Road.Why)
		do(r.Road.Do)
	}
	// What is so of several activities is said once.
	type same struct{ severity, what, why, do string }
	var order []same
	where := map[same][]string{}
	for _, f := range r.Findings {
		k := same{f.Severity, f.What, f.Why, f.Do}
		if where[k] == nil {
			order = append(order, k)
		}
		where[k] = append(where[k], place(f))
	}
	for _, k := range order {
		text := fmt.Sprintf("  %s: %s", k.severity, k.what)
		if k.why != "" {
			text += ": " + k.why
		}
		if at := strings.Join(where[k], "; "); at != "" {
			text += " (" + at + ")"
		}
		line("%s", text)
		do(k.do)
	}
}

// place says where a finding is: "ACTIVITY" TYPE, PROPERTY, line L, column C.
func place(f api.ImportFinding) string {
	var parts []string
	if f.Activity != "" {
		at := strconv.Quote(f.Activity)
		if f.Type != "" && f.Type != f.Activity {
			at += " " + f.Type
		}
		parts = append(parts, at)
	}
	if f.Property != "" {
		parts = append(parts, f.Property)
	}
	if f.Line > 0 {
		parts = append(parts, fmt.Sprintf("line %d, column %d", f.Line, f.Column))
	}
	return strings.Join(parts, ", ")
}

func there(v *bool) string {
	switch {
	case v == nil:
		return ""
	case *v:
		return " (there)"
	}
	return " (missing)"
}

// uses names the first places and counts the others.
func uses(list []api.ImportUse) string {
	const most = 3
	var out []string
	for _, u := range list[:min(len(list), most)] {
		out = append(out, u.String())
	}
	if n := len(list) - most; n > 0 {
		out = append(out, fmt.Sprintf("%d more", n))
	}
	return strings.Join(out, "; ")
}

// workflows lists the workflows with their versions.
func (c *getCmd) workflows(e *env, cl *api.Client) error {
	all := []api.Workflow{}
	if err := cl.List(e.ctx, "/api/v1/workflows?limit=200", "workflows", func(raw json.RawMessage) error {
		var w api.Workflow
		err := json.Unmarshal(raw, &w)
		all = append(all, w)
		return err
	}); err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"workflows": all})
	}
	if len(all) == 0 {
		fmt.Fprintln(e.stderr, "there are no workflows yet; bring one with: freshet import FILE --publish")
		return nil
	}
	now := time.Now()
	t := newTable("NAME", "VERSION", "PUBLISHED", "CHANGED")
	for _, w := range all {
		published := "none"
		if w.Published > 0 {
			published = strconv.FormatInt(w.Published, 10)
		}
		t.add(w.Name, strconv.FormatInt(w.Version, 10), published, relative(w.UpdatedAt, now))
	}
	return t.print(e.stdout)
}
