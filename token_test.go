package freshet_test

import (
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

func TestFreshAt(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name     string
		lifetime time.Duration // 0: unknown
		after    time.Duration // the issue
		margin   time.Duration
		want     bool
	}{
		{"cap032 one ms before the expiry", time.Hour, time.Hour - ms, 0, true},
		{"cap032 at the expiry", time.Hour, time.Hour, 0, false},
		{"cap032 one ms after the expiry", time.Hour, time.Hour + ms, 0, false},
		{"one ms before the margin", time.Hour, time.Hour - time.Minute - ms, time.Minute, true},
		{"at the margin", time.Hour, time.Hour - time.Minute, time.Minute, false},
		{"F65 across the change of the clocks", 24 * time.Hour, 24*time.Hour - ms, 0, true},
		{"F65 after 2038", 20 * 365 * 24 * time.Hour, 19 * 365 * 24 * time.Hour, 0, true},
		{"unknown expiry", 0, 1000 * time.Hour, time.Hour, true},
		{"spent on arrival", -time.Second, 0, 0, false},
	} {
		if got := living(tt.lifetime).FreshAt(issued.Add(tt.after), tt.margin); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	// The same instant in another zone is the same instant.
	oslo := time.FixedZone("", 2*3600)
	if tok := living(time.Hour); !tok.FreshAt(issued.Add(time.Hour-ms).In(oslo), 0) || tok.FreshAt(issued.Add(time.Hour).In(oslo), 0) {
		t.Error("F65 the zone of the clock matters")
	}
	var none *freshet.Token
	if none.FreshAt(issued, 0) || (&freshet.Token{}).FreshAt(issued, 0) || (&freshet.Token{Expiry: issued.Add(time.Hour)}).AliveAt(issued) {
		t.Error("what holds no access token is fresh")
	}
	if tok := living(time.Hour); !tok.AliveAt(issued.Add(time.Hour-ms)) || tok.AliveAt(issued.Add(time.Hour)) {
		t.Error("AliveAt is not FreshAt without a margin")
	}
}

func TestLifetime(t *testing.T) {
	if got := living(time.Hour).Lifetime(); got != time.Hour {
		t.Errorf("%v", got)
	}
	if got := living(0).Lifetime(); got != 0 {
		t.Errorf("unknown expiry: %v", got)
	}
	if got := (&freshet.Token{Expiry: issued}).Lifetime(); got != 0 {
		t.Errorf("unknown issue: %v", got)
	}
}

func TestInjectable(t *testing.T) {
	for typ, want := range map[string]bool{"": true, "Bearer": true, "DPoP": true, "bot": true, "N_A": false, "n_a": false} {
		tok := living(time.Hour)
		if tok.Type = typ; tok.Injectable() != want {
			t.Errorf("type %q: %v, want %v", typ, !want, want)
		}
	}
	if (&freshet.Token{}).Injectable() || (*freshet.Token)(nil).Injectable() {
		t.Error("nothing is injectable")
	}
}
