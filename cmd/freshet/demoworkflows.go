package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/examples"
)

const (
	demoCaller = "CallMyAPI"
	demoTask   = "Keep the access token fresh"
)

// workflows shows the workflows of the examples: the token in a table as their
// document has it, and the same with a connection.
func (d *demo) workflows(s *server) error {
	d.step("Workflows brought from another platform (examples/world-of-workflows, freshet apply -f)")
	res, err := d.bring(s, examples.Workflows, "world-of-workflows", demoValues{"EMULATOR": d.provider, "EXAMPLE_PASSWORD": "pw"})
	if err != nil {
		return err
	}
	var made []string
	for _, e := range res.Effects {
		if e.Kind == "workflows" || e.Kind == "tables" || e.Kind == "schedules" {
			made = append(made, e.Name)
		}
	}
	slices.Sort(made)
	d.note("%s", strings.Join(made, ", "))

	d.step("CallMyAPI finds no valid token in the table: it logs in, stores the token, calls the API")
	before := d.em.Count("login")
	if err := d.ran(demoCaller, "as written", []string{"If access token expired", "Run Workflow GetChangingAccessTokenAuthentication", "Send HTTP Request - api", "Finish and return data"}); err != nil {
		return err
	}
	if n := d.em.Count("login") - before; n != 1 {
		return fmt.Errorf("%d logins, expected 1", n)
	}
	d.step("and once more: the stored token lives, nobody logs in")
	if err := d.ran(demoCaller, "as written", []string{"If access token expired", "Send HTTP Request - api"}); err != nil {
		return err
	}
	if n := d.em.Count("login") - before; n != 1 {
		return fmt.Errorf("%d logins, expected none", n-1)
	}
	d.step("The same with a connection in three steps: no token in a table, none in a variable")
	if err := d.ran(demoCaller+"Natively", "native", []string{"Get a valid access token", "Call the API"}); err != nil {
		return err
	}
	d.step("A task runs a workflow on time, or at once (freshet schedule run '" + demoTask + "')")
	return d.task()
}

// ran runs a workflow and shows the steps that are worth it.
func (d *demo) ran(name, road string, show []string) error {
	out, err := d.client.RunWorkflow(d.ctx, api.RunRequest{Name: name, Input: json.RawMessage(`{"api":"/api/me"}`)})
	if err != nil {
		return err
	}
	if out.Status != "finished" || !slices.Contains(out.Outcomes, "success") {
		return fmt.Errorf("%s: %s %v %s", name, out.Status, out.Outcomes, out.Output)
	}
	run, err := d.client.Run(d.ctx, out.RunID)
	if err != nil {
		return err
	}
	if run.Road != road {
		return fmt.Errorf("the token's road is %q, expected %q", run.Road, road)
	}
	steps, err := d.client.Journal(d.ctx, out.RunID)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if slices.Contains(show, s.Name) {
			d.note("%-52s %s", s.Name, strings.Join(s.Outcomes, ", "))
		}
	}
	var who struct {
		Sub string `json:"sub"`
	}
	if err := json.Unmarshal(out.Output, &who); err != nil || who.Sub == "" {
		return fmt.Errorf("%s: the API answered %s", name, out.Output)
	}
	d.note("-> the API knows %s   (freshet runs %s, token road: %s)", who.Sub, out.RunID, run.Road)
	return nil
}

// task fires the example's schedule by hand and waits for its end.
func (d *demo) task() error {
	f, err := d.client.RunSchedule(d.ctx, demoTask)
	if err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); !f.Over() && time.Now().Before(end); {
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		list, err := d.client.ScheduleHistory(d.ctx, demoTask, 1)
		if err != nil || len(list) == 0 {
			return fmt.Errorf("history of the task: %d firings, %v", len(list), err)
		}
		f = &list[0]
	}
	if f.Status != "succeeded" {
		return fmt.Errorf("the task %s: %s", f.Status, f.Message)
	}
	next, err := d.client.Schedule(d.ctx, demoTask)
	if err != nil {
		return err
	}
	if next.NextRun == nil {
		return fmt.Errorf("the task %q has no next run", demoTask)
	}
	d.note("run %s: %s; the next by itself in %s", f.RunID, f.Status, time.Until(*next.NextRun).Round(time.Minute))
	return nil
}
