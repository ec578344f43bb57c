package odata

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A function is total: its arguments are there and of its kinds.
type function struct {
	args    []Kind
	least   int // arguments that are needed
	result  Kind
	example string
	do      func(a []any) any
}

func (f *function) takes() string {
	s := fmt.Sprintf("%d values", len(f.args))
	switch {
	case len(f.args) == 1:
		s = "one value"
	case f.least < len(f.args):
		s = fmt.Sprintf("%d or %d values", f.least, len(f.args))
	}
	return s
}

var functions = map[string]*function{
	"contains":   predicate("contains(Column,'text')", strings.Contains),
	"startswith": predicate("startswith(Column,'text')", strings.HasPrefix),
	"endswith":   predicate("endswith(Column,'text')", strings.HasSuffix),
	"length": {[]Kind{Text}, 1, Num, "length(Column)", func(a []any) any {
		return Number{Unscaled: int64(utf8.RuneCountInString(a[0].(string)))}
	}},
	"indexof": {[]Kind{Text, Text}, 2, Num, "indexof(Column,'text')", func(a []any) any {
		i := strings.Index(a[0].(string), a[1].(string))
		if i > 0 {
			i = utf8.RuneCountInString(a[0].(string)[:i])
		}
		return Number{Unscaled: int64(i)}
	}},
	"substring": {[]Kind{Text, Num, Num}, 2, Text, "substring(Column,0,5)", func(a []any) any {
		r := []rune(a[0].(string))
		from := a[1].(Number).within(len(r))
		to := len(r)
		if len(a) > 2 {
			to = from + a[2].(Number).within(len(r)-from)
		}
		return string(r[from:to])
	}},
	"tolower": {[]Kind{Text}, 1, Text, "tolower(Column)", func(a []any) any { return strings.ToLower(a[0].(string)) }},
	"toupper": {[]Kind{Text}, 1, Text, "toupper(Column)", func(a []any) any { return strings.ToUpper(a[0].(string)) }},
	"trim":    {[]Kind{Text}, 1, Text, "trim(Column)", func(a []any) any { return strings.TrimSpace(a[0].(string)) }},
	"concat":  {[]Kind{Text, Text}, 2, Text, "concat(First,Last)", func(a []any) any { return a[0].(string) + a[1].(string) }},
	"year":    part("year", func(t time.Time) int { return t.Year() }),
	"month":   part("month", func(t time.Time) int { return int(t.Month()) }),
	"day":     part("day", func(t time.Time) int { return t.Day() }),
	"hour":    part("hour", func(t time.Time) int { return t.Hour() }),
	"minute":  part("minute", func(t time.Time) int { return t.Minute() }),
	"second":  part("second", func(t time.Time) int { return t.Second() }),
	"round":   {[]Kind{Num}, 1, Num, "round(Column)", func(a []any) any { return a[0].(Number).round() }},
	"floor":   {[]Kind{Num}, 1, Num, "floor(Column)", func(a []any) any { return a[0].(Number).floor() }},
	"ceiling": {[]Kind{Num}, 1, Num, "ceiling(Column)", func(a []any) any { return a[0].(Number).ceiling() }},
}

var functionNames = strings.Join(slices.Sorted(maps.Keys(functions)), ", ")

func predicate(example string, do func(s, t string) bool) *function {
	return &function{[]Kind{Text, Text}, 2, Bool, example, func(a []any) any { return do(a[0].(string), a[1].(string)) }}
}

func part(name string, do func(time.Time) int) *function {
	return &function{[]Kind{Time}, 1, Num, name + "(Column)", func(a []any) any { return Number{Unscaled: int64(do(a[0].(time.Time).UTC()))} }}
}

// within is the whole number below n, between 0 and most.
func (n Number) within(most int) int {
	w, _ := n.At(0)
	return int(max(0, min(w, int64(most))))
}
