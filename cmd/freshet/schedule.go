package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
)

type scheduleCmd struct {
	List    scheduleListCmd    `cmd:"" help:"What is scheduled, when it ran and when it runs next."`
	Run     scheduleRunCmd     `cmd:"" help:"Fire a task now and wait for what comes of it."`
	Pause   schedulePauseCmd   `cmd:"" help:"Have the clock fire a task no more."`
	Resume  scheduleResumeCmd  `cmd:"" help:"Have the clock fire a task again."`
	History scheduleHistoryCmd `cmd:"" help:"What a task did, newest first."`
}

type scheduleListCmd struct {
	remote `embed:""`
	format `embed:""`
	Name   string `arg:"" optional:"" name:"NAME" help:"One of them, with its next ten runs."`
}

// Help gives the example that --help shows.
func (scheduleListCmd) Help() string { return example("freshet schedule list") }

// Run lists schedules, or shows one.
func (c *scheduleListCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	now := time.Now()
	if c.Name != "" {
		s, err := cl.Schedule(e.ctx, c.Name)
		if err != nil {
			return err
		}
		if c.json() {
			return printJSON(e.stdout, s)
		}
		showSchedule(e.stdout, s, now)
		return nil
	}
	all := []api.Schedule{}
	if err := cl.List(e.ctx, "/api/v1/schedules?limit=200", "schedules", func(raw json.RawMessage) error {
		var s api.Schedule
		err := json.Unmarshal(raw, &s)
		all = append(all, s)
		return err
	}); err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"schedules": all})
	}
	if len(all) == 0 {
		fmt.Fprintln(e.stderr, "nothing is scheduled yet; write schedules: in a file and apply it with: freshet apply -f FILE")
		return nil
	}
	t := newTable("NAME", "SCHEDULE", "STATUS", "LAST RUN", "NEXT RUN", "TARGET", "OWNER")
	for i := range all {
		s := &all[i]
		t.add(s.Name, s.When, state(s), lastRun(s, now), relative(s.NextRun, now), s.Target+" "+s.Subject, s.Owner)
	}
	if err := t.print(e.stdout); err != nil {
		return err
	}
	for i := range all {
		for _, w := range all[i].Warnings {
			fmt.Fprintf(e.stderr, "warning: %s: %s\n", plain(all[i].Name), plain(w))
		}
	}
	return nil
}

// state is where a schedule stands, with what it does now.
func state(s *api.Schedule) string {
	if s.Running {
		return s.Status + ", running"
	}
	return s.Status
}

func lastRun(s *api.Schedule, now time.Time) string {
	if s.LastRun == nil {
		return ""
	}
	at := s.LastRun.StartedAt
	if at == nil {
		at = s.LastRun.Nominal
	}
	return s.LastRun.Status + " " + relative(at, now)
}

func showSchedule(w io.Writer, s *api.Schedule, now time.Time) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-14s %s\n", name, plain(value))
		}
	}
	line("name", s.Name)
	line("schedule", s.When)
	line("zone", s.Zone)
	line("status", state(s))
	line("target", strings.TrimSpace(s.Target+" "+s.Subject+" "+s.Trigger))
	line("owner", s.Owner)
	line("description", s.Description)
	if s.LastRun != nil {
		line("last run", strings.TrimSpace(lastRun(s, now)+": "+s.LastRun.Message))
	}
	line("fired by", s.Hook)
	for _, t := range s.Warnings {
		line("warning", t)
	}
	zone, err := time.LoadLocation(s.Zone)
	if err != nil {
		zone = time.UTC
	}
	for i, at := range s.NextRuns {
		name := ""
		if i == 0 {
			name = "next runs"
		}
		fmt.Fprintf(w, "%-14s %s\n", name, at.In(zone).Format("Mon 2006-01-02 15:04:05 MST"))
	}
}

type scheduleRunCmd struct {
	remote `embed:""`
	format `embed:""`
	Name   string `arg:"" name:"NAME" help:"The task."`
	NoWait bool   `name:"no-wait" help:"Do not wait for its end."`
}

// Help gives the example that --help shows.
func (scheduleRunCmd) Help() string {
	return example("freshet schedule run keep-crm-fresh", "Its own clock goes on as before. The exit code is 1 if what it does failed.")
}

// Run fires a schedule.
func (c *scheduleRunCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	f, err := cl.RunSchedule(e.ctx, c.Name)
	if err != nil {
		return err
	}
	for wait := 50 * time.Millisecond; !c.NoWait && !f.Over(); wait = min(2*wait, 2*time.Second) {
		select {
		case <-time.After(wait):
		case <-e.ctx.Done():
			return e.ctx.Err()
		}
		list, err := cl.ScheduleHistory(e.ctx, c.Name, 50)
		if err != nil {
			return err
		}
		for i := range list {
			if list[i].ID == f.ID {
				f = &list[i]
			}
		}
	}
	if c.json() {
		if err := printJSON(e.stdout, f); err != nil {
			return err
		}
	} else if f.Status != "failed" {
		fmt.Fprintln(e.stdout, plain(strings.TrimSuffix(c.Name+": "+f.Status+": "+f.Message, ": ")))
	}
	if f.Status == "failed" {
		return fmt.Errorf("%s: %s", c.Name, f.Message)
	}
	return nil
}

type schedulePauseCmd struct {
	remote `embed:""`
	Name   string `arg:"" name:"NAME" help:"The task."`
}

// Help gives the example that --help shows.
func (schedulePauseCmd) Help() string {
	return example("freshet schedule pause keep-crm-fresh", "What is being carried out ends. It may still be fired by hand.")
}

// Run pauses a schedule.
func (c *schedulePauseCmd) Run(e *env) error { return pause(e, &c.remote, c.Name, true) }

type scheduleResumeCmd struct {
	remote `embed:""`
	Name   string `arg:"" name:"NAME" help:"The task."`
}

// Help gives the example that --help shows.
func (scheduleResumeCmd) Help() string {
	return example("freshet schedule resume keep-crm-fresh", "What fell into the pause is not caught up with.")
}

// Run resumes a schedule.
func (c *scheduleResumeCmd) Run(e *env) error { return pause(e, &c.remote, c.Name, false) }

func pause(e *env, r *remote, name string, paused bool) error {
	cl, err := r.client(e)
	if err != nil {
		return err
	}
	s, err := cl.PauseSchedule(e.ctx, name, paused)
	if err != nil {
		return err
	}
	text := s.Name + ": " + s.Status
	if s.NextRun != nil {
		text += ", runs " + relative(s.NextRun, time.Now())
	}
	fmt.Fprintln(e.stdout, plain(text))
	return nil
}

type scheduleHistoryCmd struct {
	remote `embed:""`
	format `embed:""`
	Name   string `arg:"" name:"NAME" help:"The task."`
	Limit  int    `default:"20" placeholder:"N" help:"How many at most."`
}

// Help gives the example that --help shows.
func (scheduleHistoryCmd) Help() string { return example("freshet schedule history keep-crm-fresh") }

// Run shows what a schedule did.
func (c *scheduleHistoryCmd) Run(e *env) error {
	if c.Limit < 1 {
		return usage("--limit %d: write a number above 0", c.Limit)
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	list, err := cl.ScheduleHistory(e.ctx, c.Name, c.Limit)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, map[string]any{"firings": append([]api.Firing{}, list...)})
	}
	if len(list) == 0 {
		fmt.Fprintf(e.stderr, "%s has not run yet\n", plain(c.Name))
		return nil
	}
	t := newTable("FOR", "STATUS", "CAUSE", "TOOK", "RUN", "MESSAGE")
	for i := range list {
		f := &list[i]
		took := ""
		if f.StartedAt != nil && f.EndedAt != nil {
			took = f.EndedAt.Sub(*f.StartedAt).Round(time.Millisecond).String()
		}
		message := f.Message
		if f.Missed > 0 {
			message = strings.TrimSpace(fmt.Sprintf("%s (and for %d missed before)", message, f.Missed))
		}
		t.add(f.Nominal.Local().Format("2006-01-02 15:04:05"), f.Status, f.Cause, took, f.RunID, message)
	}
	return t.print(e.stdout)
}
