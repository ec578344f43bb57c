package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
)

// A Press is a button that somebody presses, or a field or a rule that something
// triggers.
type Press struct {
	Process  string
	Instance string         // "": a new one, which is there once a rule saves it
	Trigger  string         // button:NAME, field:NAME or rule:NAME; NAME alone is a button
	Fields   map[string]any // entered before the rules run; like what they do, private until Save form

	Cause       string // http, cli, schedule:NAME
	Key         string // at most one run has it; "": none
	Correlation string // "": the instance's id
}

// A Result is what came of a press.
type Result struct {
	RunID    string
	Status   run.Status
	Fault    *run.Fault // nil: all rules ran
	Warnings []string
	Saved    bool           // a rule has saved the form
	Instance *Instance      // as it is saved; nil: it is new, and nothing saved it
	Fields   map[string]any // as the rules left the form, secrets masked: after a fault with what the error mapping says
}

// saves is how long a save is tried. What it writes may be a token that the
// provider has already put in the place of the old one.
const saves = 30 * time.Second

// A pressing is a press under way, or a preview of one.
type pressing struct {
	p        *Processes
	d        *freshet.Process
	id       string // of the process's resource
	services map[string]*freshet.Service
	steps    []step

	instance string // "": new
	form     map[string]any
	changed  map[string]bool
	saved    *store.ProcessInstance

	rec     *run.Recorder // nil: a preview that sends nothing
	preview *preview      // nil: it is for real
	by      string
}

// begin reads what a press is about: one snapshot for all of its rules, so that
// a definition that changes meanwhile changes nothing for it.
func (p *Processes) begin(ctx context.Context, q Press) (*pressing, error) {
	d, id, err := p.o.Definitions.Process(ctx, q.Process)
	if err != nil {
		return nil, err
	}
	x := &pressing{p: p, d: d, id: id, instance: q.Instance, services: map[string]*freshet.Service{}, form: map[string]any{}, changed: map[string]bool{}}
	if x.steps, err = triggered(d, q.Trigger); err != nil {
		return nil, err
	}
	for _, s := range x.steps {
		item := s.rule.Item()
		if item == nil || x.services[item.Service] != nil {
			continue
		}
		// One that is gone is a fault of its rule, if the rule is reached.
		if svc, err := p.o.Definitions.Service(ctx, item.Service); err == nil {
			x.services[item.Service] = svc
		} else if !errors.Is(err, freshet.ErrNotFound) {
			return nil, err
		}
	}
	return x, nil
}

// load reads the form, and puts what was entered over it.
func (x *pressing) load(ctx context.Context, values map[string]any) error {
	if x.instance != "" {
		in, err := x.p.row(ctx, x.d.Name, x.instance)
		if err != nil {
			return err
		}
		if x.form, err = x.p.open(in); err != nil {
			return err
		}
	}
	given, err := x.p.entered(x.d, values)
	if err != nil {
		return err
	}
	for n, v := range given {
		x.set(n, v)
	}
	return nil
}

func (x *pressing) set(field string, v any) {
	x.form[field] = v
	x.changed[field] = true
}

// secrets lists the values that the form holds in secret fields.
func (x *pressing) secrets() []string {
	var out []string
	for i := range x.d.Fields {
		if f := &x.d.Fields[i]; f.Secret {
			if text, err := plainText(x.form[f.Name]); err == nil && len(text) >= 6 {
				out = append(out, text)
			}
		}
	}
	return out
}

// road says who keeps the tokens of a press.
func (x *pressing) road() string {
	road := ""
	for _, s := range x.services {
		if s.Connection == "" {
			return run.RoadAsWritten
		}
		road = run.RoadNative
	}
	return road
}

// Press runs rules to their end. A fault is in the result. Errors are of a press
// that did not begin: they wrap freshet.ErrNotFound, are a *TriggerError, a
// *run.DuplicateError, or the store's.
//
// It goes on when ctx ends: whoever pressed may leave, a refresh may not.
func (p *Processes) Press(ctx context.Context, q Press) (*Result, error) {
	x, err := p.begin(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.live.Done()
	if q.Instance != "" {
		if _, err := p.row(ctx, q.Process, q.Instance); err != nil {
			return nil, err // before waiting for it
		}
		release, err := p.locks.take(ctx, q.Instance)
		if err != nil {
			return nil, fmt.Errorf("instance %s is being worked on: %w", q.Instance, err)
		}
		defer release()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.o.Longest)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	if err := x.load(ctx, q.Fields); err != nil {
		return nil, err
	}
	correlation := q.Correlation
	if correlation == "" {
		correlation = q.Instance
	}
	secrets := x.secrets()
	p.known(secrets...)
	input := map[string]any{"instance": q.Instance, "trigger": q.Trigger}
	if len(q.Fields) > 0 {
		shown := map[string]any{}
		for n := range q.Fields {
			shown[n] = masked(x.d, x.form)[n]
		}
		input["fields"] = shown
	}
	if x.rec, err = p.o.Journal.Begin(ctx, run.Start{Kind: run.Process, Name: q.Process, CorrelationID: correlation, Trigger: q.Cause, Key: q.Key, Input: input, Road: x.road(), Secrets: secrets}); err != nil {
		return nil, err
	}
	x.by = "run:" + x.rec.ID()
	fault := x.run(ctx)
	return x.finish(ctx, fault)
}

// finish ends the run and tells what became of it.
func (x *pressing) finish(ctx context.Context, fault *run.Fault) (*Result, error) {
	r := &Result{RunID: x.rec.ID(), Status: run.Finished, Fault: fault, Saved: x.saved != nil, Fields: masked(x.d, x.form)}
	end := run.End{Outcomes: []string{"Done"}, Fault: fault}
	if fault != nil {
		r.Status, end.Outcomes = run.Faulted, []string{"Error"}
	} else if len(x.changed) > 0 && x.preview == nil {
		r.Warnings = append(r.Warnings, "what the rules changed was not saved: no Save form rule ran after it")
	}
	var err error
	if x.saved != nil {
		r.Instance = x.p.show(x.d, *x.saved, x.form)
		if len(x.changed) > 0 { // what was changed since is not in the store
			r.Instance, err = x.p.instance(ctx, x.d, x.saved.Name)
		}
	} else if x.instance != "" {
		r.Instance, err = x.p.instance(ctx, x.d, x.instance)
	}
	if errors.Is(err, freshet.ErrNotFound) { // deleted meanwhile
		r.Instance, err = nil, nil
	}
	end.Warnings = r.Warnings
	end.Output = map[string]any{"instance": x.name(), "saved": r.Saved, "fields": r.Fields}
	return r, errors.Join(x.rec.End(ctx, end), err)
}

func (x *pressing) name() string {
	if x.saved != nil {
		return x.saved.Name
	}
	return x.instance
}

// run runs the rules in order, to the first that fails.
func (x *pressing) run(ctx context.Context) *run.Fault {
	for _, s := range x.steps {
		began := x.p.o.Now()
		out, err := x.rule(ctx, s)
		out.Activity, out.Type, out.Name, out.At = s.id, s.rule.Type(), s.rule.Name, began
		out.Duration = x.p.o.Now().Sub(began)
		if err != nil {
			out.Event, out.Error, out.Outcomes = "Faulted", err.Error(), []string{"Error"}
		}
		if x.preview != nil {
			x.preview.step(x, out)
		}
		if x.rec != nil {
			x.rec.Step(out.Step)
		}
		if err != nil {
			return &run.Fault{Message: err.Error(), Activity: s.id, Type: s.rule.Type(), Name: s.rule.Name}
		}
	}
	return nil
}

// done is what a rule leaves behind.
type done struct {
	run.Step
	request *Request
	answer  *Answer
}

// rule runs one rule.
func (x *pressing) rule(ctx context.Context, s step) (done, error) {
	out := done{Step: run.Step{Event: "Executed", Outcomes: []string{"Done"}}}
	r := s.rule
	if r.When != "" {
		met, err := x.condition(ctx, r.When)
		if err != nil {
			return out, fmt.Errorf("condition: %w", err)
		}
		if !met {
			out.Event, out.Outcomes, out.Message = "Skipped", nil, "its condition does not hold"
			return out, nil
		}
	}
	switch {
	case r.Save != nil:
		return out, x.saveForm(ctx, &out)
	case r.Item() != nil:
		return out, x.item(ctx, r.Item(), &out)
	}
	// All values are those from before the rule, whatever order a map has.
	next := map[string]any{}
	for f, v := range r.SetField {
		got, err := x.value(ctx, v, nil)
		if err != nil {
			return out, fmt.Errorf("%s: %w", f, err)
		}
		next[f] = got.value
		x.confide(f, got)
	}
	for f, v := range next {
		x.set(f, v)
	}
	shown := masked(x.d, x.form)
	out.Data = map[string]any{}
	for f := range next {
		out.Data[f] = shown[f]
	}
	return out, nil
}

// confide tells the journal what is secret from here on.
func (x *pressing) confide(field string, v input) {
	f := x.d.Field(field)
	if f == nil || !f.Secret && !v.secret {
		return
	}
	if text, err := plainText(v.value); err == nil {
		x.secret(text)
	}
}

func (x *pressing) secret(values ...string) {
	x.p.known(values...)
	if x.rec != nil {
		x.rec.Secret(values...)
	}
}

// saveForm makes what the rules have changed the instance.
func (x *pressing) saveForm(ctx context.Context, out *done) error {
	if x.preview != nil {
		out.Message = x.preview.saving()
		return nil
	}
	changed := map[string]any{}
	for f := range x.changed {
		changed[f] = x.form[f]
	}
	var in store.ProcessInstance
	var fields map[string]any
	err := insist(ctx, func(ctx context.Context) (err error) {
		in, fields, err = x.p.save(ctx, x.d, x.id, x.name(), changed, x.by)
		return err
	})
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	x.saved, x.form = &in, fields
	clear(x.changed)
	out.Message = in.Name
	out.Data = map[string]any{"Instance": in.Name}
	if !in.ExpiresAt.IsZero() {
		out.Data["ExpiresAt"] = in.ExpiresAt
	}
	return nil
}

// insist tries again while the store takes no writes.
func insist(ctx context.Context, write func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saves)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := write(ctx)
		if err == nil || errors.Is(err, freshet.ErrNotFound) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// clone is for previews, which save what was entered.
func (x *pressing) clone() map[string]any { return maps.Clone(x.form) }
