package activity

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow"
)

const timers = "Timers"

// A CronNext returns the first instant after the given one that a cron
// expression of 5, 6 or 7 fields names.
type CronNext func(expression string, after time.Time) (time.Time, error)

// Timers are the activities that wait for an instant. Each of them also starts
// workflows, which whoever keeps the schedules sees to.
func Timers(next CronNext) []Spec {
	return []Spec{cron(next), timer, startAt, clearTimer}
}

// tick is the first pass and the return of a timer.
func tick(c *Call) Result {
	return Result{Data: map[string]any{"Executed At": c.Now.UTC(), "First Pass": c.First}}
}

// wait suspends until an instant.
func wait(due time.Time) Result {
	return Result{
		Suspend: &Bookmark{Kind: WaitTimer, Due: due},
		Message: "waits until " + due.UTC().Format(time.RFC3339),
		Data:    map[string]any{"Scheduled Execution Time": due.UTC()},
	}
}

func cron(next CronNext) Spec {
	return Spec{
		Type: "Cron", DisplayName: "Cron", Category: timers, Trigger: true,
		Summary:  "Starts a run whenever a cron expression says; within a run it waits for the next such instant.",
		Doc:      "5 fields (minute first), 6 (second first) or 7 (with a year at the end), in UTC.",
		Fields:   []Field{{Name: "CronExpression", Kind: Text, Required: true, Doc: "when"}},
		Outcomes: []string{workflow.Done},
		Examples: []Example{
			{Doc: "it starts a run", In: `{"CronExpression":"0 0/10 * ? * * *"}`, First: true, Outcomes: []string{workflow.Done}},
			{Doc: "later it waits", In: `{"CronExpression":"0 0/10 * ? * * *"}`, Waits: WaitTimer},
		},
		Run: func(_ context.Context, c *Call) (Result, error) {
			if c.First || c.Resume != nil {
				return tick(c), nil
			}
			due, err := next(c.Text("CronExpression"), c.Now)
			if err != nil {
				return Result{}, err
			}
			return wait(due), nil
		},
	}
}

var timer = Spec{
	Type: "Timer", DisplayName: "Timer", Category: timers, Trigger: true,
	Summary:  "Starts a run again and again after a time; within a run it waits for that long.",
	Fields:   []Field{{Name: "Timeout", Kind: Duration, Required: true, Doc: "`00:05:00`, `1.12:00:00` (with days), `PT5M`, `5m`, or what Duration.FromMinutes(5) gives"}},
	Outcomes: []string{workflow.Done},
	Examples: []Example{
		{Doc: "it starts a run", In: `{"Timeout":"00:05:00"}`, First: true, Outcomes: []string{workflow.Done}},
		{Doc: "later it waits", In: `{"Timeout":"PT5M"}`, Waits: WaitTimer},
		{Doc: "what is no time", In: `{"Timeout":"soon"}`, Fault: `"soon" is no length of time`},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		if c.First || c.Resume != nil {
			return tick(c), nil
		}
		d, err := ParseDuration(c.Value("Timeout"))
		if err != nil {
			return Result{}, err
		}
		return wait(c.Now.Add(d)), nil
	},
}

var startAt = Spec{
	Type: "StartAt", DisplayName: "Start At", Category: timers, Trigger: true,
	Summary:  "Starts a run once, at an instant; within a run it waits for that instant, if it is still to come.",
	Fields:   []Field{{Name: "Instant", Kind: Instant, Required: true, Doc: "`2026-03-01T12:00:00Z`, or an instant of a script"}},
	Outcomes: []string{workflow.Done},
	Examples: []Example{
		{Doc: "still to come", In: `{"Instant":"2026-03-01T12:00:01Z"}`, Waits: WaitTimer},
		{Doc: "past", In: `{"Instant":"2026-03-01T11:59:59Z"}`, Outcomes: []string{workflow.Done}},
	},
	Run: func(_ context.Context, c *Call) (Result, error) {
		if c.First || c.Resume != nil {
			return tick(c), nil
		}
		due, err := ParseInstant(c.Value("Instant"))
		if err != nil {
			return Result{}, err
		}
		if !due.After(c.Now) {
			res := tick(c)
			res.Data["Skipped Scheduling"] = true
			return res, nil
		}
		return wait(due), nil
	},
}

var clearTimer = Spec{
	Type: "ClearTimer", DisplayName: "Clear Timer", Category: timers,
	Summary:  "Stops the wait of a Cron, Timer or StartAt of this run.",
	Fields:   []Field{{Name: "ActivityId", Kind: Text, Required: true, Doc: "its id or name"}},
	Outcomes: []string{workflow.Done},
	Examples: []Example{{Doc: "by name", In: `{"ActivityId":"timeout"}`, Outcomes: []string{workflow.Done}}},
	Run: func(_ context.Context, c *Call) (Result, error) {
		if !c.Run.Forget(c.Text("ActivityId")) {
			return Result{Message: "nothing waits there"}, nil
		}
		return Result{}, nil
	},
}

var (
	span    = regexp.MustCompile(`^(-)?(?:(\d+)[.:])?(\d+):(\d{1,2})(?::(\d{1,2})(\.\d{1,9})?)?$`)
	isoSpan = regexp.MustCompile(`^(-)?P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)
)

// ParseDuration reads a length of time as authors write it: [d.]hh:mm[:ss[.f]],
// d:hh:mm:ss, ISO 8601, Go's form, or a number of milliseconds, which is what a
// script's durations are.
func ParseDuration(v any) (time.Duration, error) {
	switch v := v.(type) {
	case time.Duration:
		return v, nil
	case int64:
		return time.Duration(v) * time.Millisecond, nil
	case float64:
		return time.Duration(v * float64(time.Millisecond)), nil
	}
	text := strings.TrimSpace(Format(v))
	d, ok := parseSpan(text)
	if !ok {
		if g, err := time.ParseDuration(text); err == nil {
			d, ok = g, true
		}
	}
	if !ok {
		return 0, fmt.Errorf("%q is no length of time; write hours, minutes and seconds, such as 00:05:00", text)
	}
	return d, nil
}

func parseSpan(text string) (time.Duration, bool) {
	var days, hours, minutes, seconds string
	sign := time.Duration(1)
	switch m := span.FindStringSubmatch(text); {
	case m != nil:
		if m[1] != "" {
			sign = -1
		}
		days, hours, minutes, seconds = m[2], m[3], m[4], m[5]+m[6]
		if strings.Count(text, ":") == 2 && m[5] == "" { // "hh:mm:ss" is not "d:hh:mm"
			days, hours, minutes, seconds = "", m[2], m[3], m[4]
		}
	default:
		m := isoSpan.FindStringSubmatch(text)
		if m == nil || text == "P" || strings.HasSuffix(text, "T") {
			return 0, false
		}
		if m[1] != "" {
			sign = -1
		}
		days, hours, minutes, seconds = m[3], m[4], m[5], m[6]
		if m[2] != "" {
			w, err := strconv.ParseInt(m[2], 10, 32)
			if err != nil {
				return 0, false
			}
			n, _ := strconv.ParseInt("0"+days, 10, 32)
			days = strconv.FormatInt(n+7*w, 10)
		}
	}
	var total float64
	for _, p := range []struct {
		text string
		unit time.Duration
	}{{days, 24 * time.Hour}, {hours, time.Hour}, {minutes, time.Minute}, {seconds, time.Second}} {
		if p.text == "" {
			continue
		}
		n, err := strconv.ParseFloat(p.text, 64)
		if err != nil {
			return 0, false
		}
		total += n * float64(p.unit)
	}
	if total > float64(1<<62) {
		return 0, false
	}
	return sign * time.Duration(total), true
}

// ParseInstant reads an instant as authors write it: RFC 3339, the same without
// a zone (UTC) or without a time, or a number of milliseconds since 1970.
func ParseInstant(v any) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return v, nil
	case int64:
		return time.UnixMilli(v).UTC(), nil
	case float64:
		return time.UnixMilli(int64(v)).UTC(), nil
	}
	text := strings.TrimSpace(Format(v))
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no instant; write it as 2026-03-01T12:00:00Z", text)
}
