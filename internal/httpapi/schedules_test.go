package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/queue"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/schedule"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/webhook"
)

// writeSchedule keeps a schedule's row beside its resource.
func writeSchedule(c *store.Change, u resource.Update) error {
	if u.Action == resource.Deleted {
		return c.DeleteTimer(u.ID)
	}
	row, err := c.Resource(u.Kind, u.Name)
	if err != nil {
		return err
	}
	var s freshet.Schedule
	if err := json.Unmarshal([]byte(row.Spec), &s); err != nil {
		return err
	}
	return schedule.Declare(c, u.ID, u.Name, s)
}

// startSchedules fires what is scheduled: refreshes, by the refresher.
func (w *world) startSchedules(log *slog.Logger) (end func(context.Context) error) {
	jobs := queue.NewLocal(queue.Options{Store: w.store, Log: log})
	w.poller = schedule.New(schedule.Options{Store: w.store, Queue: jobs, Log: log, Targets: map[string]schedule.Target{schedule.TargetRefresh: schedule.Refresh(w)}})
	jobs.Register(w.poller.Kind())
	if err := jobs.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.poller.Start()
	return func(ctx context.Context) error { return errors.Join(w.poller.Close(), jobs.Close(ctx)) }
}

func (w *world) Renew(ctx context.Context, name string) (schedule.Refreshed, error) {
	c, err := w.src.Connection(ctx, name)
	if err != nil {
		return schedule.Refreshed{}, err
	}
	got, err := c.Renew(ctx)
	if err != nil {
		return schedule.Refreshed{}, err
	}
	return schedule.Refreshed{Generation: got.Token.Generation, ExpiresAt: got.Token.Expiry}, nil
}

func (w *world) Held(context.Context, string) (schedule.Refreshed, error) {
	return schedule.Refreshed{}, errors.New("nobody asks")
}

// A seen is an answer of the status that was expected.
type seen struct {
	body string
	json map[string]any
}

func expect(t testing.TB, a answer, status int) seen {
	t.Helper()
	if a.status != status {
		t.Fatalf("%d %s, want %d", a.status, a.body, status)
	}
	return seen{a.body, a.json(t)}
}

// settled waits for the newest firing of a schedule to be over, and returns the
// history.
func (w *world) settled(name string, n int) []any {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		a := expect(w.t, w.do("GET", "/api/v1/schedules/"+url.PathEscape(name)+"/history", ""), 200)
		list, _ := a.json["firings"].([]any)
		over := len(list) >= n
		for _, f := range list {
			s := f.(map[string]any)["status"]
			over = over && s != "queued" && s != "running"
		}
		if over {
			return list
		}
		if time.Now().After(end) {
			w.t.Fatalf("history %s", a.body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

const tasks = declared + `
schedules:
  "keep crm / fresh": { every: 55m, refresh: crm, owner: ann, zone: Europe/Dublin }
  slow: { daily: "07:30", refresh: crm }
  asked: { on_demand: true, secret: CANARY-hook-secret-0123456789abcdef, refresh: crm }
  byhand: { on_demand: true, refresh: crm }
  ended: { at: 2001-01-01, refresh: crm }
`

func TestSchedules(t *testing.T) {
	w := newWorld(t)
	w.declare(tasks)
	expect(t, w.do("GET", "/api/v1/connections/crm/token", ""), 200)
	const one = "/api/v1/schedules/keep%20crm%20%2F%20fresh"

	t.Run("cap132 the list says schedule, last run, next run, status, target and owner", func(t *testing.T) {
		a := expect(t, w.do("GET", "/api/v1/schedules", ""), 200)
		list := a.json["schedules"].([]any)
		if len(list) != 5 {
			t.Fatalf("%d schedules: %s", len(list), a.body)
		}
		by := map[string]map[string]any{}
		for _, v := range list {
			m := v.(map[string]any)
			by[m["name"].(string)] = m
		}
		k := by["keep crm / fresh"]
		next, err := time.Parse(time.RFC3339, k["next_run"].(string))
		if err != nil || time.Until(next) < 54*time.Minute || time.Until(next) > 56*time.Minute {
			t.Errorf("next run %v", k["next_run"])
		}
		if k["when"] != "every 55 minutes" || k["zone"] != "Europe/Dublin" || k["status"] != "active" || k["target"] != "refresh" || k["subject"] != "crm" || k["owner"] != "ann" || k["last_run"] != nil {
			t.Errorf("%v", k)
		}
		for name, status := range map[string]string{"slow": "active", "asked": "on demand", "ended": "ended"} {
			if by[name]["status"] != status {
				t.Errorf("%s is %v, want %s", name, by[name]["status"], status)
			}
		}
		if by["asked"]["hook"] != w.url+"/hooks/schedules/asked" {
			t.Errorf("hook %v", by["asked"]["hook"])
		}
		if strings.Contains(a.body, "CANARY") {
			t.Error("the secret shows")
		}
	})
	t.Run("cap133 names are free text and unique", func(t *testing.T) {
		a := expect(t, w.do("GET", one, ""), 200)
		if a.json["name"] != "keep crm / fresh" || len(a.json["next_runs"].([]any)) != 10 || a.json["spec"] == nil {
			t.Errorf("%s", a.body)
		}
		expect(t, w.do("PUT", one, `{"every":"50m","refresh":"crm","owner":"ann"}`), 200)
		if a := expect(t, w.do("GET", one, ""), 200); a.json["when"] != "every 50 minutes" {
			t.Errorf("%s", a.body)
		}
		expect(t, w.do("PUT", "/api/v1/schedules/%20x", `{"every":"50m","refresh":"crm"}`), 422)
	})
	t.Run("cap135 one that is slower than the token lives warns", func(t *testing.T) {
		if a := expect(t, w.do("GET", "/api/v1/schedules/slow", ""), 200); !strings.Contains(a.body, "it will lapse in between") {
			t.Errorf("%s", a.body)
		}
		if a := expect(t, w.do("GET", one, ""), 200); a.json["warnings"] != nil {
			t.Errorf("%s", a.body)
		}
	})
	t.Run("a person fires it, and the history tells what came of it", func(t *testing.T) {
		a := expect(t, w.do("POST", one+"/run", ""), 202)
		if f := a.json["firing"].(map[string]any); f["status"] != "queued" || f["cause"] != "manual" {
			t.Errorf("%s", a.body)
		}
		h := w.settled("keep crm / fresh", 1)
		f := h[0].(map[string]any)
		if f["status"] != "succeeded" || !strings.HasPrefix(f["message"].(string), "generation 2, expires ") {
			t.Errorf("%v", f)
		}
		if a := expect(t, w.do("GET", "/api/v1/connections/crm", ""), 200); a.json["generation"] != 2.0 {
			t.Errorf("%s", a.body)
		}
		expect(t, w.do("POST", "/api/v1/schedules/nobody/run", ""), 404)
		expect(t, w.do("GET", "/api/v1/schedules/nobody/history", ""), 404)
		if rows := w.audited("schedule.run"); len(rows) == 0 {
			t.Error("it is not on record")
		}
	})
	t.Run("pause and resume", func(t *testing.T) {
		if a := expect(t, w.do("POST", one+"/pause", ""), 200); a.json["status"] != "paused" || a.json["next_run"] != nil {
			t.Errorf("%s", a.body)
		}
		if a := expect(t, w.do("POST", one+"/resume", ""), 200); a.json["status"] != "active" || a.json["next_run"] == nil {
			t.Errorf("%s", a.body)
		}
	})
	t.Run("keys are held to their scopes", func(t *testing.T) {
		reader, runner := w.key("r", "read"), w.key("x", "run:keep*")
		expect(t, w.with(reader, "GET", one, ""), 200)
		expect(t, w.with(runner, "GET", one, ""), 403)
		expect(t, w.with(reader, "POST", one+"/run", ""), 403)
		expect(t, w.with(runner, "POST", one+"/run", ""), 202)
		expect(t, w.with(runner, "POST", "/api/v1/schedules/slow/run", ""), 403)
		expect(t, w.with(runner, "POST", one+"/pause", ""), 403)
		w.settled("keep crm / fresh", 2)
	})
	t.Run("cap141 deleted, it is gone", func(t *testing.T) {
		expect(t, w.do("DELETE", one, ""), 200)
		expect(t, w.do("GET", one, ""), 404)
		expect(t, w.do("POST", one+"/run", ""), 404)
	})
	t.Run("cap142 the refresh token's own end is shown and warned of", func(t *testing.T) {
		for _, c := range []struct {
			left time.Duration
			want string
		}{{2 * time.Hour, "before the next run"}, {48 * time.Hour, "the refresh token itself ends at"}, {-time.Hour, "the refresh token itself ended at"}, {30 * 24 * time.Hour, ""}} {
			end := time.Now().Add(c.left).UnixMilli()
			if err := w.store.DB().Tx(t.Context(), func(tx store.Querier) error {
				if _, err := tx.Exec(t.Context(), `UPDATE timers SET next_at = $1 WHERE name = 'slow'`, time.Now().Add(20*time.Hour).UnixMilli()); err != nil {
					return err
				}
				_, err := tx.Exec(t.Context(), `UPDATE tokens SET refresh_expires = $1 WHERE name = 'crm'`, end)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			a := expect(t, w.do("GET", "/api/v1/schedules/slow", ""), 200)
			if a.json["refresh_expires_at"] == nil || strings.Contains(a.body, "refresh token itself") != (c.want != "") || !strings.Contains(a.body, c.want) {
				t.Errorf("%v left: %s", c.left, a.body)
			}
		}
	})
}

func TestS75_forged_requests_fire_nothing(t *testing.T) {
	w := newWorld(t)
	w.declare(tasks)
	secret := freshet.NewSecret("CANARY-hook-secret-0123456789abcdef")
	signed := func(body string, at time.Time, s freshet.Secret) []string {
		h := http.Header{}
		webhook.Sign(h, s, []byte(body), at)
		return []string{webhook.HeaderTimestamp, h.Get(webhook.HeaderTimestamp), webhook.HeaderSignature, h.Get(webhook.HeaderSignature)}
	}
	now := time.Now()
	first := ""
	for _, c := range []struct {
		name, to, body string
		head           []string
		status         int
	}{
		{"no signature", "asked", "{}", nil, 401},
		{"another secret", "asked", "{}", signed("{}", now, freshet.NewSecret("other")), 401},
		{"another body", "asked", `{"a":1}`, signed("{}", now, secret), 401},
		{"too old", "asked", "{}", signed("{}", now.Add(-webhook.Window-time.Minute), secret), 401},
		{"from the future", "asked", "{}", signed("{}", now.Add(webhook.Window+time.Minute), secret), 401},
		{"one that nobody declared", "nobody", "{}", signed("{}", now, secret), 401},
		{"one with the words in the place of the secret", "nobody", "{}", signed("{}", now, freshet.NewSecret("there is no schedule of that name and no secret")), 401},
		{"one that the clock fires", "slow", "{}", signed("{}", now, secret), 401},
		{"one without a secret", "byhand", "{}", signed("{}", now, freshet.Secret{}), 401},
		{"one without a secret, and a key", "byhand", "{}", []string{"Authorization", "Bearer " + w.admin}, 401},
		{"no JSON", "asked", "hello", signed("hello", now, secret), 400},
		{"good", "asked", "{}", signed("{}", now, secret), 202},
		{"good, once more", "asked", "{}", signed("{}", now, secret), 202},
		{"too large", "asked", strings.Repeat(" ", 1<<20+1), nil, 413},
	} {
		a := w.with("", "POST", "/hooks/schedules/"+c.to, c.body, c.head...)
		if a.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, a.status, a.body, c.status)
		}
		if c.status == 401 {
			if first == "" {
				first = a.body
			}
			if a.body != first {
				t.Errorf("%s is told apart: %s", c.name, a.body)
			}
		}
	}
	if h := w.settled("asked", 1); len(h) != 1 || h[0].(map[string]any)["status"] != "succeeded" || h[0].(map[string]any)["cause"] != "hook" {
		t.Errorf("history %v", h)
	}
	for _, name := range []string{"slow", "byhand"} {
		if h := w.settled(name, 0); len(h) != 0 {
			t.Errorf("%s was fired: %v", name, h)
		}
	}
	// A later request with the same body is another one.
	later := now.Add(time.Second)
	if a := w.with("", "POST", "/hooks/schedules/asked", "{}", signed("{}", later, secret)...); a.status != 202 {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.settled("asked", 2)
	expect(t, w.do("POST", "/api/v1/schedules/asked/pause", ""), 200)
	if a := w.with("", "POST", "/hooks/schedules/asked", "{}", signed("{}", later.Add(time.Second), secret)...); a.status != 409 || !strings.Contains(a.body, "schedule-paused") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if rows := w.audited("schedule.fire"); len(rows) != 4 {
		t.Errorf("%d are on record", len(rows))
	}
	if a := w.with("", "GET", "/hooks/schedules/asked", ""); a.status != 405 {
		t.Errorf("GET = %d", a.status)
	}
}
