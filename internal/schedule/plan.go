package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on what a machine has installed

	"github.com/freshet-dev/freshet"
)

// A FieldError is what is wrong with one field of a schedule.
type FieldError struct {
	Field  string // as files write it: monthly.day
	Detail string
}

// Error names the field.
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

func wrong(field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...)}
}

// A Plan is a schedule that was understood: when it fires. It is immutable.
type Plan struct {
	every  time.Duration // an interval, or:
	once   time.Time     // one instant, or:
	wall   *wall         // times of the clock; all zero: on demand
	from   time.Time     // nothing before; where intervals count from
	until  time.Time     // nothing after; zero: no end
	after  int64         // so many firings; 0: no end
	zone   *time.Location
	words  string
	demand bool
}

// minEvery is the shortest interval. Below it a schedule is a loop.
const minEvery = time.Second

// Compile reads the fields of s that say when. anchor is when s was declared:
// intervals count from it unless s says where they start. It does not look at
// the target. An error is a *FieldError.
func Compile(s *freshet.Schedule, anchor time.Time) (*Plan, error) {
	p := &Plan{from: anchor.UTC().Truncate(time.Second)}
	var err error
	if p.zone, err = Zone(s.Zone); err != nil {
		return nil, wrong("zone", "%v", err)
	}
	if s.Start != "" {
		if p.from, err = p.instant(s.Start, false); err != nil {
			return nil, wrong("start", "%v", err)
		}
	}
	if e := s.Expire; e != nil {
		if e.By != "" {
			if p.until, err = p.instant(e.By, true); err != nil {
				return nil, wrong("expire.by", "%v", err)
			}
		}
		if e.After < 0 {
			return nil, wrong("expire.after", "is a number of firings, such as 10")
		}
		if e.By == "" && e.After == 0 {
			return nil, wrong("expire", "needs by (a date) or after (a number of firings)")
		}
		p.after = int64(e.After)
	}
	kinds := given(s)
	switch len(kinds) {
	case 0:
		return nil, wrong("", "says not when: give one of %s", strings.Join(Kinds, ", "))
	case 1:
	default:
		return nil, wrong(kinds[1], "is given beside %s: a schedule has one of them", kinds[0])
	}
	if err := p.compile(s, kinds[0]); err != nil {
		return nil, err
	}
	p.words = describe(s, p)
	return p, nil
}

// Kinds lists the fields that say when.
var Kinds = []string{"every", "hourly", "daily", "weekly", "monthly", "cron", "at", "in", "on_demand"}

func given(s *freshet.Schedule) []string {
	has := map[string]bool{"every": s.Every != 0, "hourly": s.Hourly != nil, "daily": s.Daily != nil, "weekly": s.Weekly != nil, "monthly": s.Monthly != nil,
		"cron": s.Cron != "", "at": s.At != "", "in": s.In != 0, "on_demand": s.OnDemand}
	return slices.DeleteFunc(slices.Clone(Kinds), func(k string) bool { return !has[k] })
}

func (p *Plan) compile(s *freshet.Schedule, kind string) (err error) {
	switch kind {
	case "every":
		if p.every = s.Every.D(); p.every < minEvery {
			return wrong("every", "%s is shorter than a second", s.Every)
		}
		p.every = p.every.Truncate(time.Second)
	case "at":
		if p.once, err = p.instant(s.At, false); err != nil {
			return wrong("at", "%v", err)
		}
	case "in":
		if s.In < 0 {
			return wrong("in", "is a time from now, such as 30m")
		}
		p.once = p.from.Add(s.In.D()).Truncate(time.Second)
	case "on_demand":
		p.demand = true
	case "hourly":
		p.wall, err = hourly(s.Hourly)
	case "daily":
		p.wall, err = daily(s.Daily, p.day())
	case "weekly":
		p.wall, err = weekly(s.Weekly, p.day())
	case "monthly":
		p.wall, err = monthly(s.Monthly, p.day())
	case "cron":
		if p.wall, err = parseCron(s.Cron); err != nil {
			return wrong("cron", "%v", err)
		}
	}
	if err != nil {
		return err
	}
	if p.wall != nil {
		if _, ok := p.Next(p.from); !ok && p.until.IsZero() {
			return wrong(kind, "never comes: there is no such day")
		}
	}
	return nil
}

// day is the date on which counting by days, weeks and months begins.
func (p *Plan) day() date { return dateOf(naive(p.from.In(p.zone))) }

// OnDemand reports whether p fires by request alone.
func (p *Plan) OnDemand() bool { return p.demand }

// Until returns the last instant at which p may fire, zero if there is none.
func (p *Plan) Until() time.Time { return p.until }

// Zone returns the zone whose clock p goes by.
func (p *Plan) Zone() *time.Location { return p.zone }

// Next returns the first instant after the given one at which p fires; false
// says that there is none. It does not know how often p has fired: see Over.
func (p *Plan) Next(after time.Time) (time.Time, bool) {
	var t time.Time
	switch {
	case p.demand:
		return time.Time{}, false
	case !p.once.IsZero():
		t = p.once
		if !t.After(after) {
			return time.Time{}, false
		}
	case p.every > 0:
		t = p.nextEvery(after)
	default:
		// What falls on the start itself is fired.
		if first := p.from.Add(-time.Second); after.Before(first) {
			after = first
		}
		var ok bool
		if t, ok = p.wall.next(after.In(p.zone), p.zone); !ok {
			return time.Time{}, false
		}
	}
	if !p.until.IsZero() && t.After(p.until) {
		return time.Time{}, false
	}
	return t.UTC(), true
}

// nextEvery counts whole intervals from the start, the first of which ends one
// interval after it. Seconds are counted as numbers: a time.Duration ends after
// 292 years, and what a row says may be anything.
func (p *Plan) nextEvery(after time.Time) time.Time {
	step := int64(p.every / time.Second)
	n := int64(1)
	if d := after.Unix() - p.from.Unix(); d >= 0 {
		n = d/step + 1
	}
	return time.Unix(p.from.Unix()+n*step, 0)
}

// Over reports whether a schedule that has fired so often has ended by count.
func (p *Plan) Over(fired int64) bool { return p.after > 0 && fired >= p.after }

// Preview returns the next instants after the given one, at most n, of a
// schedule that has fired so often.
func (p *Plan) Preview(after time.Time, fired int64, n int) []time.Time {
	var out []time.Time
	for len(out) < n && !p.Over(fired+int64(len(out))) {
		t, ok := p.Next(after)
		if !ok {
			break
		}
		out = append(out, t)
		after = t
	}
	return out
}

// Latest returns the last instant of p that is not after now and not before
// first, which is one of p's, and how many there are of them in all, up to most.
// Beyond that many it does not count, and Latest is exact all the same only for
// intervals; what names times of the clock is then looked for from shortly
// before now.
func (p *Plan) Latest(first, now time.Time, most int) (last time.Time, n int) {
	last, n = first, 1
	if p.every > 0 {
		end := now
		if !p.until.IsZero() && p.until.Before(end) {
			end = p.until
		}
		step := int64(p.every / time.Second)
		if d := end.Unix() - first.Unix(); d > 0 {
			k := d / step
			return time.Unix(first.Unix()+k*step, 0).UTC(), int(min(k+1, int64(most)))
		}
		return last, n
	}
	for n < most {
		t, ok := p.Next(last)
		if !ok || t.After(now) {
			return last, n
		}
		last, n = t, n+1
	}
	for _, back := range []time.Duration{time.Hour, 24 * time.Hour, 32 * 24 * time.Hour} {
		t, ok := p.Next(now.Add(-back))
		if !ok || t.After(now) || !t.After(last) {
			continue
		}
		for ok && !t.After(now) {
			last = t
			t, ok = p.Next(t)
		}
		return last, n
	}
	return last, n
}

// gapsLooked is how many firings Longest looks at: what repeats repeats within
// them, but for weekdays of a month and changes of the clock.
const gapsLooked = 100

// Longest returns the longest time between two firings that follow each other
// from the given instant on, as far as it looks; 0 if there are not two.
func (p *Plan) Longest(from time.Time) time.Duration {
	if p.every > 0 {
		return p.every
	}
	var longest time.Duration
	last, ok := p.Next(from)
	for range gapsLooked {
		if !ok {
			break
		}
		var t time.Time
		if t, ok = p.Next(last); ok {
			longest = max(longest, t.Sub(last))
			last = t
		}
	}
	return longest
}

// Lapses says in words that a token dies between two firings of a schedule that
// refreshes it: the schedule is longer than the lifetime less the margin within
// which tokens count as spent. "" if it does not, or nobody knows the lifetime.
func (p *Plan) Lapses(from time.Time, lifetime, margin time.Duration) string {
	longest := p.Longest(from)
	if lifetime <= 0 || longest <= 0 || longest <= lifetime-margin {
		return ""
	}
	return fmt.Sprintf("up to %s pass between two firings, and the token counts as spent after %s (lifetime %s): it will lapse in between",
		freshet.Duration(longest), freshet.Duration((lifetime - margin).Truncate(time.Second)), freshet.Duration(lifetime))
}

// Zone returns the zone of a name, UTC for none. It takes names of the time
// zone database alone: what "Local" is depends on the machine.
func Zone(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "utc") || name == "Z" {
		return time.UTC, nil
	}
	if name == "Local" || len(name) > 64 {
		return nil, errors.New("is not the name of a zone, such as Europe/Dublin")
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not the name of a zone, such as Europe/Dublin", name)
	}
	return loc, nil
}

// forms are how an instant may be written, those with an offset first.
var forms = []struct {
	layout string
	zoned  bool
	day    bool
}{
	{time.RFC3339, true, false}, {"2006-01-02T15:04Z07:00", true, false}, {"2006-01-02 15:04:05Z07:00", true, false},
	{"2006-01-02T15:04:05", false, false}, {"2006-01-02T15:04", false, false},
	{"2006-01-02 15:04:05", false, false}, {"2006-01-02 15:04", false, false}, {time.DateOnly, false, true},
}

// instant reads an instant in p's zone. A date alone is its first instant, or
// with end its last second.
func (p *Plan) instant(text string, end bool) (time.Time, error) {
	for _, f := range forms {
		t, err := time.Parse(f.layout, text)
		if err != nil {
			continue
		}
		if t.Year() < 1970 || t.Year() > 9999 {
			break
		}
		if f.zoned {
			return t.UTC().Truncate(time.Second), nil
		}
		if f.day && end {
			next, _ := place(t.AddDate(0, 0, 1).Unix(), p.zone)
			return next.Add(-time.Second).UTC(), nil
		}
		at, _ := place(t.Unix(), p.zone)
		return at.UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a date or time: write 2027-01-31 or 2027-01-31T18:00", text)
}
