package grant_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/grant/granttest"
)

// life returns how long the token of s lives, as text; "unknown" without an
// expiry.
func (s shot) life(t *testing.T) (string, []grant.Flag) {
	t.Helper()
	tok, flags := s.token(t)
	if tok.Expiry.IsZero() {
		return "unknown", flags
	}
	return tok.Lifetime().String(), flags
}

func TestCap035_where_the_expiry_comes_from(t *testing.T) {
	now := granttest.Clock
	at := func(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }
	token := jwt(`{"exp":` + at(40*time.Minute) + `}`)
	fixed := freshet.Response{Expires: freshet.Expiry{Fixed: freshet.Duration(20 * time.Minute)}}
	absolute := freshet.Response{Expires: freshet.Expiry{Path: "ends", Form: "at_s"}}
	override := freshet.Policy{Lifetime: freshet.Duration(10 * time.Minute)}
	for _, tt := range []struct {
		name   string
		body   string
		shape  freshet.Response
		policy freshet.Policy
		byDef  time.Duration
		want   string
	}{
		{"the connection's own lifetime before all", `{"access_token":"` + token + `","expires_in":3600,"ends":` + at(30*time.Minute) + `}`, absolute, override, time.Hour, "10m0s"},
		{"and before a fixed one", `{"access_token":"at-1","expires_in":3600}`, fixed, override, 0, "10m0s"},
		{"the provider's fixed lifetime", `{"access_token":"at-1","expires_in":3600}`, fixed, freshet.Policy{}, time.Hour, "20m0s"},
		{"a described instant before expires_in", `{"access_token":"at-1","expires_in":3600,"ends":` + at(30*time.Minute) + `}`, absolute, freshet.Policy{}, 0, "30m0s"},
		{"expires_at before expires_in when they disagree", `{"access_token":"at-1","expires_in":3600,"expires_at":` + at(2*time.Hour) + `}`, freshet.Response{}, freshet.Policy{}, 0, "2h0m0s"},
		{"expires_in when expires_at says the same by another clock", `{"access_token":"at-1","expires_in":3600,"expires_at":` + at(70*time.Minute) + `}`, freshet.Response{}, freshet.Policy{}, 0, "1h0m0s"},
		{"expires_in when expires_at is past", `{"access_token":"at-1","expires_in":3600,"expires_at":` + at(-time.Hour) + `}`, freshet.Response{}, freshet.Policy{}, 0, "1h0m0s"},
		{"expires_at alone", `{"access_token":"at-1","expires_at":` + at(time.Hour) + `}`, freshet.Response{}, freshet.Policy{}, 0, "1h0m0s"},
		{"expires_at in milliseconds", `{"access_token":"at-1","expires_at":` + at(time.Hour) + `000}`, freshet.Response{}, freshet.Policy{}, 0, "1h0m0s"},
		{"expires_at as text", `{"access_token":"at-1","expires_at":"` + now.Add(time.Hour).Format(time.RFC3339) + `"}`, freshet.Response{}, freshet.Policy{}, 0, "1h0m0s"},
		{"expires_on as a number in text", `{"access_token":"at-1","expires_on":"` + at(time.Hour) + `"}`, freshet.Response{}, freshet.Policy{}, 0, "1h0m0s"},
		{"expires_in before the JWT's exp", `{"access_token":"` + token + `","expires_in":1800}`, freshet.Response{}, freshet.Policy{}, 0, "30m0s"},
		{"the JWT's exp before the default", `{"access_token":"` + token + `"}`, freshet.Response{}, freshet.Policy{}, time.Hour, "40m0s"},
		{"the provider's default", `{"access_token":"at-1"}`, freshet.Response{}, freshet.Policy{}, time.Hour, "1h0m0s"},
		{"the provider's default when the answer is nonsense", `{"access_token":"at-1","expires_in":"soon"}`, freshet.Response{}, freshet.Policy{}, time.Hour, "1h0m0s"},
		{"nothing at all", `{"access_token":"at-1"}`, freshet.Response{}, freshet.Policy{}, 0, "unknown"},
		{"expires_in of the envelope", `{"data":{"access_token":"at-1","expires_in":60}}`, freshet.Response{AccessToken: "data.access_token"}, freshet.Policy{}, 0, "1m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := shot{body: tt.body, shape: tt.shape, policy: tt.policy, byDefault: tt.byDef}.life(t)
			if got != tt.want {
				t.Errorf("lives %s, want %s", got, tt.want)
			}
		})
	}
}

func TestF31Lifetimes(t *testing.T) {
	for _, tt := range []struct {
		value, want string
		flag        grant.Flag
	}{
		{`3600`, "1h0m0s", ""}, {`"3600"`, "1h0m0s", ""}, {`"+3600"`, "1h0m0s", ""}, {`"3.6e3"`, "1h0m0s", ""}, {`3600.999`, "1h0m0s", ""}, {`"03600"`, "1h0m0s", ""},
		{`"\t3600\n"`, "1h0m0s", ""}, {`1`, "1s", ""}, {`1.0`, "1s", ""},
		{`315360000`, "87600h0m0s", ""}, {`315360000.5`, "87600h0m0s", ""}, {`315360001`, "87600h0m0s", grant.FlagLifetimeCapped},
		{`1e400`, "87600h0m0s", grant.FlagLifetimeCapped}, {`"99999999999999999999999999"`, "87600h0m0s", grant.FlagLifetimeCapped},
		{`0`, "unknown", grant.FlagLifetimeNone}, {`"0"`, "unknown", grant.FlagLifetimeNone}, {`-0`, "unknown", grant.FlagLifetimeNone}, {`0.999`, "unknown", grant.FlagLifetimeNone},
		{`1e-400`, "unknown", grant.FlagLifetimeNone}, {`-2147483649`, "unknown", grant.FlagLifetimeNone}, {`-1e400`, "unknown", grant.FlagLifetimeNone},
		{`null`, "unknown", ""},
		{`""`, "unknown", grant.FlagLifetimeUnclear}, {`" "`, "unknown", grant.FlagLifetimeUnclear}, {`"3600s"`, "unknown", grant.FlagLifetimeUnclear}, {`"1h"`, "unknown", grant.FlagLifetimeUnclear},
		{`"0x10"`, "unknown", grant.FlagLifetimeUnclear}, {`"1_000"`, "unknown", grant.FlagLifetimeUnclear}, {`"3,600"`, "unknown", grant.FlagLifetimeUnclear}, {`"Infinity"`, "unknown", grant.FlagLifetimeUnclear},
		{`"٣٦٠٠"`, "unknown", grant.FlagLifetimeUnclear}, {`".5"`, "unknown", grant.FlagLifetimeUnclear}, {`"--1"`, "unknown", grant.FlagLifetimeUnclear}, {`"1e"`, "unknown", grant.FlagLifetimeUnclear},
		{`true`, "unknown", grant.FlagLifetimeUnclear}, {`{}`, "unknown", grant.FlagLifetimeUnclear}, {`[]`, "unknown", grant.FlagLifetimeUnclear},
	} {
		got, flags := shot{body: `{"access_token":"at-1","expires_in":` + tt.value + `}`}.life(t)
		if got != tt.want || len(flags) > 1 || tt.flag != "" && !slices.Contains(flags, tt.flag) || tt.flag == "" && len(flags) != 0 {
			t.Errorf("expires_in %s: %s %q, want %s %q", tt.value, got, flags, tt.want, tt.flag)
		}
	}
}

func TestExpiryForms(t *testing.T) {
	day := func(s string) freshet.Expiry { return freshet.Expiry{Path: "e", Form: s} }
	in := func(e freshet.Expiry, zone string) freshet.Expiry { e.Zone = zone; return e }
	for _, tt := range []struct {
		value string
		e     freshet.Expiry
		want  string // an instant; a duration from now; unknown
	}{
		{`1800`, freshet.Expiry{Path: "e"}, "30m0s"},
		{`30`, freshet.Expiry{Path: "e", Unit: "m"}, "30m0s"},
		{`"1.5"`, freshet.Expiry{Path: "e", Unit: "h"}, "1h30m0s"},
		{`2`, freshet.Expiry{Path: "e", Unit: "d"}, "48h0m0s"},
		{`900000`, freshet.Expiry{Path: "e", Unit: "ms"}, "15m0s"},
		{`999`, freshet.Expiry{Path: "e", Unit: "ms"}, "unknown"},
		{`1e300`, freshet.Expiry{Path: "e", Unit: "d"}, "87600h0m0s"},
		{`0`, freshet.Expiry{Path: "e", Zero: "never"}, "unknown"},
		{`1792571220`, day("at_s"), "1h0m0s"},
		{`"1792571220.9"`, day("at_s"), "1h0m0.9s"},
		{`1792571220000`, day("at_ms"), "1h0m0s"},
		{`1e300`, day("at_ms"), "87600h0m0s"},
		{`-5`, day("at_s"), "unknown"},
		{`0`, freshet.Expiry{Path: "e", Form: "at_s", Zero: "never"}, "unknown"},
		{`"2026-10-21T08:27:00Z"`, day("rfc3339"), "1h0m0s"},
		{`"2026-10-21T10:27:00.000+02:00"`, day("rfc3339"), "1h0m0s"},
		{`"2026-10-21T10:27:00+0200"`, day("rfc3339"), "1h0m0s"},
		{`"2026-10-21"`, day("rfc3339"), "unknown"},
		{`"2026-10-21 08:27:00"`, day("datetime"), "1h0m0s"},
		{`"2026-10-21T08:27:00.5"`, day("datetime"), "1h0m0.5s"},
		{`"2026-10-21T16:27:00"`, in(day("datetime"), "+08:00"), "1h0m0s"},
		{`"2026-10-21 10:27:00"`, in(day("datetime"), "Europe/Oslo"), "1h0m0s"},
		{`"2026-10-22"`, day("date"), "16h33m0s"},
		{`"2026-10-22"`, in(day("date"), "Europe/Oslo"), "14h33m0s"},
		{`"20261022"`, day("date"), "16h33m0s"},
		{`"2026-10-25 12:00:00"`, in(day("datetime"), "Europe/Oslo"), "99h33m0s"}, // the hour that repeats lies between
		{`"2038-01-19T03:14:08Z"`, day("rfc3339"), "87600h0m0s"},                  // F65: and ten years at most
		{`"Wed, 21 Oct 2026 08:27:00 GMT"`, day("http_date"), "1h0m0s"},
		{`"177:05:38"`, day("hms"), "177h5m38s"},
		{`"0:00:59"`, day("hms"), "59s"},
		{`"1:60:00"`, day("hms"), "unknown"},
		{`"1:00"`, day("hms"), "unknown"},
		{`"-1:00:00"`, day("hms"), "unknown"},
		{`"99999999999999999999:00:00"`, day("hms"), "87600h0m0s"},
		{`"PT1H"`, day("iso_duration"), "1h0m0s"},
		{`"P1DT30M1.5S"`, day("iso_duration"), "24h30m1s"},
		{`"P2W"`, day("iso_duration"), "336h0m0s"},
		{`"PT"`, day("iso_duration"), "unknown"},
		{`"P"`, day("iso_duration"), "unknown"},
		{`"PT1M1H"`, day("iso_duration"), "unknown"},
		{`"P1H"`, day("iso_duration"), "unknown"},
		{`"1H"`, day("iso_duration"), "unknown"},
		{`{}`, day("rfc3339"), "unknown"},
	} {
		got, flags := shot{body: `{"access_token":"at-1","e":` + tt.value + `}`, shape: freshet.Response{Expires: tt.e}}.life(t)
		if got != tt.want {
			t.Errorf("%s as %+v: %s %q, want %s", tt.value, tt.e, got, flags, tt.want)
		}
		if got == "unknown" && tt.e.Zero == "" && len(flags) == 0 {
			t.Errorf("%s as %+v is unknown without a flag", tt.value, tt.e)
		}
	}
}

func TestCap033_the_exp_of_a_JWT(t *testing.T) {
	exp := strconv.FormatInt(granttest.Clock.Add(time.Hour).Unix(), 10)
	for name, tt := range map[string]struct{ token, want string }{
		"seconds":           {jwt(`{"exp":` + exp + `}`), "1h0m0s"},
		"fraction":          {jwt(`{"exp":` + exp + `.75}`), "1h0m0s"},
		"number as text":    {jwt(`{"exp":"` + exp + `"}`), "1h0m0s"},
		"base64url letters": {jwt(`{"n":"??>>ÿÿ~~","exp":` + exp + `}`), "1h0m0s"},
		"padded":            {"eyJhbGciOiJub25lIn0=." + padded(`{"exp":`+exp+`}`) + ".", "1h0m0s"},
		"no exp":            {jwt(`{}`), "unknown"},
		"exp is text":       {jwt(`{"exp":"later"}`), "unknown"},
		"not JSON":          {"a.b.c", "unknown"},
		"two parts":         {"a.b", "unknown"},
		"far future":        {jwt(`{"exp":1e18}`), "87600h0m0s"},
		"negative":          {jwt(`{"exp":-1}`), "unknown"},
		"cap034 opaque":     {"opaque-token", "unknown"},
	} {
		for _, shape := range []freshet.Response{{}, {Expires: freshet.Expiry{Form: "jwt_exp"}}} {
			got, _ := shot{body: fmt.Sprintf(`{"access_token":%q}`, tt.token), shape: shape}.life(t)
			if got != tt.want {
				t.Errorf("%s with form %q: %s, want %s", name, shape.Expires.Form, got, tt.want)
			}
		}
	}
	other := jwt(`{"exp":` + exp + `}`)
	if got, _ := (shot{body: fmt.Sprintf(`{"access_token":"at-1","id_token":%q}`, other), shape: freshet.Response{Expires: freshet.Expiry{Form: "jwt_exp", Path: "id_token"}}}).life(t); got != "1h0m0s" {
		t.Errorf("the exp of another member: %s", got)
	}
	tok, _ := shot{body: fmt.Sprintf(`{"access_token":"at-1","refresh_token":%q}`, other), shape: freshet.Response{RefreshExp: freshet.Expiry{Form: "jwt_exp"}}}.token(t)
	if tok.RefreshExpiry.Sub(tok.IssuedAt) != time.Hour {
		t.Errorf("the exp of a refresh token: %v", tok.RefreshExpiry)
	}
}

func padded(s string) string {
	b := jwt(s)
	b = b[len("eyJhbGciOiJub25lIn0."):]
	b = b[:len(b)-len(".c2ln")]
	for len(b)%4 != 0 {
		b += "="
	}
	return b
}

func TestF61_a_JWT_that_ends_before_the_answer_says(t *testing.T) {
	at := func(d time.Duration) string {
		return jwt(`{"exp":` + strconv.FormatInt(granttest.Clock.Add(d).Unix(), 10) + `}`)
	}
	for _, tt := range []struct {
		exp  time.Duration
		want string
		flag grant.Flag
	}{
		{time.Hour, "1h0m0s", ""},
		{2 * time.Hour, "1h0m0s", ""},
		{time.Hour - time.Minute, "1h0m0s", ""}, // clocks and rounding
		{time.Hour - 61*time.Second, "58m59s", grant.FlagJWTEarlier},
		{31 * time.Second, "31s", grant.FlagJWTEarlier},
		{30 * time.Second, "1h0m0s", grant.FlagJWTEarlier}, // believed, it would be refreshed without end
		{0, "1h0m0s", grant.FlagExpiredOnArrival},
		{-time.Hour, "1h0m0s", grant.FlagExpiredOnArrival},
	} {
		got, flags := shot{body: fmt.Sprintf(`{"access_token":%q,"expires_in":3600}`, at(tt.exp))}.life(t)
		if got != tt.want || tt.flag != "" && !slices.Contains(flags, tt.flag) || tt.flag == "" && len(flags) > 0 {
			t.Errorf("exp in %v: %s %q, want %s %q", tt.exp, got, flags, tt.want, tt.flag)
		}
	}
	if got, flags := (shot{body: fmt.Sprintf(`{"access_token":%q}`, at(-time.Hour))}).life(t); got != "unknown" || !slices.Contains(flags, grant.FlagExpiredOnArrival) {
		t.Errorf("a JWT that is past, and nothing else: %s %q", got, flags)
	}
	if got, flags := (shot{body: fmt.Sprintf(`{"access_token":%q,"expires_in":3600}`, at(time.Minute)), policy: freshet.Policy{Lifetime: freshet.Duration(time.Hour)}}).life(t); got != "1h0m0s" || len(flags) != 0 {
		t.Errorf("a configured lifetime against the JWT: %s %q", got, flags)
	}
}

func TestF60_lifetimes_count_from_the_send(t *testing.T) {
	tok, _ := shot{body: `{"access_token":"at-1","expires_in":3600}`, arrived: granttest.Clock.Add(15 * time.Second)}.token(t)
	if !tok.IssuedAt.Equal(granttest.Clock) || !tok.Expiry.Equal(granttest.Clock.Add(time.Hour)) {
		t.Errorf("cap058 sent %v, issued %v, expires %v", granttest.Clock, tok.IssuedAt, tok.Expiry)
	}
}

func TestCap037_lifetime_and_creation_time(t *testing.T) {
	from := freshet.Response{Expires: freshet.Expiry{Path: "expires_in", From: "created_at"}}
	at := func(d time.Duration) string { return strconv.FormatInt(granttest.Clock.Add(d).Unix(), 10) }
	for _, tt := range []struct {
		created string
		shape   freshet.Response
		want    time.Duration
	}{
		{at(-10 * time.Minute), from, 110 * time.Minute},
		{`"` + granttest.Clock.Add(-10*time.Minute).Format(time.RFC3339) + `"`, from, 110 * time.Minute},
		{at(time.Minute), from, 2 * time.Hour},    // the provider's clock is ahead
		{at(-3 * time.Hour), from, 2 * time.Hour}, // it would have expired
		{`"yesterday"`, from, 2 * time.Hour},
		{`null`, from, 2 * time.Hour},
		{at(-10 * time.Minute), freshet.Response{}, 2 * time.Hour}, // nobody said what it means
	} {
		tok, flags := shot{body: `{"access_token":"at-1","expires_in":7200,"created_at":` + tt.created + `}`, shape: tt.shape}.token(t)
		if tok.Lifetime() != tt.want || len(flags) != 0 {
			t.Errorf("created_at %s: %v %q, want %v", tt.created, tok.Lifetime(), flags, tt.want)
		}
	}
}

func TestRefreshHint(t *testing.T) {
	for value, want := range map[string]time.Duration{`1800`: 30 * time.Minute, `"60"`: time.Minute, `0`: 0, `-1`: 0, `"x"`: 0, `null`: 0, `1e99`: 315360000 * time.Second} {
		tok, flags := shot{body: `{"access_token":"at-1","refresh_in":` + value + `}`}.token(t)
		if tok.RefreshHint != want || len(flags) != 0 {
			t.Errorf("refresh_in %s: %v %q, want %v", value, tok.RefreshHint, flags, want)
		}
	}
}
