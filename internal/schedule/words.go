package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
)

// Words says in words when p fires: every 55 minutes.
func (p *Plan) Words() string { return p.words }

func describe(s *freshet.Schedule, p *Plan) string {
	w := when(s, p)
	if p.wall != nil && p.zone != time.UTC {
		w += " " + p.zone.String()
	}
	if s.Start != "" {
		w += ", from " + stamp(p.from, p.zone)
	}
	if !p.until.IsZero() {
		w += ", until " + stamp(p.until, p.zone)
	}
	if p.after == 1 {
		w += ", once"
	} else if p.after > 1 {
		w += fmt.Sprintf(", %d times", p.after)
	}
	return w
}

func stamp(t time.Time, zone *time.Location) string {
	layout := "2006-01-02 15:04"
	if t.Second() != 0 {
		layout = time.DateTime
	}
	return t.In(zone).Format(layout + " MST")
}

func when(s *freshet.Schedule, p *Plan) string {
	switch {
	case s.OnDemand:
		return "on demand"
	case p.every > 0:
		return "every " + interval(p.every)
	case !p.once.IsZero():
		return "once at " + stamp(p.once, p.zone)
	case s.Hourly != nil:
		return fmt.Sprintf("every %s at minute %d", many(s.Hourly.Every, "hour"), s.Hourly.Minute)
	case s.Daily != nil && s.Daily.Weekdays:
		return "Monday to Friday at " + s.Daily.At
	case s.Daily != nil:
		return fmt.Sprintf("every %s at %s", many(s.Daily.Every, "day"), s.Daily.At)
	case s.Weekly != nil:
		names := make([]string, len(s.Weekly.On))
		for i, d := range s.Weekly.On {
			names[i] = dayName(d)
		}
		w := strings.Join(names, ", ")
		if i := strings.LastIndex(w, ", "); i >= 0 {
			w = w[:i] + " and " + w[i+2:]
		}
		if s.Weekly.Every > 1 {
			w += " of every " + many(s.Weekly.Every, "week")
		} else {
			w = "every " + w
		}
		return w + " at " + s.Weekly.At
	case s.Monthly != nil:
		m, day := s.Monthly, ""
		switch {
		case m.Day == -1:
			day = "on the last day"
		case m.Day > 0:
			day = fmt.Sprintf("on day %d", m.Day)
		default:
			day = fmt.Sprintf("on the %s %s", ordinal(m.Nth), dayName(m.On))
		}
		return fmt.Sprintf("%s of every %s at %s", day, many(m.Every, "month"), m.At)
	}
	return "cron " + s.Cron
}

func dayName(d freshet.Weekday) string {
	for i, w := range freshet.Weekdays {
		if w == d {
			return time.Weekday(i).String()
		}
	}
	return string(d)
}

func ordinal(n int) string {
	if n == -1 {
		return "last"
	}
	return []string{"", "first", "second", "third", "fourth", "fifth"}[n]
}

// many is "hour", or "3 hours".
func many(n int, what string) string {
	if n < 2 {
		return what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// interval is a length of time in words: 55 minutes, 1 hour 30 minutes.
func interval(d time.Duration) string {
	var parts []string
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		n := d / u.unit
		if n == 0 {
			continue
		}
		d -= n * u.unit
		name := u.name
		if n > 1 {
			name += "s"
		}
		parts = append(parts, strconv.FormatInt(int64(n), 10)+" "+name)
	}
	if len(parts) == 1 && strings.HasPrefix(parts[0], "1 ") {
		return parts[0][2:] // every hour
	}
	return strings.Join(parts, " ")
}
