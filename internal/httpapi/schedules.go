package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/web"
	"github.com/freshet-dev/freshet/internal/webhook"
)

const kindSchedules = "schedules"

// A scheduled is where a schedule stands.
type scheduled struct {
	Name             string          `json:"name"`
	When             string          `json:"when" doc:"In words: every 55 minutes."`
	Zone             string          `json:"zone"`
	Status           string          `json:"status" enum:"active,paused,ended,on demand"`
	Running          bool            `json:"running,omitempty" doc:"A firing is not over."`
	Target           string          `json:"target" doc:"refresh, workflow or process."`
	Subject          string          `json:"subject" doc:"The connection, the workflow or the process with its instance."`
	Trigger          string          `json:"trigger,omitempty" doc:"Of a process."`
	NextRun          *time.Time      `json:"next_run" doc:"null: the clock fires it no more, or never."`
	NextRuns         []time.Time     `json:"next_runs,omitempty" doc:"The next ten."`
	LastRun          *firing         `json:"last_run" doc:"null: it has not fired."`
	Fired            int64           `json:"fired" doc:"Firings that count against its end."`
	Owner            string          `json:"owner,omitempty"`
	Description      string          `json:"description,omitempty"`
	Warnings         []string        `json:"warnings,omitempty"`
	RefreshExpiresAt *time.Time      `json:"refresh_expires_at,omitempty" doc:"When the refresh token of the connection that it refreshes dies itself."`
	Hook             string          `json:"hook,omitempty" doc:"Where a signed request fires it."`
	Spec             json.RawMessage `json:"spec,omitempty" doc:"The resource, secrets as [secret]."`
}

// A firing is one time that a schedule fired.
type firing struct {
	ID        string     `json:"id"`
	Status    string     `json:"status" enum:"queued,running,succeeded,failed,skipped"`
	Cause     string     `json:"cause" enum:"clock,manual,hook"`
	Nominal   *time.Time `json:"nominal" doc:"The instant that it is for."`
	StartedAt *time.Time `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
	Missed    int64      `json:"missed,omitempty" doc:"Instants before it that passed while nobody looked; it stands for them, too."`
	Attempts  int64      `json:"attempts" doc:"Above 1: a process died in it, or was stopped."`
	RunID     string     `json:"run_id,omitempty"`
	Message   string     `json:"message,omitempty" doc:"What came of it."`
}

func firingOf(f store.Firing) firing {
	return firing{ID: f.ID, Status: string(f.Status), Cause: f.Cause, Nominal: instant(f.Nominal), StartedAt: instant(f.StartedAt), EndedAt: instant(f.EndedAt),
		Missed: f.Missed, Attempts: f.Attempts, RunID: f.Run, Message: f.Message}
}

type scheduleList struct {
	Schedules  []scheduled `json:"schedules" doc:"In order of name."`
	NextCursor string      `json:"next_cursor,omitempty"`
}

type firingList struct {
	Firings    []firing `json:"firings" doc:"Newest first."`
	NextCursor string   `json:"next_cursor,omitempty"`
}

// scheduled describes a row. What does not read is described as far as it does.
func (a *API) scheduled(ctx context.Context, t *store.Timer, last *store.Firing) (scheduled, *schedule.Plan) {
	out := scheduled{Name: t.Name, Target: t.Target, Subject: t.Subject, Fired: t.Fired, Running: t.Open != "", NextRun: instant(t.NextAt), Status: "active"}
	if last != nil {
		f := firingOf(*last)
		out.LastRun = &f
	}
	s, plan, err := schedule.Read(t)
	if err != nil {
		out.Status, out.Warnings = "ended", []string{err.Error()}
		return out, nil
	}
	out.When, out.Zone, out.Owner, out.Description, out.Trigger = plan.Words(), plan.Zone().String(), s.Owner, s.Description, s.Trigger
	switch until := plan.Until(); {
	case t.Paused:
		out.Status = "paused"
	case plan.Over(t.Fired), !until.IsZero() && a.o.Now().After(until):
		out.Status = "ended"
	case plan.OnDemand():
		out.Status = "on demand"
	case t.NextAt.IsZero():
		out.Status = "ended"
	}
	if plan.OnDemand() {
		out.Hook = a.o.BaseURL + "/hooks/schedules/" + url.PathEscape(t.Name)
	}
	switch t.Target {
	case schedule.TargetRefresh:
		a.warn(ctx, &out, t, plan)
	case schedule.TargetProcess:
		a.warnProcess(ctx, &out, s, plan)
	}
	return out, plan
}

// lapsing is how long before its end a refresh token is warned of.
const lapsing = 7 * 24 * time.Hour

// warn says what a schedule that refreshes will not do.
func (a *API) warn(ctx context.Context, out *scheduled, t *store.Timer, plan *schedule.Plan) {
	row, err := a.o.Store.TokenByName(ctx, t.Subject)
	if err != nil {
		return
	}
	now := a.o.Now()
	if st := a.o.Source.StatusOf(row); st.State != freshet.StateOK && st.State != "" {
		out.Warnings = append(out.Warnings, "connection "+t.Subject+" is "+string(st.State)+" ("+string(st.Reason)+")")
	}
	if def, err := a.o.Book.Definition(ctx, t.Subject); err == nil && !row.ExpiresAt.IsZero() && !row.IssuedAt.IsZero() {
		lifetime := row.ExpiresAt.Sub(row.IssuedAt)
		margin, _ := def.Connection.Refresh.MarginFor(lifetime)
		if text := plan.Lapses(now, lifetime, margin); text != "" {
			out.Warnings = append(out.Warnings, text)
		}
	}
	if end := row.RefreshExpiry; !end.IsZero() {
		out.RefreshExpiresAt = instant(end)
		if text := refreshEnd(end, now, out.NextRun); text != "" {
			out.Warnings = append(out.Warnings, text)
		}
	}
}

func (a *API) schedules(ctx context.Context, p Paging) (scheduleList, error) {
	out := scheduleList{Schedules: []scheduled{}}
	rows, err := a.o.Store.Timers(ctx, schedule.KindSchedule, p.Cursor, p.Limit)
	if err != nil || len(rows) == 0 {
		return out, err
	}
	last, err := a.o.Store.LastFirings(ctx, schedule.KindSchedule, p.Cursor, rows[len(rows)-1].Name)
	if err != nil {
		return out, err
	}
	for i := range rows {
		var f *store.Firing
		if v, ok := last[rows[i].ID]; ok {
			f = &v
		}
		s, _ := a.scheduled(ctx, &rows[i], f)
		out.Schedules = append(out.Schedules, s)
	}
	if len(rows) == p.Limit {
		out.NextCursor = rows[len(rows)-1].Name
	}
	return out, nil
}

// previewed is how many of the next firings are shown.
const previewed = 10

func (a *API) scheduleOf(ctx context.Context, name string) (*scheduled, error) {
	view, err := a.o.Book.Get(ctx, resource.Key{Kind: kindSchedules, Name: name})
	if err != nil {
		return nil, err
	}
	t, err := a.o.Store.Timer(ctx, view.ID)
	if err != nil {
		return nil, err
	}
	var last *store.Firing
	if l, err := a.o.Store.Firings(ctx, t.ID, t.Seq+1, 1); err != nil {
		return nil, err
	} else if len(l) == 1 {
		last = &l[0]
	}
	out, plan := a.scheduled(ctx, &t, last)
	if plan != nil && out.Status == "active" && !t.NextAt.IsZero() {
		for _, at := range plan.Preview(t.NextAt.Add(-time.Millisecond), t.Fired, previewed) {
			out.NextRuns = append(out.NextRuns, at.UTC())
		}
	}
	out.Spec = view.Spec
	return &out, nil
}

func (a *API) history(ctx context.Context, name string, p Paging) (firingList, error) {
	out := firingList{Firings: []firing{}}
	before, err := p.before()
	if err != nil {
		return out, err
	}
	t, err := a.o.Schedules.Timer(ctx, name)
	if err != nil {
		return out, err
	}
	rows, err := a.o.Store.Firings(ctx, t.ID, before, p.Limit)
	for _, f := range rows {
		out.Firings = append(out.Firings, firingOf(f))
	}
	if len(rows) == p.Limit {
		out.NextCursor = strconv.FormatInt(rows[len(rows)-1].Seq, 10)
	}
	return out, err
}

// fired is the answer to a request that fires.
type fired struct {
	Firing firing `json:"firing"`
}

// scheduleProblem says why a schedule does not fire.
func scheduleProblem(err error) error {
	switch {
	case errors.Is(err, schedule.ErrRunning):
		return problem.New(http.StatusConflict, "schedule-running", "The schedule is being carried out", "the firing before is not over; this one is in the history as skipped")
	case errors.Is(err, schedule.ErrPaused):
		return problem.New(http.StatusConflict, "schedule-paused", "The schedule is paused", "resume it with freshet schedule resume")
	case errors.Is(err, schedule.ErrEnded):
		return problem.New(http.StatusConflict, "schedule-ended", "The schedule has ended", "by its date or its count; declare a later end")
	}
	return err
}

func (a *API) scheduleEndpoints() {
	if a.o.Schedules == nil {
		return
	}
	tags := []string{kindSchedules}
	type named struct {
		Name string `path:"name" doc:"The schedule."`
	}
	register(a, huma.Operation{OperationID: "list-schedules", Method: http.MethodGet, Path: "/api/v1/schedules", Summary: "Scheduled tasks", Tags: tags}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *Paging) (*body[scheduleList], error) {
			return answered(a.schedules(ctx, *in))
		})
	register(a, huma.Operation{OperationID: "get-schedule", Method: http.MethodGet, Path: "/api/v1/schedules/{name}", Summary: "One task, with its next ten runs", Tags: tags}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *named) (*body[*scheduled], error) {
			return answered(a.scheduleOf(ctx, in.Name))
		})
	register(a, huma.Operation{OperationID: "schedule-history", Method: http.MethodGet, Path: "/api/v1/schedules/{name}/history", Summary: "What a task did", Tags: tags,
		Description: "The last 200 firings are kept."}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Paging
			Name string `path:"name" doc:"The schedule."`
		}) (*body[firingList], error) {
			return answered(a.history(ctx, in.Name, in.Paging))
		})
	register(a, huma.Operation{OperationID: "run-schedule", Method: http.MethodPost, Path: "/api/v1/schedules/{name}/run", Summary: "Fire a task now", Tags: tags, DefaultStatus: http.StatusAccepted,
		Description: "In the background: the history tells what came of it."}, rule{verb: access.Run, name: "name", action: "schedule.run"},
		func(ctx context.Context, c *call, in *named) (*body[fired], error) {
			f, err := a.o.Schedules.Fire(ctx, in.Name, schedule.CauseManual, "", nil)
			return answered(fired{firingOf(f)}, scheduleProblem(err))
		})
	for _, v := range []struct {
		word   string
		paused bool
		text   string
	}{{"pause", true, "Have the clock fire a task no more"}, {"resume", false, "Have the clock fire a task again"}} {
		register(a, huma.Operation{OperationID: v.word + "-schedule", Method: http.MethodPost, Path: "/api/v1/schedules/{name}/" + v.word, Summary: v.text, Tags: tags}, rule{verb: access.Admin, action: "schedule." + v.word},
			func(ctx context.Context, c *call, in *named) (*body[*scheduled], error) {
				if err := a.o.Schedules.Pause(ctx, in.Name, v.paused); err != nil {
					return nil, err
				}
				return answered(a.scheduleOf(ctx, in.Name))
			})
	}
	a.mux.HandleFunc("POST /hooks/schedules/{name}", a.hook)
}

// maxHook bounds the body of a request that fires a schedule.
const maxHook = 1 << 20

// nobody's secret takes the place of one that is not there, so that a request
// takes as long for a name that nobody declared.
var nobodys = freshet.NewSecret("there is no schedule of that name and no secret")

// hook fires an on-demand schedule by a signed request. Whoever does not hold
// the secret learns nothing: not whether there is such a schedule, nor how it
// fires.
func (a *API) hook(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, maxHook)); err != nil {
		a.fail(w, r, err)
		return
	}
	s, err := a.o.Book.Schedule(r.Context(), name)
	if err != nil && !errors.Is(err, freshet.ErrNotFound) {
		a.fail(w, r, err)
		return
	}
	secret := nobodys
	known := err == nil && s.OnDemand && !s.Secret.IsZero()
	if known {
		secret = s.Secret
	}
	if err := webhook.Check(r.Header, secret, buf.Bytes(), a.o.Now()); err != nil || !known {
		problem.Write(w, http.StatusUnauthorized, "bad-signature", "The request is not signed for this schedule",
			"sign timestamp, a dot and the body with the schedule's secret (HMAC-SHA256, headers "+webhook.HeaderTimestamp+" and "+webhook.HeaderSignature+"), not more than five minutes ago", nil)
		return
	}
	input := json.RawMessage(bytes.TrimSpace(buf.Bytes()))
	if len(input) > 0 && !json.Valid(input) {
		p := invalid("body", "the body is not JSON")
		p.Status = http.StatusBadRequest
		a.fail(w, r, p)
		return
	}
	// It is put on record, as everything is that somebody asks for.
	if err := a.gate.audit.Record(r.Context(), audit.Entry{Actor: "hook", Action: "schedule.fire", Subject: name, From: r.RemoteAddr, Request: w.Header().Get(web.HeaderRequestID)}); err != nil {
		a.fail(w, r, err)
		return
	}
	// A request that comes again, by a sender that heard no answer or by somebody
	// who listened, is the same request.
	sum := sha256.Sum256(append([]byte(r.Header.Get(webhook.HeaderTimestamp)+"."), buf.Bytes()...))
	f, err := a.o.Schedules.Fire(r.Context(), name, schedule.CauseHook, hex.EncodeToString(sum[:]), input)
	if err != nil {
		a.fail(w, r, scheduleProblem(err))
		return
	}
	b, err := json.Marshal(fired{firingOf(f)})
	if err != nil {
		a.fail(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	w.Write(b)
}
