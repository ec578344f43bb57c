package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
)

type runCmd struct {
	remote  `embed:""`
	What    string `arg:"" name:"WORKFLOW" help:"A workflow, APP.SCRIPT.FUNCTION, COMPONENT.ACTION, or PROCESS/INSTANCE:BUTTON."`
	Input   string `placeholder:"JSON|@FILE" help:"The input; @FILE reads it from a file, @- from the standard input."`
	Journal bool   `help:"Print each step on the standard error as it happens."`
	Preview bool   `help:"Show the requests that it would send, secrets masked, and send none. Of processes."`
}

// Help gives the example that --help shows.
func (runCmd) Help() string {
	return example(`freshet run CallMyAPI --input '{"api":"/me"}' --journal`, "Prints the output: a text as it is, anything else as JSON. Exit code 1 when it faulted or finished with the outcome error.")
}

var function = regexp.MustCompile(`^[^./:]+\.[^./:]+\.[^./:]+$`)

// Run runs a workflow.
func (c *runCmd) Run(e *env) error {
	if strings.Contains(c.What, "/") {
		return c.process(e)
	}
	if c.Preview {
		return withHint(errors.New("--preview is of processes: previews of workflows and scripts are not in this version"), "freshet run %s --journal shows each step as it happens", c.What)
	}
	input, err := c.input(e)
	if err != nil {
		return err
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	r := api.RunRequest{Name: c.What, Input: input}
	out, err := c.start(e, cl, cl.RunWorkflow, r)
	var p *api.Problem
	if errors.As(err, &p) && p.Status == 404 && function.MatchString(c.What) {
		out, err = c.function(e, cl, r)
	}
	if errors.As(err, &p) && p.Status == 404 && actionName.MatchString(c.What) {
		out, err = c.action(e, cl, r)
	}
	if err != nil {
		return err
	}
	return c.print(e, out)
}

func (c *runCmd) input(e *env) (json.RawMessage, error) {
	b := []byte(c.Input)
	if file, ok := strings.CutPrefix(c.Input, "@"); ok {
		var err error
		if file == "-" {
			b, err = io.ReadAll(e.stdin)
		} else {
			b, err = os.ReadFile(file)
		}
		if err != nil {
			return nil, readError(err)
		}
	}
	if len(b) > 0 && !json.Valid(b) {
		return nil, usage("--input is no JSON: a text needs quotes, --input '\"…\"'")
	}
	return b, nil
}

// followed runs it and prints its steps meanwhile. The run is found by a
// correlation id that nothing else has; the journal is masked, the output that
// the call itself brings is not.
func (c *runCmd) followed(e *env, cl *api.Client, run starts, r api.RunRequest) (*api.RunResult, error) {
	r.Correlation = "cli-" + rand.Text()
	type ended struct {
		out *api.RunResult
		err error
	}
	done := make(chan ended, 1)
	go func() {
		out, err := run(e.ctx, r)
		done <- ended{out, err}
	}()
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	steps := make(chan error, 1)
	go func() { steps <- c.follow(ctx, e, cl, r.Correlation) }()
	var end ended
	select {
	case end = <-done:
	case err := <-steps:
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(e.stderr, "the journal cannot be followed:", plain(err.Error()))
		}
		end = <-done
		return end.out, end.err
	}
	if end.err != nil || end.out.Status == "suspended" || end.out.Status == "running" {
		return end.out, end.err
	}
	select {
	case <-steps:
	case <-time.After(10 * time.Second): // the end of the stream is not worth more
	}
	return end.out, nil
}

func (c *runCmd) follow(ctx context.Context, e *env, cl *api.Client, correlation string) error {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		list, err := cl.Runs(ctx, api.RunFilter{Correlation: correlation}, 1)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			_, err := cl.Follow(ctx, list[0].ID, 0, func(s api.Step) error {
				printStep(e.stderr, &s, "")
				return nil
			})
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// print writes the output and says how it ended.
func (c *runCmd) print(e *env, out *api.RunResult) error {
	switch out.Status {
	case "finished":
	case "suspended", "running", "idle":
		fmt.Fprintf(e.stderr, "the run %s goes on by itself (%s): freshet runs %s\n", out.RunID, out.Status, out.RunID)
		return nil
	default:
		text := "the run " + out.RunID + " was " + out.Status
		if f := out.Fault; f != nil {
			text = f.Message
			if f.Name != "" || f.Type != "" {
				text = strings.TrimSpace(f.Name+" ("+f.Type+")") + ": " + text
			}
		}
		return withHint(errors.New(plain(text)), "every step of it: freshet runs %s", out.RunID)
	}
	text := string(out.Output)
	var s string
	if json.Unmarshal(out.Output, &s) == nil && len(out.Output) > 0 && out.Output[0] == '"' {
		text = s
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if _, err := io.WriteString(e.stdout, text); err != nil {
		return err
	}
	for _, o := range out.Outcomes {
		if strings.EqualFold(o, "error") {
			return withHint(errors.New("the workflow finished with the outcome "+plain(o)), "every step of it: freshet runs %s", out.RunID)
		}
	}
	return nil
}
