package grant

import (
	"encoding/base64"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
)

const (
	// maxLifetime caps what an answer may promise: ten years.
	maxLifetime = 315_360_000 * time.Second

	// clockTolerance is how far an absolute expiry may be from expires_in before
	// they count as two different statements: clocks differ.
	clockTolerance = 15 * time.Minute

	// jwtTolerance is how much earlier than the answer says a JWT may end
	// without anybody noticing.
	jwtTolerance = time.Minute

	// shortest is the life that an access token must have left for its own exp to
	// be believed against the answer: with less, a refresh would follow at once,
	// and the next answer would say the same.
	shortest = 30 * time.Second
)

// readExpiry sets when the access token expires. In this order it believes:
//
//  1. a configured lifetime: the connection's, then the provider's fixed one;
//  2. an absolute expiry: where the provider's entry says so, else expires_at or
//     expires_on, if it lies in the future;
//  3. expires_in, counted from when the request was sent;
//  4. the exp claim, if the access token is a JWT;
//  5. the provider's default lifetime.
//
// An expires_at that agrees with expires_in up to what clocks differ by leaves
// expires_in in force, and one in the past says nothing (Strava has sent
// both): a lifetime does not depend on our wall clock. A JWT that ends earlier
// than 2 and 3 say is flagged and believed, unless it had ended on arrival.
func (a *reading) readExpiry(t *freshet.Token, access string) {
	sent := a.r.SentAt
	exp, isJWT := jwtExpiry(access)
	if life := a.policy.Lifetime.D(); life > 0 {
		t.Expiry = sent.Add(min(life, maxLifetime))
		return
	}
	e := a.shape.Expires
	if life := e.Fixed.D(); life > 0 {
		t.Expiry = sent.Add(min(life, maxLifetime))
		return
	}
	var never bool
	switch {
	case e.Form == "jwt_exp":
		if e.Path != "" {
			n, _ := a.at(e.Path)
			exp, isJWT = jwtExpiry(n.text())
		}
	case e.Path == "" && e.Form == "":
		t.Expiry, never = a.standardExpiry(e)
	default:
		if n, ok := a.find(e.Path, "expires_in"); ok {
			t.Expiry, never = a.stated(n, e)
		}
	}
	switch {
	case never:
		return
	case !isJWT:
	case !exp.After(sent):
		a.flag(FlagExpiredOnArrival)
	case t.Expiry.IsZero():
		t.Expiry = a.cap(exp)
	case exp.Before(t.Expiry.Add(-jwtTolerance)):
		a.flag(FlagJWTEarlier)
		if exp.After(sent.Add(shortest)) {
			t.Expiry = exp
		}
	}
	if life := a.p.DefaultLifetime.D(); t.Expiry.IsZero() && life > 0 {
		t.Expiry = sent.Add(min(life, maxLifetime))
	}
}

// standardExpiry reads expires_in and its absolute kin.
func (a *reading) standardExpiry(e freshet.Expiry) (at time.Time, never bool) {
	if in, ok := a.find("", "expires_in"); ok {
		at, never = a.stated(in, e)
	}
	abs, state := a.absolute()
	switch {
	case never || state == instantNone:
	case state == instantReadable && !at.IsZero():
		if abs.Sub(at).Abs() > min(clockTolerance, at.Sub(a.r.SentAt)/2) {
			at = a.cap(abs)
		}
	case state == instantReadable:
		at = a.cap(abs)
	case !at.IsZero():
		// expires_in says enough.
	case state == instantPast:
		a.flag(FlagLifetimeNone)
	default:
		a.flag(FlagLifetimeUnclear)
	}
	return at, never
}

// What an expires_at may turn out to be.
const (
	instantNone     = iota
	instantReadable // in the future
	instantPast
	instantUnclear
)

func (a *reading) absolute() (at time.Time, state int) {
	for _, name := range []string{"expires_at", "expires_on"} {
		n, ok := a.find("", name)
		if !ok || n.kind() == 'n' {
			continue
		}
		at, ok := guessInstant(n)
		switch {
		case !ok:
			return at, instantUnclear
		case !at.After(a.r.SentAt):
			return at, instantPast
		}
		return at, instantReadable
	}
	return time.Time{}, instantNone
}

// stated reads a lifetime or an instant as e says. never: the answer says that
// the token does not expire.
func (a *reading) stated(n node, e freshet.Expiry) (at time.Time, never bool) {
	if n.kind() == 'n' {
		return time.Time{}, false
	}
	if f, ok := decimal(strings.TrimSpace(n.text())); ok && f == 0 && e.Zero == "never" {
		return time.Time{}, true
	}
	life, at, ok := readLifetime(n, e)
	switch {
	case !ok:
		a.flag(FlagLifetimeUnclear)
		return time.Time{}, false
	case at.IsZero() && life > 0:
		at = a.start(e, life).Add(life)
	}
	if !at.After(a.r.SentAt) {
		a.flag(FlagLifetimeNone)
		return time.Time{}, false
	}
	return a.cap(at), false
}

// start returns the instant from which a lifetime counts: the sending of the
// request, or the instant that the provider's entry names, if it can be meant:
// not in the future, and not so long ago that the token would have expired.
func (a *reading) start(e freshet.Expiry, life time.Duration) time.Time {
	sent := a.r.SentAt
	if e.From == "" {
		return sent
	}
	n, _ := a.at(e.From)
	at, ok := guessInstant(n)
	if !ok || at.After(sent) || !at.Add(life).After(sent) {
		return sent
	}
	return at
}

// cap keeps an expiry within maxLifetime.
func (a *reading) cap(at time.Time) time.Time {
	if last := a.r.SentAt.Add(maxLifetime); at.After(last) {
		a.flag(FlagLifetimeCapped)
		return last
	}
	return at
}

// refreshExpiry returns when the refresh token of the answer expires, zero if
// that is not said. Oddities of it are nobody's concern.
func (a *reading) refreshExpiry(refresh string) time.Time {
	e := a.shape.RefreshExp
	sent := a.r.SentAt
	if e.Form == "jwt_exp" {
		if at, ok := jwtExpiry(refresh); ok && at.After(sent) {
			return at
		}
		return time.Time{}
	}
	if life := e.Fixed.D(); life > 0 {
		return sent.Add(min(life, maxLifetime))
	}
	names := []string{"refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in", "rt_expires_in"}
	if e.Path != "" {
		names = []string{e.Path}
	}
	for _, name := range names {
		path := ""
		if e.Path != "" {
			path = name
		}
		n, ok := a.find(path, name)
		if !ok {
			continue
		}
		life, at, ok := readLifetime(n, e)
		switch {
		case !ok:
		case at.IsZero() && life > 0:
			return sent.Add(min(life, maxLifetime))
		case at.After(sent):
			return at
		}
	}
	return time.Time{}
}

// hint returns when the provider asks for the next refresh (Microsoft
// refresh_in), zero if it does not.
func (a *reading) hint() time.Duration {
	n, ok := a.find("", "refresh_in")
	if !ok {
		return 0
	}
	life, _, ok := readLifetime(n, freshet.Expiry{})
	if !ok || life <= 0 {
		return 0
	}
	return min(life, maxLifetime)
}

// readLifetime reads a value as e says: a lifetime, or an instant when at is
// set. Lifetimes are rounded down to seconds and saturate.
func readLifetime(n node, e freshet.Expiry) (life time.Duration, at time.Time, ok bool) {
	if k := n.kind(); k != '"' && k != '0' {
		return 0, time.Time{}, false
	}
	s := strings.TrimSpace(n.text())
	switch e.Form {
	case "at_s", "at_ms":
		unit := time.Second
		if e.Form == "at_ms" {
			unit = time.Millisecond
		}
		f, ok := decimal(s)
		if !ok {
			return 0, time.Time{}, false
		}
		at = unixInstant(f, unit)
	case "rfc3339":
		at, ok = parseAny(s, time.UTC, time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700")
	case "datetime":
		at, ok = parseAny(s, zone(e), time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04",
			"2006/01/02 15:04:05")
	case "date":
		at, ok = parseAny(s, zone(e), "2006-01-02", "20060102", "2006/01/02")
	case "http_date":
		var err error
		at, err = http.ParseTime(s)
		ok = err == nil
	case "hms":
		life, ok = parseHMS(s)
		return life, time.Time{}, ok
	case "iso_duration":
		life, ok = parseISODuration(s)
		return life, time.Time{}, ok
	default:
		f, ok := decimal(s)
		if !ok {
			return 0, time.Time{}, false
		}
		return inSeconds(f * float64(unitOf(e.Unit)) / float64(time.Second)), time.Time{}, true
	}
	return 0, at, ok || !at.IsZero()
}

func unitOf(unit string) time.Duration {
	switch unit {
	case "m":
		return time.Minute
	case "h":
		return time.Hour
	case "d":
		return 24 * time.Hour
	case "ms":
		return time.Millisecond
	}
	return time.Second
}

// decimal reads a decimal number of any size; hexadecimal, NaN and the like
// are none.
func decimal(s string) (float64, bool) {
	if !isDecimal(s) {
		return 0, false
	}
	f, _ := strconv.ParseFloat(s, 64) // out of range gives ±Inf, which saturates
	return f, true
}

// inSeconds returns f seconds, rounded down, at most somewhat more than
// maxLifetime either way.
func inSeconds(f float64) time.Duration {
	const most = 2 * float64(maxLifetime/time.Second)
	return time.Duration(math.Floor(max(-most, min(f, most)))) * time.Second
}

// unixInstant returns the instant f units after the epoch, within years that
// time formats can write.
func unixInstant(f float64, unit time.Duration) time.Time {
	const last = 253_402_300_799 // the end of the year 9999
	f = max(0, min(f*float64(unit)/float64(time.Second), last))
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e3)*1e6).UTC()
}

// guessInstant reads an expires_at that nobody described: Unix seconds or
// milliseconds, or a time as text.
func guessInstant(n node) (time.Time, bool) {
	s := strings.TrimSpace(n.text())
	if k := n.kind(); k != '"' && k != '0' {
		return time.Time{}, false
	}
	if f, ok := decimal(s); ok {
		switch {
		case f >= 1e11:
			return unixInstant(f, time.Millisecond), true
		case f >= 1e8:
			return unixInstant(f, time.Second), true
		}
		return time.Time{}, false // no instant of this century
	}
	if at, ok := parseAny(s, time.UTC, time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"); ok {
		return at, true
	}
	at, err := http.ParseTime(s)
	return at, err == nil
}

func parseAny(s string, loc *time.Location, layouts ...string) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// zone returns where the times of e are read: UTC for a zone that the check of
// the provider's entry would refuse.
func zone(e freshet.Expiry) *time.Location {
	loc, err := e.Location()
	if err != nil {
		return time.UTC
	}
	return loc
}

// parseHMS reads hours:minutes:seconds, hours without bound.
func parseHMS(s string) (time.Duration, bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	total := 0.0
	for i, p := range parts {
		if p == "" || digits([]byte(p), 0) != len(p) {
			return 0, false
		}
		f, _ := strconv.ParseFloat(p, 64)
		if i > 0 && f >= 60 {
			return 0, false
		}
		total = total*60 + f
	}
	return inSeconds(total), true
}

// parseISODuration reads ISO 8601 durations of days and less, such as P1DT30M.
func parseISODuration(s string) (time.Duration, bool) {
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" {
		return 0, false
	}
	date, clock, hasClock := strings.Cut(rest, "T")
	if hasClock && clock == "" {
		return 0, false
	}
	total := 0.0
	read := func(s, units string, seconds ...float64) bool {
		for s != "" {
			end := strings.IndexAny(s, units)
			if end < 1 || !isDecimal(s[:end]) || s[0] == '-' || s[0] == '+' {
				return false
			}
			which := strings.IndexByte(units, s[end])
			f, _ := strconv.ParseFloat(s[:end], 64)
			total += f * seconds[which]
			units, seconds = units[which+1:], seconds[which+1:]
			s = s[end+1:]
		}
		return true
	}
	if !read(date, "WD", 7*86400, 86400) || !read(clock, "HMS", 3600, 60, 1) {
		return 0, false
	}
	return inSeconds(total), true
}

// claims are the payload of a JWT that nobody has verified.
type claims []member

func (c claims) text(name string) string {
	n, _ := pick(c, name)
	return n.text()
}

// jwtClaims returns the payload of s if s has the shape of a signed JWT:
// three parts, the first two JSON objects. Padding and the standard alphabet
// of base64 are tolerated.
func jwtClaims(s string) (claims, bool) {
	if len(s) > MaxBody || strings.Count(s, ".") != 2 {
		return nil, false
	}
	head, rest, _ := strings.Cut(s, ".")
	payload, _, _ := strings.Cut(rest, ".")
	if h, ok := jsonPart(head); !ok || len(h) == 0 {
		return nil, false
	}
	return jsonPart(payload)
}

func jsonPart(s string) (claims, bool) {
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, false
	}
	ms, end, st := scanObject(b, skipSpace(b, 0), 1)
	return ms, st == whole && skipSpace(b, end) == len(b)
}

// jwtExpiry returns the exp claim of s if s is a JWT that has one.
func jwtExpiry(s string) (time.Time, bool) {
	c, ok := jwtClaims(s)
	if !ok {
		return time.Time{}, false
	}
	n, _ := pick(c, "exp")
	f, ok := decimal(strings.TrimSpace(n.text()))
	if !ok || f < 0 {
		return time.Time{}, false
	}
	return unixInstant(math.Floor(f), time.Second), true
}
