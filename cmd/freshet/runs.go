package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
)

type runsCmd struct {
	Show   runsShowCmd   `cmd:"" default:"withargs" help:"List runs, or show one with every step."`
	Cancel runsCancelCmd `cmd:"" help:"End a run that has not ended."`
	Retry  runsRetryCmd  `cmd:"" help:"Go on with a run that faulted, from the step that failed."`
}

type runsShowCmd struct {
	remote      `embed:""`
	format      `embed:""`
	ID          string        `arg:"" optional:"" name:"ID" help:"One run: its journal as a tree."`
	Follow      bool          `short:"F" help:"Print the steps of a run as they happen, until it has ended."`
	Name        string        `placeholder:"NAME" help:"Only runs of this workflow, script or process."`
	Kind        string        `default:"" enum:",workflow,script,process,component" placeholder:"KIND" help:"Only workflow, script, process or component."`
	Status      string        `default:"" enum:",idle,running,suspended,finished,faulted,cancelled" placeholder:"STATUS" help:"Only idle, running, suspended, finished, faulted or cancelled."`
	Correlation string        `placeholder:"TEXT" help:"Only runs that have or had this correlation id; with * at its end, one that begins so."`
	Parent      string        `placeholder:"ID" help:"Only runs that this run started."`
	Since       time.Duration `placeholder:"DURATION" help:"Only runs that started within it, such as 1h."`
	Limit       int           `short:"n" default:"20" placeholder:"N" help:"How many at most."`
}

// Help gives the example that --help shows.
func (runsShowCmd) Help() string {
	return example("freshet runs --status faulted", "With an id, the run with every step: its time, number, activity, branch, duration and message; steps of runs that it started are indented below it.",
		"With --follow --output json each step is a line, and the run the last one.")
}

// Run lists runs or shows one.
func (c *runsShowCmd) Run(e *env) error {
	switch {
	case c.Limit < 1 || c.Limit > 1000:
		return usage("--limit is between 1 and 1000")
	case c.Follow && c.ID == "":
		return usage("--follow takes the ID of a run; freshet events --follow tells of all of them")
	case c.ID != "" && (c.Name != "" || c.Kind != "" || c.Status != "" || c.Correlation != "" || c.Parent != "" || c.Since != 0):
		return usage("an ID names one run: leave the filters out")
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	switch {
	case c.ID == "":
		return c.list(e, cl)
	case c.Follow:
		return c.follow(e, cl)
	}
	return c.show(e, cl)
}

func (c *runsShowCmd) list(e *env, cl *api.Client) error {
	f := api.RunFilter{Name: c.Name, Kind: c.Kind, Status: c.Status, Correlation: c.Correlation, Parent: c.Parent}
	now := time.Now()
	if c.Since > 0 {
		f.Since = now.Add(-c.Since)
	}
	list, err := cl.Runs(e.ctx, f, c.Limit)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"runs": append([]api.Run{}, list...)})
	}
	if len(list) == 0 {
		fmt.Fprintln(e.stderr, "no such run")
		return nil
	}
	t := newTable("ID", "STARTED", "NAME", "STATUS", "TOOK", "TRIGGER", "CORRELATION")
	for i := range list {
		r := &list[i]
		t.add(r.ID, relative(&r.StartedAt, now), r.Name, runStanding(r), took(r), r.Trigger, shorten(r.CorrelationID, 60))
	}
	return t.print(e.stdout)
}

// runStanding is a run's status with what it came to.
func runStanding(r *api.Run) string {
	switch {
	case r.Fault != nil:
		return r.Status + ": " + shorten(r.Fault.Message, 60)
	case len(r.Outcomes) > 0 && (len(r.Outcomes) > 1 || r.Outcomes[0] != "Done"):
		return r.Status + ": " + strings.Join(r.Outcomes, ", ")
	}
	return r.Status
}

func took(r *api.Run) string {
	if r.DurationMS == nil {
		return ""
	}
	return brief(time.Duration(*r.DurationMS) * time.Millisecond)
}

// brief is a short length of time: 0.4ms, 17ms, 2.5s, 3m.
func brief(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", d.Seconds()*1000)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return span(d)
}

// shorten cuts a text that is longer than n runes.
func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

func (c *runsShowCmd) show(e *env, cl *api.Client) error {
	r, err := cl.Run(e.ctx, c.ID)
	if err != nil {
		return err
	}
	if c.json() {
		steps, err := cl.Journal(e.ctx, c.ID)
		if err != nil {
			return err
		}
		return printJSON(e.stdout, struct {
			*api.Run
			Journal []api.Step `json:"journal"`
		}{r, steps})
	}
	describeRun(e.stdout, r)
	fmt.Fprintln(e.stdout)
	t := &tree{e: e, cl: cl, seen: map[string]bool{}}
	if err := t.steps(r, ""); err != nil {
		return err
	}
	if !r.Ended() {
		fmt.Fprintf(e.stderr, "the run is %s; see it go on with: freshet runs %s --follow\n", r.Status, r.ID)
	}
	return nil
}

// describeRun prints what there is to say of a run beside its steps.
func describeRun(w io.Writer, r *api.Run) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-12s %s\n", name, plain(value))
		}
	}
	name := r.Name
	if r.Version > 0 {
		name += fmt.Sprintf(" v%d", r.Version)
	}
	line("run", r.ID)
	line(r.Kind, name)
	line("status", r.Status)
	line("outcomes", strings.Join(r.Outcomes, ", "))
	for f, label := r.Fault, "fault"; f != nil; f, label = f.Cause, "because" {
		line(label, faultLine(f))
	}
	for _, warning := range r.Warnings {
		line("warning", warning)
	}
	line("correlation", r.CorrelationID)
	line("parent", r.Parent)
	line("trigger", r.Trigger)
	line("token road", r.Road)
	when := r.StartedAt.Local().Format("2006-01-02 15:04:05")
	if t := took(r); t != "" {
		when += ", took " + t
	}
	line("started", when)
	line("input", oneLine(r.Input))
	line("output", oneLine(r.Output))
}

func faultLine(f *api.RunFault) string {
	s := f.Message
	at := f.Name
	if at == "" {
		at = f.Activity
	}
	if f.Type != "" {
		at = strings.TrimSpace(f.Type + " " + at)
	}
	if f.Property != "" {
		at = strings.TrimSpace(at + ", property " + f.Property)
	}
	if at != "" {
		s += " (" + at + ")"
	}
	return s
}

// oneLine is a JSON value on one line.
func oneLine(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return ""
	}
	return shorten(b.String(), 400)
}

// A tree prints the steps of a run, and below a step those of the run that it
// started.
type tree struct {
	e    *env
	cl   *api.Client
	seen map[string]bool
}

// treeDepth bounds how deep runs are looked into.
const treeDepth = 8

func (t *tree) steps(r *api.Run, indent string) error {
	t.seen[r.ID] = true
	steps, err := t.cl.Journal(t.e.ctx, r.ID)
	if err != nil {
		return err
	}
	before := 0
	for i := range steps {
		s := &steps[i]
		if left := s.Number - before - 1; left > 0 {
			fmt.Fprintf(t.e.stdout, "%s… %d steps were left out\n", indent, left)
		}
		before = s.Number
		printStep(t.e.stdout, s, indent)
		if s.Child != "" {
			if err := t.child(s.Child, indent+"    "); err != nil {
				return err
			}
		}
	}
	// Those that no step tells of, oldest first.
	for i := len(r.Children) - 1; i >= 0; i-- {
		if err := t.child(r.Children[i], indent+"    "); err != nil {
			return err
		}
	}
	return nil
}

// child prints a run that another one started, once.
func (t *tree) child(id, indent string) error {
	if t.seen[id] {
		return nil
	}
	t.seen[id] = true
	r, err := t.cl.Run(t.e.ctx, id)
	var p *api.Problem
	if errors.As(err, &p) && p.Status == 404 {
		fmt.Fprintf(t.e.stdout, "%srun %s is not kept any more\n", indent, plain(id))
		return nil
	} else if err != nil {
		return err
	}
	line := fmt.Sprintf("%srun %s  %s  %s", indent, r.ID, r.Name, runStanding(r))
	if d := took(r); d != "" {
		line += "  " + d
	}
	fmt.Fprintln(t.e.stdout, plain(line))
	if len(indent) >= 4*treeDepth {
		return nil
	}
	return t.steps(r, indent)
}

// printStep prints one step: its time, number, activity, branch, duration and
// message.
func printStep(w io.Writer, s *api.Step, indent string) {
	what := s.Type
	switch {
	case s.Name != "" && s.Name != s.Type:
		what = strings.TrimSpace(what + " " + s.Name)
	case what == "":
		what = s.Activity
	}
	line := fmt.Sprintf("%s%s %4d  %s", indent, s.At.Local().Format("15:04:05.000"), s.Number, what)
	if s.Event != "" && s.Event != "Executed" {
		line += " [" + s.Event + "]"
	}
	if len(s.Outcomes) > 0 {
		line += " → " + strings.Join(s.Outcomes, ", ")
	}
	if s.DurationMS > 0 {
		line += "  " + brief(time.Duration(s.DurationMS*float64(time.Millisecond)))
	}
	if s.Message != "" {
		line += "  " + s.Message
	}
	fmt.Fprintln(w, plain(line))
	if s.Error != "" {
		fmt.Fprintln(w, plain(indent+strings.Repeat(" ", 19)+"error: "+s.Error))
	}
}

func (c *runsShowCmd) follow(e *env, cl *api.Client) error {
	before := 0
	r, err := cl.Follow(e.ctx, c.ID, 0, func(s api.Step) error {
		if c.json() {
			return printLine(e.stdout, s)
		}
		if left := s.Number - before - 1; left > 0 {
			fmt.Fprintf(e.stdout, "… %d steps were left out\n", left)
		}
		before = s.Number
		printStep(e.stdout, &s, "")
		return nil
	})
	if err != nil {
		if e.ctx.Err() != nil {
			return nil // the person has seen enough
		}
		return err
	}
	if c.json() {
		return printLine(e.stdout, r)
	}
	fmt.Fprintln(e.stdout)
	describeRun(e.stdout, r)
	return nil
}

// printLine writes v on one line.
func printLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", b)
	}
	return err
}

type runsCancelCmd struct {
	remote `embed:""`
	format `embed:""`
	ID     string `arg:"" name:"ID" help:"The run."`
}

// Help gives the example that --help shows.
func (runsCancelCmd) Help() string { return example("freshet runs cancel 06gzt51krw48cyxha5x8xdz134") }

// Run cancels a run.
func (c *runsCancelCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	r, err := cl.CancelRun(e.ctx, c.ID)
	return steered(e, c.format, r, err)
}

type runsRetryCmd struct {
	remote `embed:""`
	format `embed:""`
	ID     string `arg:"" name:"ID" help:"The run."`
}

// Help gives the example that --help shows.
func (runsRetryCmd) Help() string { return example("freshet runs retry 06gzt51krw48cyxha5x8xdz134") }

// Run retries a run.
func (c *runsRetryCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	r, err := cl.RetryRun(e.ctx, c.ID)
	return steered(e, c.format, r, err)
}

// steered prints how a run stands.
func steered(e *env, f format, r *api.Run, err error) error {
	if err != nil {
		return err
	}
	if f.json() {
		return printJSON(e.stdout, r)
	}
	fmt.Fprintf(e.stdout, "run %s of %s is %s\n", r.ID, plain(r.Name), plain(runStanding(r)))
	return nil
}
