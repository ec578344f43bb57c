package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netresearch/go-cron"
)

// maxCron bounds the length of an expression.
const maxCron = 512

// nicknames are the words that crontab has for common expressions.
var nicknames = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// clockFields reads what both dialects write alike. Of the library it is the
// parser alone that is used: it steps through changes of the clock in its own
// way, and has no answer for numbers that Quartz counts from one.
var clockFields = cron.MustNewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.DomL | cron.DomW)

// parseCron reads a crontab expression (5 fields) or a Quartz one (6, or 7 with
// the year). What neither means is refused rather than guessed.
func parseCron(text string) (*wall, error) {
	if len(text) > maxCron {
		return nil, fmt.Errorf("is longer than %d bytes", maxCron)
	}
	expr := strings.ToUpper(strings.TrimSpace(text))
	switch {
	case strings.HasPrefix(expr, "TZ=") || strings.HasPrefix(expr, "CRON_TZ="):
		return nil, fmt.Errorf("names a zone: give it as zone")
	case strings.HasPrefix(expr, "@EVERY"):
		return nil, fmt.Errorf("is an interval: give it as every")
	case strings.HasPrefix(expr, "@"):
		known, ok := nicknames[strings.ToLower(expr)]
		if !ok {
			return nil, fmt.Errorf("%q is not known: use @hourly, @daily, @weekly, @monthly or @yearly", text)
		}
		expr = known
	}
	fields := strings.Fields(expr)
	if n := len(fields); n < 5 || n > 7 {
		return nil, fmt.Errorf("has %d fields: 5 are minute, hour, day, month, weekday; Quartz has seconds before them and may have the year after them", n)
	}
	quartz := len(fields) > 5
	if !quartz {
		fields = slices.Insert(fields, 0, "0")
	}
	for i, f := range fields {
		if strings.HasPrefix(f, ",") || strings.HasSuffix(f, ",") || strings.Contains(f, ",,") {
			return nil, fmt.Errorf("%s %q has an empty element", cronFields[i], f)
		}
		for _, c := range f {
			if !strings.ContainsRune("0123456789*?,-/#ABCDEFGHIJKLMNOPQRSTUVWXYZ", c) {
				return nil, fmt.Errorf("%s %q has %q, which means nothing there", cronFields[i], f, c)
			}
		}
	}
	return cronWall(fields, quartz)
}

var cronFields = []string{"seconds", "minutes", "hours", "day of the month", "month", "weekday", "year"}

func cronWall(fields []string, quartz bool) (*wall, error) {
	for i, f := range fields {
		if strings.Contains(f, "?") && (f != "?" || i != 3 && i != 5) {
			return nil, fmt.Errorf("%s %q: ? stands alone, for a day that the other field of days says", cronFields[i], f)
		}
	}
	for i, highest := range []int{59, 59, 23, 31, 12} {
		fields[i] = steps(fields[i], highest)
	}
	dom, dow := fields[3], fields[5]
	if dom == "?" && dow == "?" {
		return nil, fmt.Errorf("has ? for both the day of the month and the weekday: write * for one of them")
	}
	parsed, err := clockFields.Parse(strings.Join([]string{fields[0], fields[1], fields[2], strings.Replace(dom, "?", "*", 1), fields[4], "*"}, " "))
	if err != nil {
		return nil, fmt.Errorf("%q does not read: %w", strings.Join(fields, " "), err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("%q is not a cron expression", strings.Join(fields, " "))
	}
	w := &wall{seconds: spec.Second & (1<<60 - 1), minutes: spec.Minute & (1<<60 - 1), hours: spec.Hour & allHours, months: spec.Month & allMonths}
	// * and */1 name no hour; 0-23 spells all of them and means the same.
	w.every = w.hours == allHours
	week, err := weekdays(dow, quartz)
	if err != nil {
		return nil, err
	}
	if len(fields) == 7 {
		if w.years, err = years(fields[6]); err != nil {
			return nil, err
		}
	}
	// A field that begins with * does not choose. Where both choose, crontab
	// means either and Quartz knows no such expression.
	free := func(f string) bool { return strings.HasPrefix(f, "*") || f == "?" }
	either := !free(dom) && !free(dow)
	if either && quartz {
		return nil, fmt.Errorf("chooses the day of the month %q and the weekday %q: with seconds first, one of them must be ?", dom, dow)
	}
	w.day = func(d date) bool {
		byMonth, byWeek := spec.Dom&(1<<d.day) != 0 || slices.ContainsFunc(spec.DomConstraints, func(c cron.DomConstraint) bool { return d.meets(c) }), week(d)
		if either {
			return byMonth || byWeek
		}
		return byMonth && byWeek
	}
	return w, nil
}

// steps takes away steps that lead out of the field at once: 30/40 is 30. The
// library refuses them, Quartz does not.
func steps(field string, highest int) string {
	list := strings.Split(field, ",")
	for i, e := range list {
		start, step, ok := strings.Cut(e, "/")
		a, err1 := strconv.Atoi(start)
		b, err2 := strconv.Atoi(step)
		if ok && err1 == nil && err2 == nil && b > 0 && b <= 1000 && a <= highest && a+b > highest {
			list[i] = start
		}
	}
	return strings.Join(list, ",")
}

// meets reports whether d is the day of a month that a constraint describes.
func (d date) meets(c cron.DomConstraint) bool {
	last := d.last()
	switch c.Type {
	case cron.DomLast:
		return d.day == last
	case cron.DomLastOffset:
		return d.day == last-c.N
	case cron.DomLastWeekday:
		return d.day == nearest(d, last)
	case cron.DomNearestWeekday:
		return c.N <= last && d.day == nearest(d, c.N)
	}
	return false
}

// nearest returns the working day that is nearest to a day of d's month and in
// the same month.
func nearest(d date, day int) int {
	wd := time.Weekday(mod(int64(d.weekday)+int64(day-d.day), 7))
	switch {
	case wd == time.Saturday && day > 1:
		return day - 1
	case wd == time.Saturday:
		return day + 2
	case wd == time.Sunday && day < d.last():
		return day + 1
	case wd == time.Sunday:
		return day - 2
	}
	return day
}

var dayNames = map[string]int{"SUN": 0, "MON": 1, "TUE": 2, "WED": 3, "THU": 4, "FRI": 5, "SAT": 6}

// weekdays reads the field of weekdays. Crontab counts from 0, Sunday, to 7,
// Sunday again; Quartz from 1, Sunday, to 7, Saturday. Both have names, 5#3 for
// the third and 5L for the last of a month.
func weekdays(field string, quartz bool) (func(date) bool, error) {
	var days [7]bool
	type nthDay struct{ weekday, nth int }
	var nths []nthDay
	one := func(text string) (int, error) {
		if n, ok := dayNames[text]; ok {
			return n, nil
		}
		n, err := strconv.Atoi(text)
		switch {
		case err != nil || n < 0 || n > 7 || quartz && n == 0:
			if quartz {
				return 0, fmt.Errorf("%q is not a weekday: 1 (Sunday) to 7 (Saturday), or SUN to SAT", text)
			}
			return 0, fmt.Errorf("%q is not a weekday: 0 (Sunday) to 6 (Saturday), 7 is Sunday, or SUN to SAT", text)
		case quartz:
			return n - 1, nil
		}
		return n % 7, nil
	}
	for _, e := range strings.Split(field, ",") {
		if day, n, ok := strings.Cut(e, "#"); ok {
			d, err := one(day)
			if err != nil {
				return nil, err
			}
			k, err := strconv.Atoi(n)
			if n == "L" {
				k, err = -1, nil
			}
			if err != nil || k == 0 || k < -1 || k > 5 {
				return nil, fmt.Errorf("weekday %q: after # comes 1 to 5", e)
			}
			nths = append(nths, nthDay{d, k})
			continue
		}
		if day, ok := strings.CutSuffix(e, "L"); ok && day != "" {
			d, err := one(day)
			if err != nil {
				return nil, err
			}
			nths = append(nths, nthDay{d, -1})
			continue
		}
		if e == "L" { // Quartz: the last day of the week
			days[time.Saturday] = true
			continue
		}
		if err := span(e, one, &days); err != nil {
			return nil, err
		}
	}
	return func(d date) bool {
		return days[d.weekday] || slices.ContainsFunc(nths, func(n nthDay) bool { return n.weekday == int(d.weekday) && occurs(d, n.nth) })
	}, nil
}

// span reads *, a day, a range and their steps. A range may run over the end of
// the week, as FRI-MON does.
func span(e string, one func(string) (int, error), days *[7]bool) error {
	base, stepText, stepped := strings.Cut(e, "/")
	step := 1
	if stepped {
		var err error
		if step, err = strconv.Atoi(stepText); err != nil || step < 1 || step > 7 {
			return fmt.Errorf("weekday %q: a step is 1 to 7", e)
		}
	}
	from, to := 0, 6
	if base != "*" && base != "?" {
		first, second, ranged := strings.Cut(base, "-")
		var err error
		if from, err = one(first); err != nil {
			return err
		}
		switch {
		case ranged:
			if to, err = one(second); err != nil {
				return err
			}
			// 0-7, 1-7 and SUN-SUN are whole weeks.
			if to < from || to == from && second != first {
				to += 7
			}
		case !stepped:
			to = from
		}
	}
	for d := from; d <= to; d += step {
		days[d%7] = true
	}
	return nil
}

// years of a Quartz expression. The library would hold every one of a range.
func years(field string) (map[int]bool, error) {
	if field == "*" {
		return nil, nil
	}
	const first, last = 1970, 2199
	out := map[int]bool{}
	for _, e := range strings.Split(field, ",") {
		base, stepText, stepped := strings.Cut(e, "/")
		from, to, step := first, last, 1
		var err error
		if base != "*" {
			a, b, ranged := strings.Cut(base, "-")
			if from, err = strconv.Atoi(a); err == nil && ranged {
				to, err = strconv.Atoi(b)
			} else if !stepped {
				to = from
			}
		}
		if err == nil && stepped {
			step, err = strconv.Atoi(stepText)
		}
		if err != nil || from < first || to > last || from > to || step < 1 || step > last {
			return nil, fmt.Errorf("year %q is not a year, range or step within %d to %d", e, first, last)
		}
		for y := from; y <= to; y += step {
			out[y] = true
		}
	}
	return out, nil
}
