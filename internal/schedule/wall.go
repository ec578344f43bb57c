package schedule

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
)

// A date is a day of the calendar, which is the same in all zones.
type date struct {
	year    int
	month   time.Month
	day     int
	weekday time.Weekday
}

const daySeconds = 24 * 60 * 60

// A naive time is what a clock on the wall shows, as the number of seconds that
// would have passed since 1970 if no clock were ever changed.
func naive(t time.Time) int64 {
	_, offset := t.Zone()
	return t.Unix() + int64(offset)
}

func dateOf(n int64) date {
	t := time.Unix(n, 0).UTC()
	y, m, d := t.Date()
	return date{y, m, d, t.Weekday()}
}

// number counts days since 1970.
func (d date) number() int64 {
	return time.Date(d.year, d.month, d.day, 0, 0, 0, 0, time.UTC).Unix() / daySeconds
}

// last is the last day of d's month.
func (d date) last() int { return time.Date(d.year, d.month+1, 0, 0, 0, 0, 0, time.UTC).Day() }

// A wall is a set of times of a clock: each of its times on each of its days.
type wall struct {
	seconds, minutes, hours uint64       // bits
	months                  uint64       // bits; days of other months are not asked for
	years                   map[int]bool // nil: all
	day                     func(d date) bool
	every                   bool // of every hour: the second hour of a fold counts, too
}

const (
	allMinutes = 1<<60 - 1
	allHours   = 1<<24 - 1
	allMonths  = 1<<13 - 2
)

// horizon bounds how many years are looked through for a day. 29 February on a
// given weekday comes every 28 years, and every 40 across a century.
const horizon = 45

// after returns the first time of the clock after n.
func (w *wall) after(n int64) (int64, bool) {
	n++
	day := n - mod(n, daySeconds)
	first := dateOf(day)
	for d := first; d.year <= first.year+horizon; {
		if w.years != nil && !w.years[d.year] {
			day = time.Date(d.year+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
			d = dateOf(day)
			continue
		}
		if w.months&(1<<d.month) == 0 {
			day = time.Date(d.year, d.month+1, 1, 0, 0, 0, 0, time.UTC).Unix()
			d = dateOf(day)
			continue
		}
		if w.day == nil || w.day(d) {
			if s, ok := w.time(max(n-day, 0)); ok {
				return day + s, true
			}
		}
		day += daySeconds
		d = dateOf(day)
	}
	return 0, false
}

// time returns the first time of a day from the given second of it on.
func (w *wall) time(from int64) (int64, bool) {
	h, m, s := from/3600, from/60%60, from%60
	for hour := nth(w.hours, h); hour < 24; hour = nth(w.hours, hour+1) {
		if hour > h {
			m, s = 0, 0
		}
		for minute := nth(w.minutes, m); minute < 60; minute = nth(w.minutes, minute+1) {
			if minute > m {
				s = 0
			}
			if second := nth(w.seconds, s); second < 60 {
				return hour*3600 + minute*60 + second, true
			}
		}
	}
	return 0, false
}

// nth returns the first set bit from one on, 64 or more if there is none.
func nth(set uint64, from int64) int64 {
	return from + int64(bits.TrailingZeros64(set>>from))
}

func mod(n, m int64) int64 { return (n%m + m) % m }

// next returns the first instant after the given one, which is in the zone, at
// which the clock of the zone shows one of w's times; the package comment says
// what changes of the clock do.
//
// It goes from one stretch of a constant offset to the next. Within one, clock
// and time run alike; what is particular happens where they meet.
func (w *wall) next(after time.Time, zone *time.Location) (time.Time, bool) {
	lower, t := naive(after), after
	for range 2 * 2 * horizon {
		start, end := t.ZoneBounds()
		_, offset := t.Zone()
		if !end.IsZero() && !end.After(t) {
			// For years that only a rule describes, ZoneBounds ends a year after
			// 365 days, also one that has 366.
			end = t.Add(daySeconds * time.Second)
		}
		if !w.every && !start.IsZero() {
			if _, before := start.Add(-time.Second).Zone(); before > offset {
				// The clock was put back here: what it shows until it has caught
				// up was shown, and fired, before.
				lower = max(lower, start.Unix()+int64(before)-1)
			}
		}
		n, ok := w.after(lower)
		if !ok {
			return time.Time{}, false
		}
		if at := n - int64(offset); end.IsZero() || at < end.Unix() {
			return time.Unix(at, 0).In(zone), true
		}
		_, following := end.Zone()
		if n < end.Unix()+int64(following) && !w.every {
			return end, true // in the gap: the first instant after it
		}
		t, lower = end, end.Unix()+int64(following)-1
		if far := n - 3*daySeconds; far > lower {
			// Nothing lies between: no need to look at each stretch of it.
			t, _ = place(far, zone)
			lower = naive(t)
		}
	}
	return time.Time{}, false
}

// place returns the instant at which a clock in the zone shows a naive time, the
// first if it does so twice; false, and the first instant after it, if it never
// does.
func place(n int64, zone *time.Location) (time.Time, bool) {
	offsetAt := func(sec int64) int64 {
		_, o := time.Unix(sec, 0).In(zone).Zone()
		return int64(o)
	}
	// No zone is further than a day from UTC, and none changes its clock twice
	// within two.
	before, after := offsetAt(n-daySeconds), offsetAt(n+daySeconds)
	if at := n - before; offsetAt(at) == before {
		return time.Unix(at, 0).In(zone), true
	}
	if at := n - after; offsetAt(at) == after {
		return time.Unix(at, 0).In(zone), true
	}
	start, _ := time.Unix(n-before, 0).In(zone).ZoneBounds()
	return start, false
}

// at makes a wall of one time of day.
func at(field, text string) (*wall, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return nil, wrong(field, "%q is not a time of day: write 07:30", text)
	}
	var v [3]int
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || len(p) > 2 || len(p) < 1 || n < 0 || i == 0 && n > 23 || n > 59 || i > 0 && len(p) != 2 {
			return nil, wrong(field, "%q is not a time of day: write 07:30", text)
		}
		v[i] = n
	}
	return &wall{seconds: 1 << v[2], minutes: 1 << v[1], hours: 1 << v[0], months: allMonths}, nil
}

func hourly(h *freshet.Hourly) (*wall, error) {
	if h.Minute < 0 || h.Minute > 59 {
		return nil, wrong("hourly.minute", "%d is not a minute: 0 to 59", h.Minute)
	}
	w := &wall{seconds: 1, minutes: 1 << h.Minute, hours: allHours, months: allMonths, every: true}
	switch {
	case h.Every < 0 || h.Every > 23:
		return nil, wrong("hourly.every", "%d is not a number of hours within a day: 1 to 23", h.Every)
	case h.Every > 1:
		w.hours, w.every = 0, false
		for i := 0; i < 24; i += h.Every {
			w.hours |= 1 << i
		}
	}
	return w, nil
}

func daily(v *freshet.Daily, from date) (*wall, error) {
	w, err := at("daily.at", v.At)
	if err != nil {
		return nil, err
	}
	switch {
	case v.Every < 0 || v.Every > 3660:
		return nil, wrong("daily.every", "%d is not a number of days", v.Every)
	case v.Weekdays && v.Every > 1:
		return nil, wrong("daily.every", "is given beside weekdays: leave one of them out")
	case v.Weekdays:
		w.day = func(d date) bool { return d.weekday != time.Saturday && d.weekday != time.Sunday }
	case v.Every > 1:
		w.day = func(d date) bool { return mod(d.number()-from.number(), int64(v.Every)) == 0 }
	}
	return w, nil
}

func weekdayOf(field string, name freshet.Weekday) (time.Weekday, error) {
	i := slices.Index(freshet.Weekdays, name)
	if i < 0 {
		return 0, wrong(field, "%q is not a weekday: use mon, tue, wed, thu, fri, sat or sun", string(name))
	}
	return time.Weekday(i), nil
}

func weekly(v *freshet.Weekly, from date) (*wall, error) {
	w, err := at("weekly.at", v.At)
	if err != nil {
		return nil, err
	}
	if len(v.On) == 0 {
		return nil, wrong("weekly.on", "needs a day, such as [mon, thu]")
	}
	if v.Every < 0 || v.Every > 520 {
		return nil, wrong("weekly.every", "%d is not a number of weeks", v.Every)
	}
	var days [7]bool
	for i, name := range v.On {
		d, err := weekdayOf("weekly.on["+strconv.Itoa(i)+"]", name)
		if err != nil {
			return nil, err
		}
		days[d] = true
	}
	week := func(d date) int64 { return d.number() - (int64(d.weekday)+6)%7 } // its Monday
	first := week(from)
	w.day = func(d date) bool {
		return days[d.weekday] && (v.Every < 2 || mod(week(d)-first, 7*int64(v.Every)) == 0)
	}
	return w, nil
}

func monthly(v *freshet.Monthly, from date) (*wall, error) {
	w, err := at("monthly.at", v.At)
	if err != nil {
		return nil, err
	}
	if v.Every < 0 || v.Every > 120 {
		return nil, wrong("monthly.every", "%d is not a number of months", v.Every)
	}
	var match func(d date) bool
	switch {
	case v.Day != 0 && (v.Nth != 0 || v.On != ""):
		return nil, wrong("monthly.day", "is given beside nth and on: leave one of them out")
	case v.Day == -1:
		match = func(d date) bool { return d.day == d.last() }
	case v.Day != 0:
		if v.Day < 0 || v.Day > 31 {
			return nil, wrong("monthly.day", "%d is not a day of a month: 1 to 31, or -1 for the last", v.Day)
		}
		match = func(d date) bool { return d.day == v.Day }
	case v.On == "":
		return nil, wrong("monthly", "needs day (1 to 31), or nth and on (the second Tuesday: nth 2, on tue)")
	default:
		day, err := weekdayOf("monthly.on", v.On)
		if err != nil {
			return nil, err
		}
		if v.Nth == 0 || v.Nth < -1 || v.Nth > 5 {
			return nil, wrong("monthly.nth", "%d is not 1 to 5, or -1 for the last", v.Nth)
		}
		match = func(d date) bool { return d.weekday == day && occurs(d, v.Nth) }
	}
	first := int64(from.year)*12 + int64(from.month)
	w.day = func(d date) bool {
		return match(d) && (v.Every < 2 || mod(int64(d.year)*12+int64(d.month)-first, int64(v.Every)) == 0)
	}
	return w, nil
}

// occurs reports whether d is the nth of its weekday in its month; -1 is the
// last.
func occurs(d date, nth int) bool {
	if nth == -1 {
		return d.day+7 > d.last()
	}
	return (d.day-1)/7+1 == nth
}
