package expr

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// instantLayouts are the texts that the date filters read, in UTC where they
// name no zone.
var instantLayouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02", time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC, "January 2, 2006", "Jan 2, 2006",
	"2 January 2006", "2 Jan 2006", "01/02/2006", "01/02/2006 15:04:05",
}

// toInstant reads an instant: one, a text, "now" and "today", or seconds.
func toInstant(r *rendering, v any) (time.Time, bool) {
	switch v := v.(type) {
	case time.Time:
		return v, true
	case int, int64, float64:
		return time.UnixMilli(int64(number(v) * 1000)).UTC(), true
	}
	s := strings.TrimSpace(printLiquid(v))
	switch strings.ToLower(s) {
	case "now":
		return r.evaluator.options.Now().UTC(), true
	case "today":
		return r.evaluator.options.Now().UTC().Truncate(24 * time.Hour), true
	}
	for _, layout := range instantLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// date formats an instant with the letters of strftime; what is none is handed
// on.
func date(r *rendering, v any, arg func(int) any) (any, error) {
	t, ok := toInstant(r, v)
	if !ok {
		return v, nil
	}
	format := printLiquid(arg(0))
	if format == "" {
		return t, nil
	}
	return strftime(t, format), nil
}

// formatDate formats an instant with the platform's own patterns.
func formatDate(r *rendering, v any, arg func(int) any) (any, error) {
	t, ok := toInstant(r, v)
	if !ok {
		return v, nil
	}
	return formatTime(t, printLiquid(arg(0))), nil
}

// timeZone moves an instant into a zone, "local" being UTC.
func timeZone(r *rendering, v any, arg func(int) any) (any, error) {
	t, ok := toInstant(r, v)
	if !ok {
		return v, nil
	}
	name := printLiquid(arg(0))
	if name == "" || strings.EqualFold(name, "local") {
		return t.UTC(), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("there is no time zone %q here; name one like Europe/Berlin", name)
	}
	return t.In(zone), nil
}

var strftimeLayouts = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'B': "January", 'b': "Jan", 'h': "Jan", 'd': "02", 'e': "_2", 'j': "002", 'H': "15", 'I': "03", 'l': "3",
	'M': "04", 'S': "05", 'L': "000", 'N': "000000000", 'p': "PM", 'P': "pm", 'A': "Monday", 'a': "Mon", 'z': "-0700", 'Z': "MST", 'F': "2006-01-02",
	'T': "15:04:05", 'X': "15:04:05", 'D': "01/02/06", 'x': "01/02/2006", 'R': "15:04", 'r': "03:04:05 PM", 'c': "Mon Jan _2 15:04:05 2006", 'v': "_2-Jan-2006",
}

// strftime formats with %-letters; "-" before a letter takes the padding away.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 >= len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		bare, upper := false, false
		for i+1 < len(format) && strings.IndexByte("-^0_#", format[i]) >= 0 {
			bare, upper = bare || format[i] == '-', upper || format[i] == '^'
			i++
		}
		var s string
		switch c := format[i]; c {
		case '%':
			s = "%"
		case 'n':
			s = "\n"
		case 't':
			s = "\t"
		case 's':
			s = strconv.FormatInt(t.Unix(), 10)
		case 'u':
			s = strconv.Itoa((int(t.Weekday())+6)%7 + 1)
		case 'w':
			s = strconv.Itoa(int(t.Weekday()))
		case 'k':
			s = fmt.Sprintf("%2d", t.Hour())
		case 'C':
			s = fmt.Sprintf("%02d", t.Year()/100)
		case 'V', 'G':
			year, week := t.ISOWeek()
			if s = fmt.Sprintf("%02d", week); c == 'G' {
				s = strconv.Itoa(year)
			}
		case 'L', 'N':
			s = t.Format("." + strftimeLayouts[c])[1:]
		default:
			layout, ok := strftimeLayouts[c]
			if !ok {
				s = "%" + string(c)
				break
			}
			s = t.Format(layout)
		}
		if bare {
			if s = strings.TrimLeft(s, "0 "); s == "" {
				s = "0"
			}
		}
		if upper {
			s = strings.ToUpper(s)
		}
		b.WriteString(s)
	}
	return b.String()
}

// standard are the platform's one-letter patterns, in an invariant culture.
var standard = map[string]string{
	"": "uuuu-MM-dd'T'HH:mm:ss'Z'", "g": "yyyy-MM-dd'T'HH:mm:ss'Z'", "d": "MM/dd/yyyy", "D": "dddd, dd MMMM yyyy", "t": "HH:mm", "T": "HH:mm:ss",
	"f": "dddd, dd MMMM yyyy HH:mm", "F": "dddd, dd MMMM yyyy HH:mm:ss", "G": "MM/dd/yyyy HH:mm:ss", "s": "yyyy-MM-dd'T'HH:mm:ss",
	"u": "yyyy-MM-dd HH:mm:ss'Z'", "o": "yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", "O": "yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'",
	"r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "M": "MMMM dd", "m": "MMMM dd", "y": "yyyy MMMM", "Y": "yyyy MMMM",
}

var patternLayouts = []struct{ pattern, layout string }{
	{"yyyy", "2006"}, {"uuuu", "2006"}, {"yy", "06"}, {"MMMM", "January"}, {"MMM", "Jan"}, {"MM", "01"}, {"M", "1"},
	{"dddd", "Monday"}, {"ddd", "Mon"}, {"dd", "02"}, {"d", "2"}, {"HH", "15"}, {"hh", "03"}, {"h", "3"},
	{"mm", "04"}, {"m", "4"}, {"ss", "05"}, {"s", "5"}, {"tt", "PM"}, {"zzz", "-07:00"}, {"K", "Z07:00"},
}

// formatTime formats with the platform's patterns: yyyy-MM-dd HH:mm:ss.fff,
// 'text', \x, and the one-letter ones.
func formatTime(t time.Time, format string) string {
	if p, ok := standard[format]; ok {
		format = p
		t = t.UTC()
	}
	var b strings.Builder
	for i := 0; i < len(format); {
		rest := format[i:]
		switch c := rest[0]; {
		case c == '\'' || c == '"':
			end := strings.IndexByte(rest[1:], c)
			if end < 0 {
				end = len(rest) - 1
			}
			b.WriteString(rest[1:min(1+end, len(rest))])
			i += min(end+2, len(rest))
			continue
		case c == '\\' && len(rest) > 1:
			b.WriteByte(rest[1])
			i += 2
			continue
		case c == '%':
			i++
			continue
		case c == 'f' || c == 'F':
			n := 0
			for n < len(rest) && rest[n] == c {
				n++
			}
			digits := t.Format(".000000000")[1:]
			if digits = digits[:min(n, 9)]; c == 'F' {
				digits = strings.TrimRight(digits, "0")
			}
			b.WriteString(digits)
			i += n
			continue
		case strings.HasPrefix(rest, "H") && !strings.HasPrefix(rest, "HH"):
			b.WriteString(strconv.Itoa(t.Hour()))
			i++
			continue
		}
		found := false
		for _, p := range patternLayouts {
			if strings.HasPrefix(rest, p.pattern) {
				b.WriteString(t.Format(p.layout))
				i += len(p.pattern)
				found = true
				break
			}
		}
		if !found {
			b.WriteByte(rest[0])
			i++
		}
	}
	return b.String()
}
