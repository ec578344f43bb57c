package freshet_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

var issued = time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)

// living returns a token that was issued at the instant issued.
func living(lifetime time.Duration) *freshet.Token {
	t := &freshet.Token{Access: freshet.NewSecret("at"), Refresh: freshet.NewSecret("rt"), IssuedAt: issued, RefreshIssued: issued}
	if lifetime != 0 {
		t.Expiry = issued.Add(lifetime)
	}
	return t
}

func margin(d time.Duration) freshet.Policy { return freshet.Policy{Margin: freshet.Duration(d)} }

func TestMarginFor(t *testing.T) {
	for _, tt := range []struct {
		configured, lifetime, want time.Duration
		capped                     bool
	}{
		{0, time.Hour, 30 * time.Second, false},
		{0, 300 * time.Second, 30 * time.Second, false},
		{0, 299 * time.Second, 29900 * time.Millisecond, false},
		{0, 10 * time.Second, time.Second, false},
		{0, 0, 30 * time.Second, false},
		{0, -time.Hour, 30 * time.Second, false},
		{time.Minute, time.Hour, time.Minute, false},
		{30 * time.Minute, time.Hour, 30 * time.Minute, false},
		{30*time.Minute + 1, time.Hour, 30 * time.Minute, true},
		{48 * time.Hour, 10 * time.Second, 5 * time.Second, true},
		{48 * time.Hour, 0, 48 * time.Hour, false},
	} {
		got, capped := margin(tt.configured).MarginFor(tt.lifetime)
		if got != tt.want || capped != tt.capped {
			t.Errorf("margin %v of a life of %v = %v, %v; want %v, %v", tt.configured, tt.lifetime, got, capped, tt.want, tt.capped)
		}
	}
}

func TestNeedsRefresh(t *testing.T) {
	on401 := freshet.Policy{When: []freshet.Trigger{freshet.On401}}
	for _, tt := range []struct {
		name     string
		p        freshet.Policy
		lifetime time.Duration // 0: unknown
		left     time.Duration // of it
		minTTL   time.Duration
		early    time.Duration
		want     bool
	}{
		{"cap030 2 s left under a margin of 30 s", freshet.Policy{}, time.Hour, 2 * time.Second, 0, 0, true},
		{"cap030 an hour left", freshet.Policy{}, time.Hour, time.Hour, 0, 0, false},
		{"just over the margin", freshet.Policy{}, time.Hour, 30*time.Second + 1, 0, 0, false},
		{"just at the margin", freshet.Policy{}, time.Hour, 30 * time.Second, 0, 0, true},
		{"a short life has a short margin", freshet.Policy{}, 10 * time.Second, 1001 * time.Millisecond, 0, 0, false},
		{"a configured margin", margin(5 * time.Minute), time.Hour, 5 * time.Minute, 0, 0, true},
		{"a margin over the life leaves half of it", margin(48 * time.Hour), time.Hour, 31 * time.Minute, 0, 0, false},
		{"expired this instant", on401, time.Hour, 0, 0, 0, true},
		{"expired", freshet.Policy{}, time.Hour, -1, 0, 0, true},
		{"on a refusal only: a second left is enough", on401, time.Hour, time.Second, 0, 0, false},
		{"on a refusal only: more was asked for", on401, time.Hour, time.Minute, 2 * time.Minute, 0, true},
		{"min_ttl that is there", freshet.Policy{}, time.Hour, 11 * time.Minute, 10 * time.Minute, 0, false},
		{"min_ttl that is not", freshet.Policy{}, time.Hour, 10 * time.Minute, 10 * time.Minute, 0, true},
		{"min_ttl below the margin", freshet.Policy{}, time.Hour, 20 * time.Second, time.Second, 0, true},
		{"min_ttl over the life: an old token is refreshed", freshet.Policy{}, time.Hour, 59*time.Minute + 30*time.Second, 48 * time.Hour, 0, true},
		{"min_ttl over the life: a new one is served", freshet.Policy{}, time.Hour, 59*time.Minute + 31*time.Second, 48 * time.Hour, 0, false},
		{"min_ttl over a short life: an old token is refreshed", freshet.Policy{}, 10 * time.Second, 5 * time.Second, time.Hour, 0, true},
		{"min_ttl over a short life: a new one is served", freshet.Policy{}, 10 * time.Second, 5001 * time.Millisecond, time.Hour, 0, false},
		{"min_ttl of the whole life: a new token is served", freshet.Policy{}, time.Hour, 59*time.Minute + 40*time.Second, time.Hour, 0, false},
		{"min_ttl of nearly the life: a new token is served", freshet.Policy{}, time.Minute, 55 * time.Second, 59 * time.Second, 0, false},
		{"min_ttl of nearly the life: an old one is not", freshet.Policy{}, time.Minute, 50 * time.Second, 59 * time.Second, 0, true},
		{"F45 refused early: served", margin(5 * time.Minute), 10 * time.Minute, 31 * time.Second, 0, 30 * time.Second, false},
		{"F45 refused early, whatever is asked for", freshet.Policy{}, 10 * time.Minute, 5 * time.Minute, 9 * time.Minute, 30 * time.Second, false},
		{"F45 in the window", freshet.Policy{}, 10 * time.Minute, 30 * time.Second, 0, 30 * time.Second, true},
		{"F45 expired", freshet.Policy{}, 10 * time.Minute, 0, 0, 30 * time.Second, true},
		{"unknown expiry", freshet.Policy{}, 0, 0, time.Hour, 0, false},
	} {
		tok := living(tt.lifetime)
		if got := tt.p.NeedsRefresh(tok, issued.Add(tt.lifetime-tt.left), tt.minTTL, freshet.Duration(tt.early)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if !(freshet.Policy{}).NeedsRefresh(nil, issued, 0, 0) || !(freshet.Policy{}).NeedsRefresh(&freshet.Token{Refresh: freshet.NewSecret("rt")}, issued, 0, 0) {
		t.Error("no access token needs no refresh")
	}
}

func TestNextRefresh(t *testing.T) {
	pr := &freshet.Provider{}
	early := &freshet.Provider{EarlyRefresh: freshet.Duration(30 * time.Second)}
	idle := &freshet.Provider{IdleLifetime: freshet.Duration(60 * 24 * time.Hour)}
	schedule := freshet.Policy{When: []freshet.Trigger{freshet.OnSchedule}, Every: freshet.Duration(55 * time.Minute)}
	hint := func(lifetime, hint time.Duration) *freshet.Token {
		tok := living(lifetime)
		tok.RefreshHint = hint
		return tok
	}
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name       string
		p          freshet.Policy
		tok        *freshet.Token
		pr         *freshet.Provider
		first, end time.Duration // with jitter 0 and nearly 1; first < 0: never
	}{
		{"80 % with ±10 %", freshet.Policy{}, living(time.Hour), pr, 43*time.Minute + 12*time.Second, 52*time.Minute + 48*time.Second},
		{"lifetime − margin when that is sooner", margin(30 * time.Minute), living(time.Hour), pr, 27 * time.Minute, 33 * time.Minute},
		{"never sooner than 30 s", margin(59 * time.Second), living(90 * time.Second), pr, 40500 * time.Millisecond, 49500 * time.Millisecond},
		{"never sooner than half of a short life", margin(time.Minute), living(20 * time.Second), pr, 10 * time.Second, 11 * time.Second},
		{"unknown lifetime", freshet.Policy{}, living(0), pr, -1, -1},
		{"spent on arrival", freshet.Policy{}, living(-time.Hour), pr, -1, -1},
		{"a hint", freshet.Policy{}, hint(24*time.Hour, 12*time.Hour), pr, 10*time.Hour + 48*time.Minute, 13*time.Hour + 12*time.Minute},
		{"a hint behind the margin", margin(6 * time.Minute), hint(time.Hour, 59*time.Minute), pr, 48*time.Minute + 36*time.Second, 59*time.Minute + 24*time.Second},
		{"a hint behind the end", freshet.Policy{}, hint(time.Hour, 2*time.Hour), pr, 43*time.Minute + 12*time.Second, 52*time.Minute + 48*time.Second},
		{"F45 not before the provider answers", freshet.Policy{}, living(10 * time.Minute), early, 9*time.Minute + 30*time.Second, 9*time.Minute + 45*time.Second},
		{"on a refusal only", freshet.Policy{When: []freshet.Trigger{freshet.On401}}, living(time.Hour), pr, -1, -1},
		{"by the clock alone", schedule, living(time.Hour), pr, 55 * time.Minute, 55 * time.Minute},
		{"by the clock, unknown lifetime", schedule, living(0), pr, 55 * time.Minute, 55 * time.Minute},
		{"by clock and expiry, the sooner", freshet.Policy{Every: freshet.Duration(55 * time.Minute)}, living(time.Hour), pr, 43*time.Minute + 12*time.Second, 52*time.Minute + 48*time.Second},
		{"F63 kept alive", freshet.Policy{When: []freshet.Trigger{freshet.On401}}, living(time.Hour), idle, 48 * day, 42 * day},
		{"F63 the expiry comes first", freshet.Policy{}, living(time.Hour), idle, 43*time.Minute + 12*time.Second, 52*time.Minute + 48*time.Second},
		{"F63 no refresh token to keep", freshet.Policy{}, &freshet.Token{Access: freshet.NewSecret("at"), IssuedAt: issued}, idle, -1, -1},
		{"nothing stored", freshet.Policy{}, &freshet.Token{}, idle, -1, -1},
		{"no token", freshet.Policy{}, nil, idle, -1, -1},
	} {
		for jitter, want := range map[float64]time.Duration{0: tt.first, 0.999999: tt.end} {
			due := tt.p.NextRefresh(tt.tok, tt.pr, jitter)
			switch {
			case want < 0 && !due.IsZero():
				t.Errorf("%s: due %v after the issue, want never", tt.name, due.Sub(issued))
			case want >= 0 && due.Sub(issued).Round(time.Duration(float64(want)*1e-5)+1) != want.Round(time.Duration(float64(want)*1e-5)+1):
				t.Errorf("%s, jitter %v: due %v after the issue, want %v", tt.name, jitter, due.Sub(issued), want)
			}
		}
	}
	imported := &freshet.Token{Access: freshet.NewSecret("at"), Expiry: issued.Add(time.Hour)}
	if due := (freshet.Policy{}).NextRefresh(imported, pr, 0.5); !due.Equal(issued.Add(time.Hour - 30*time.Second)) {
		t.Errorf("an imported token of unknown age is due %v", due)
	}
}

// However life, margin, hint and jitter fall, the background comes while the
// token lives, and not in a loop.
func TestNextRefreshBounds(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Second, 20 * time.Second, time.Minute, 5 * time.Minute, time.Hour, 90 * 24 * time.Hour} {
		for _, m := range []time.Duration{0, time.Second, time.Minute, time.Hour, 365 * 24 * time.Hour} {
			for _, h := range []time.Duration{0, 1, lifetime / 2, lifetime - 1, lifetime, 2 * lifetime} {
				for jitter := 0.0; jitter < 1; jitter += 0.09 {
					tok := living(lifetime)
					tok.RefreshHint = h
					after := margin(m).NextRefresh(tok, &freshet.Provider{}, jitter).Sub(issued)
					if floor := min(30*time.Second, lifetime/2); after < floor || after > lifetime {
						t.Fatalf("lifetime %v, margin %v, hint %v, jitter %.2f: due after %v", lifetime, m, h, jitter, after)
					}
				}
			}
		}
	}
}

func TestRefreshDeadline(t *testing.T) {
	year := &freshet.Provider{RefreshLifetime: freshet.Duration(365 * 24 * time.Hour)}
	tok := living(time.Hour)
	if got := year.RefreshDeadline(tok); !got.Equal(issued.AddDate(1, 0, 0)) {
		t.Errorf("F64 the provider's absolute limit: %v", got)
	}
	if got := (&freshet.Provider{}).RefreshDeadline(tok); !got.IsZero() {
		t.Errorf("nobody said anything: %v", got)
	}
	tok.RefreshExpiry = issued.Add(time.Hour)
	if got := year.RefreshDeadline(tok); !got.Equal(tok.RefreshExpiry) {
		t.Errorf("the answer's own word: %v", got)
	}
	tok.Refresh = freshet.Secret{}
	if got := year.RefreshDeadline(tok); !got.IsZero() {
		t.Errorf("without a refresh token: %v", got)
	}
}

func TestPolicyJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{}`:                                         `{}`,
		`{"when":"every_use"}`:                       `{"when":["every_use"]}`,
		`{"when":["before_expiry","on_401"]}`:        `{"when":["before_expiry","on_401"]}`,
		`{"when":null,"margin":"30s"}`:               `{"margin":"30s"}`,
		`{"when":"schedule","every":"55m"}`:          `{"when":["schedule"],"every":"55m"}`,
		`{"lifetime":"1h30m","by":"workflow:Renew"}`: `{"by":"workflow:Renew","lifetime":"1h30m"}`,
	} {
		var p freshet.Policy
		if err := json.Unmarshal([]byte(in), &p); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if got, _ := json.Marshal(p); string(got) != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{`{"when":"sometimes"}`, `{"when":["on_401","never"]}`, `{"when":"schedule"}`} {
		var p freshet.Policy
		if err := json.Unmarshal([]byte(in), &p); err != nil {
			t.Errorf("%s: %v", in, err)
		} else if p.Check() == nil {
			t.Errorf("%s passes the check", in)
		}
	}
	for _, in := range []string{`{"when":7}`, `{"margin":30}`, `{"margin":"-1s"}`, `[]`} {
		if err := json.Unmarshal([]byte(in), new(freshet.Policy)); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
	p := freshet.Policy{}
	if !p.Has(freshet.BeforeExpiry) || !p.Has(freshet.On401) || p.Has(freshet.EveryUse) || p.Has(freshet.OnSchedule) {
		t.Error("the zero policy is not the default")
	}
	if p.Every = freshet.Duration(time.Hour); !p.Has(freshet.OnSchedule) {
		t.Error("an interval makes no schedule")
	}
}
