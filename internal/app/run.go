package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// A Request asks for one function of an app.
type Request struct {
	App      string
	Function string          // OBJECT.FUNCTION
	Input    json.RawMessage // its argument; nil: none

	Trigger       string // api, cli
	CorrelationID string
}

// A Result is how a run of a function ended.
type Result struct {
	RunID    run.ID
	Status   run.Status
	Outcomes []string
	Output   any // a value of package model; not masked
	Fault    *run.Fault
	Alerts   []Alert
}

// Run runs a function of an app, after other jobs of the app have ended. The
// error is about what was asked for; what the function throws is a fault of its
// run.
func (a *Apps) Run(ctx context.Context, r Request) (Result, error) {
	args := json.RawMessage("[]")
	if len(r.Input) > 0 {
		args = append(append(json.RawMessage("["), r.Input...), ']')
	}
	var input any
	if len(r.Input) > 0 {
		v, err := model.ParseJSON(r.Input)
		if err != nil {
			return Result{}, fmt.Errorf("the input is no JSON: %w", err)
		}
		input = v
	}
	var out Result
	err := a.job(ctx, r.App, run.Start{Kind: run.Script, Name: r.App + "." + r.Function, Input: input, Trigger: r.Trigger, CorrelationID: r.CorrelationID},
		args, func(p *program) error { return p.function(r.Function) },
		func(j *job) (run.End, error) {
			v, err := j.eval(j.p.bundle, "__r.call("+strconv.Quote(r.Function)+", __boot.args)")
			out.Output, out.Alerts, out.RunID = v, j.alerts, j.rec.ID()
			if err != nil {
				_, text := j.p.bundle.located(err)
				out.Output = nil
				return run.End{Fault: &run.Fault{Message: text, Activity: r.Function, Type: "Function", Name: r.Function}}, nil
			}
			return run.End{Outcomes: []string{"Done"}, Output: v}, nil
		}, func(e run.End) {
			out.Status, out.Outcomes, out.Fault = run.Finished, e.Outcomes, e.Fault
			if e.Fault != nil {
				out.Status, out.Output = run.Faulted, nil
			}
			if e.Status != "" {
				out.Status = e.Status
			}
		})
	return out, err
}

// function says that an app has no such function.
func (p *program) function(name string) error {
	for _, f := range p.functions {
		if f == name {
			return nil
		}
	}
	return &MissingError{App: p.Name, What: "function", Name: name, Near: p.near(name)}
}

// job runs do in the app's turn and in the journal.
func (a *Apps) job(ctx context.Context, name string, s run.Start, args json.RawMessage, check func(*program) error, do func(*job) (run.End, error), ended func(run.End)) error {
	a.mu.Lock()
	if a.base.Err() != nil {
		a.mu.Unlock()
		return errClosed
	}
	a.jobs.Add(1)
	a.mu.Unlock()
	defer a.jobs.Done()
	r, p, err := a.find(ctx, name)
	if err != nil {
		return err
	}
	if err := check(p); err != nil {
		return err
	}
	// The run begins and ends outside of its turn: writing that down takes as
	// long as the turns of others.
	rec, err := a.o.Journal.Begin(ctx, s)
	if err != nil {
		return err
	}
	end := a.turn(ctx, r, p, rec, args, do)
	ended(end)
	if err := rec.End(ctx, end); err != nil {
		a.o.Log.Warn("the end of a run is not written yet", "run", rec.ID(), "error", err)
	}
	return nil
}

// turn waits for the app's turn and runs do. What goes wrong is in the end.
func (a *Apps) turn(ctx context.Context, r *resident, p *program, rec *run.Recorder, args json.RawMessage, do func(*job) (run.End, error)) run.End {
	failed := func(err error) run.End {
		if errors.Is(err, context.Canceled) {
			return run.End{Status: run.Cancelled, Fault: &run.Fault{Message: "whoever started it went away before its turn"}}
		}
		return run.End{Fault: &run.Fault{Message: err.Error()}}
	}
	if err := a.enter(ctx, r); err != nil {
		return failed(err)
	}
	defer r.leave()
	k, err := a.open(ctx, r)
	if err != nil {
		return failed(err)
	}
	j, err := a.begin(ctx, r, p, rec, k, args)
	if err != nil {
		return failed(err)
	}
	end, err := do(j)
	j.traps.finish(j)
	if flush := j.end(); flush != nil && err == nil && end.Fault == nil {
		err = flush
	}
	if err != nil {
		return failed(err)
	}
	rec.Road(road(j))
	return end
}

// road says who looks after the tokens.
func road(j *job) string {
	switch {
	case j.written || len(j.keep.secrets()) > 0:
		return run.RoadAsWritten
	case j.native:
		return run.RoadNative
	}
	return ""
}

// A View is a page with what it shows.
type View struct {
	App, Page, Title, Heading string
	RunID                     run.ID
	Widgets                   []Shown
	Alerts                    []Alert
	Fault                     string // of the button that was pressed
}

// A Shown is one widget with its values.
type Shown struct {
	*widget
	Values map[string]value // by part
	Error  string           // in place of them
	Of     string           // the query or function that failed
	Input  string           // what was typed
}

// Load makes a page: first what it waits for, then what it shows. Inputs are
// what was typed, by widget.
func (a *Apps) Load(ctx context.Context, app, name, trigger string, inputs map[string]string) (*View, error) {
	return a.show(ctx, app, name, "", trigger, inputs)
}

// Press presses a button of a page and makes the page anew. What the button ran
// does not run again.
func (a *Apps) Press(ctx context.Context, app, name, button, trigger string, inputs map[string]string) (*View, error) {
	return a.show(ctx, app, name, button, trigger, inputs)
}

func (a *Apps) show(ctx context.Context, app, name, button, trigger string, typed map[string]string) (*View, error) {
	var out *View
	runName := app + "/" + name
	if button != "" {
		runName += ":" + button
	}
	check := func(p *program) error {
		g := p.page(name)
		if g == nil {
			near := ""
			if len(p.pages) > 0 {
				near = "; it has " + p.pages[0].Name
			}
			return &MissingError{App: app, What: "page", Name: name, Near: near}
		}
		if w := g.widget(button); button != "" && (w == nil || w.Type != "button") {
			return &MissingError{App: app, What: "button", Name: button}
		}
		return nil
	}
	err := a.job(ctx, app, run.Start{Kind: run.Script, Name: runName, Trigger: trigger}, nil, check, func(j *job) (run.End, error) {
		var err error
		end := run.End{}
		out, end, err = j.page(j.p.page(name), button, typed)
		return end, err
	}, func(end run.End) {
		if end.Fault != nil && out == nil {
			out = &View{App: app, Page: name, Title: name, Fault: end.Fault.Message}
		}
	})
	return out, err
}

func (g *page) widget(name string) *widget {
	for _, w := range g.widgets {
		if w.Name == name {
			return w
		}
	}
	return nil
}

// page runs what a page needs and reads what it shows.
func (j *job) page(g *page, button string, typed map[string]string) (*View, run.End, error) {
	view := &View{App: j.p.Name, Page: g.Name, Title: g.Title, Heading: j.p.Title, RunID: j.rec.ID()}
	if view.Title == "" {
		view.Title = g.Name
	}
	if view.Heading == "" {
		view.Heading = j.p.Name
	}
	tail, err := g.program(button, typed)
	if err != nil {
		return nil, run.End{}, err
	}
	v, err := j.eval(g.bundle, tail)
	view.Alerts = j.alerts
	if err != nil {
		_, text := g.bundle.located(err)
		view.Fault = j.hidden.Scrub(text)
		return view, run.End{Fault: &run.Fault{Message: text, Type: "Page", Name: g.Name}}, nil
	}
	got, _ := model.Plain(v).(map[string]any)
	text, _ := got["text"].(string)
	var shown struct {
		Failed  map[string]string
		Fault   string
		Widgets map[string]map[string]struct {
			V     string
			Error string
			Of    string
		}
	}
	if err := json.Unmarshal([]byte(text), &shown); err != nil {
		return nil, run.End{}, errors.New("what the page shows does not read")
	}
	end := run.End{Outcomes: []string{"Done"}, Output: map[string]any{"failed": plainFailed(shown.Failed)}}
	view.Fault = j.hidden.Scrub(shown.Fault)
	if shown.Fault != "" {
		end.Fault = &run.Fault{Message: shown.Fault, Activity: button, Type: "Button", Name: button}
	} else if len(shown.Failed) > 0 {
		end.Outcomes = []string{"Error"}
	}
	for n, text := range shown.Failed {
		j.warn("%s failed, and what waits for it is not shown: %s", n, text)
	}
	for _, w := range g.widgets {
		s := Shown{widget: w, Values: map[string]value{}, Input: typed[w.Name]}
		for i := range w.parts {
			p := &w.parts[i]
			got := shown.Widgets[w.Name][p.name]
			if got.Error != "" {
				s.Error, s.Of = j.hidden.Scrub(got.Error), got.Of
				continue
			}
			s.Values[p.name] = j.part(p, got.V)
		}
		view.Widgets = append(view.Widgets, s)
	}
	for i := range view.Alerts {
		view.Alerts[i].Message = j.hidden.Scrub(view.Alerts[i].Message)
	}
	return view, end, nil
}

func plainFailed(in map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range in {
		out[k] = v
	}
	return out
}

// part is what a widget's text came to, without secrets: of one {{ }} alone the
// value itself, else text.
func (j *job) part(p *part, list string) value {
	var raw []json.RawMessage
	if json.Unmarshal([]byte(list), &raw) != nil {
		return ""
	}
	values := make([]value, len(raw))
	for i, r := range raw {
		values[i] = value(r)
	}
	if p.whole() && len(values) == 1 {
		return value(j.scrub(string(values[0])))
	}
	b, err := json.Marshal(p.plain(values))
	if err != nil {
		return ""
	}
	return value(j.scrub(string(b)))
}

// scrub takes secrets out of JSON, also as they are written there.
func (j *job) scrub(s string) string {
	for _, secret := range j.secrets {
		if q, err := json.Marshal(secret); err == nil && len(q) > 2 {
			s = strings.ReplaceAll(s, string(q[1:len(q)-1]), "[secret]")
		}
	}
	return j.hidden.Scrub(s)
}

// program is the last line of a page's bundle.
func (g *page) program(button string, typed map[string]string) (string, error) {
	type wait struct {
		Name  string   `json:"name"`
		After []string `json:"after"`
	}
	type entry struct {
		Name  string `json:"name"`
		Parts []wait `json:"parts"`
	}
	list, inputs := []entry{}, map[string]map[string]any{}
	for _, w := range g.widgets {
		e := entry{Name: w.Name, Parts: []wait{}}
		for _, p := range w.parts {
			after := p.after
			if after == nil {
				after = []string{}
			}
			e.Parts = append(e.Parts, wait{p.name, after})
		}
		list = append(list, e)
		if v, ok := w.input(typed); ok {
			inputs[w.Name] = v
		}
	}
	levels := g.levels
	if levels == nil {
		levels = [][]node{}
	}
	var parts [3]string
	for i, v := range []any{levels, list, inputs} {
		b, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		parts[i] = string(b)
	}
	act := ""
	if button != "" && g.widget(button).click != "" {
		act = "try { await __r.act(() => (\n" + g.widget(button).click + "\n)); } catch (e) { fault = e instanceof Error ? (e.name === 'Error' ? '' : e.name + ': ') + e.message : '' + e; }"
	}
	return "for (const [n, v] of Object.entries(" + parts[2] + ")) __r.input(n, v);\n" +
		"(async () => { let fault = ''; " + act + "\nconst failed = await __r.load(" + parts[0] + ");\n" +
		"return {text: JSON.stringify({failed, fault, widgets: __r.show(" + parts[1] + ", failed)})}; })()", nil
}

// input is what bindings read of an input.
func (w *widget) input(typed map[string]string) (map[string]any, bool) {
	v, given := typed[w.Name]
	if !given && !strings.Contains(w.Default, "{{") {
		v = w.Default
	}
	switch w.Type {
	case "input":
		out := map[string]any{"text": v, "isValid": true}
		if n, err := strconv.ParseFloat(v, 64); err == nil && w.AppWidget.Input == "number" {
			out["value"] = n
		}
		return out, true
	case "select":
		return map[string]any{"selectedOptionValue": v, "selectedOptionLabel": v}, true
	case "checkbox":
		return map[string]any{"isChecked": v == "true" || v == "on"}, true
	}
	return nil, false
}
