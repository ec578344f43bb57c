package process

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/run"
)

// A Preview asks what a press would do.
type Preview struct {
	Press
	Perform bool   // send the requests, with what was entered; refused for a saved instance, whose button does that
	Save    bool   // make an instance of the form: as it was entered, or with Perform as the rules left it
	By      string // who
}

// A Previewed is what a press would do, or with Perform has done.
type Previewed struct {
	RunID    string
	Steps    []PreviewStep
	Fault    *run.Fault
	Fields   map[string]any // as the rules would leave the form, secrets masked
	Instance *Instance      // that Save made
	Warnings []string
}

// A PreviewStep is one rule.
type PreviewStep struct {
	Rule    string         `json:"rule"` // Refresh/2
	Type    string         `json:"type"`
	Name    string         `json:"name,omitempty"`
	Event   string         `json:"event"` // Executed, Previewed, Skipped, Faulted
	Message string         `json:"message,omitempty"`
	Error   string         `json:"error,omitempty"`
	Request *Request       `json:"request,omitempty"` // exactly what goes over the wire, secrets masked
	Answer  *Answer        `json:"answer,omitempty"`
	Fields  map[string]any `json:"fields"` // after the rule, secrets masked
}

type preview struct {
	perform bool
	save    bool
	steps   []PreviewStep
}

func (v *preview) saving() string {
	if v.save {
		return "saved as a new instance when the preview is over"
	}
	return "a preview saves nothing unless it is asked to"
}

func (v *preview) step(x *pressing, d done) {
	v.steps = append(v.steps, PreviewStep{Rule: d.Activity, Type: d.Type, Name: d.Name, Event: d.Event, Message: d.Message, Error: d.Error, Request: d.request, Answer: d.answer, Fields: masked(x.d, x.form)})
}

// ErrSpends says that a preview of a saved instance sends nothing.
var ErrSpends = errors.New("a preview does not perform the requests of a saved instance: they would spend what it holds and keep nothing of the answer; press its button")

// Preview runs rules on a copy of a form and shows each request. It sends them
// only if it is asked to; that is a run in the journal.
func (p *Processes) Preview(ctx context.Context, q Preview) (*Previewed, error) {
	if q.Perform && q.Instance != "" {
		return nil, ErrSpends
	}
	x, err := p.begin(ctx, q.Press)
	if err != nil {
		return nil, err
	}
	if err := x.load(ctx, q.Fields); err != nil {
		return nil, err
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.live.Done()
	x.preview, x.by = &preview{perform: q.Perform, save: q.Save}, q.By
	keep := x.clone()
	secrets := x.secrets()
	p.known(secrets...)
	if q.Perform {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), p.o.Longest)
		defer cancel()
		defer context.AfterFunc(p.life, cancel)()
		if x.rec, err = p.o.Journal.Begin(ctx, run.Start{Kind: run.Process, Name: q.Process, CorrelationID: q.Correlation, Trigger: "preview", Input: map[string]any{"trigger": q.Trigger}, Road: x.road(), Secrets: secrets}); err != nil {
			return nil, err
		}
		x.by = "run:" + x.rec.ID()
	}
	out := &Previewed{Fault: x.run(ctx)}
	out.Steps, out.Fields = x.preview.steps, masked(x.d, x.form)
	if q.Perform {
		keep = x.form
		if out.Fault == nil && !q.Save {
			out.Warnings = append(out.Warnings, "the requests were sent and nothing of the answers was kept: save with the preview if they renew a token")
		}
	}
	var saved error
	if q.Save && (out.Fault == nil || !q.Perform) {
		saved = insist(ctx, func(ctx context.Context) error {
			in, fields, err := p.save(ctx, x.d, x.id, "", keep, x.by)
			if err == nil {
				x.saved = &in
				out.Instance = p.show(x.d, in, fields)
			}
			return err
		})
	}
	if x.rec != nil {
		r, err := x.finish(ctx, out.Fault)
		saved = errors.Join(saved, err)
		if r != nil {
			out.RunID = r.RunID
		}
	}
	return out, saved
}

// A Test is one call of a method by itself: the test button of a service.
type Test struct {
	Service string
	Method  string
	Inputs  map[string]any // as an input mapping: header, query and body fields, urlPath
	Perform bool
}

// A Tested is the request of a test, and what it brought.
type Tested struct {
	Request *Request `json:"request" doc:"What goes over the wire, secrets as [secret]."`
	Answer  *Answer  `json:"answer,omitempty" doc:"What came back, secrets as [secret]."`
	Error   string   `json:"error,omitempty" doc:"Why it is no success."`
	RunID   string   `json:"run_id,omitempty"`
}

// Test calls a method with given inputs and shows request and answer.
func (p *Processes) Test(ctx context.Context, q Test) (*Tested, error) {
	s, err := p.o.Definitions.Service(ctx, q.Service)
	if err != nil {
		return nil, err
	}
	m := s.Method(q.Method)
	if m == nil {
		return nil, fmt.Errorf("service %s has no method %q: %w", q.Service, q.Method, freshet.ErrNotFound)
	}
	inputs := map[string]input{}
	for n, v := range q.Inputs {
		inputs[n] = input{value: v}
	}
	r, err := compose(s, m, inputs)
	if err != nil {
		return nil, &InputError{err}
	}
	out := &Tested{Request: &r.shown}
	if !q.Perform {
		return out, nil
	}
	p.known(r.secrets...)
	rec, err := p.o.Journal.Begin(ctx, run.Start{Kind: run.Process, Name: q.Service, Trigger: "test", Input: map[string]any{"service": q.Service, "method": q.Method}, Secrets: r.secrets})
	if err != nil {
		return nil, err
	}
	began := p.o.Now()
	a := p.call(ctx, s, r, rec.ID())
	out.RunID, out.Answer = rec.ID(), a.shown()
	step := run.Step{Activity: q.Method, Type: "Test", Name: q.Method, At: began, Duration: p.o.Now().Sub(began), Event: "Executed", Outcomes: []string{"Success"},
		Inputs: map[string]any{"Request": r.shown.Method + " " + r.shown.URL, "Body": r.shown.Body}, Data: map[string]any{"Status": int64(a.status)}}
	end := run.End{Status: run.Finished}
	if a.err != nil {
		out.Error = a.err.Error()
		step.Event, step.Outcomes, step.Error = "Faulted", []string{"Error"}, out.Error
		end = run.End{Fault: &run.Fault{Message: out.Error, Activity: q.Method, Type: "Test"}}
	}
	rec.Step(step)
	return out, rec.End(ctx, end)
}

// An InputError says what of an input cannot be used.
type InputError struct{ Err error }

// Error is the reason.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *InputError) Unwrap() error { return e.Err }
