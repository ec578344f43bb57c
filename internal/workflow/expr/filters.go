package expr

import (
	"cmp"
	"crypto/md5"  //nolint:gosec // a filter of the format
	"crypto/sha1" //nolint:gosec // a filter of the format
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"html"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// A filter is one filter of a template: what goes in, its arguments (nil beyond
// the last), what comes out.
type filter func(r *rendering, v any, arg func(int) any) (any, error)

// text makes a filter of texts.
func text(f func(s string) string) filter {
	return func(_ *rendering, v any, _ func(int) any) (any, error) { return f(printLiquid(v)), nil }
}

// text1 makes one with an argument.
func text1(f func(s, a string) string) filter {
	return func(_ *rendering, v any, arg func(int) any) (any, error) {
		return f(printLiquid(v), printLiquid(arg(0))), nil
	}
}

// math1 makes a filter of numbers with an argument.
func math1(f func(a, b float64) float64) filter {
	return func(_ *rendering, v any, arg func(int) any) (any, error) {
		return finite(f(number(v), number(arg(0))))
	}
}

// math0 makes a filter of numbers.
func math0(f func(a float64) float64) filter {
	return func(_ *rendering, v any, _ func(int) any) (any, error) { return finite(f(number(v))) }
}

func finite(f float64) (any, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, errors.New("the result is no number; was something divided by zero?")
	}
	return numberValue(f), nil
}

// lists makes a filter of lists; anything else is a list of one, nil of none.
func lists(f func(l []any, arg func(int) any) (any, error)) filter {
	return func(_ *rendering, v any, arg func(int) any) (any, error) { return f(asList(v), arg) }
}

func asList(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

var (
	tags     = regexp.MustCompile(`(?s)<script.*?</script>|<style.*?</style>|<!--.*?-->|<[^>]*>`)
	noHandle = regexp.MustCompile(`[^\p{L}\p{N}]+`)
)

// filters are the platform's: those of its Liquid, of its workflows, and of its
// documentation. Colours are not among them.
var filters map[string]filter

func init() {
	filters = map[string]filter{
		// numbers
		"abs": math0(math.Abs), "ceil": math0(math.Ceil), "floor": math0(math.Floor), "to_i": toWhole,
		"plus": math1(func(a, b float64) float64 { return exact(a + b) }), "minus": math1(func(a, b float64) float64 { return exact(a - b) }),
		"times": math1(func(a, b float64) float64 { return exact(a * b) }), "modulo": math1(math.Mod),
		"at_least": math1(math.Max), "at_most": math1(math.Min), "divided_by": divide, "round": roundTo,
		"format_number": formatNumber,

		// texts
		"append": text1(func(s, a string) string { return s + a }), "prepend": text1(func(s, a string) string { return a + s }),
		"capitalize": text(capitalize), "downcase": text(strings.ToLower), "upcase": text(strings.ToUpper),
		"strip": text(strings.TrimSpace), "lstrip": text(func(s string) string { return strings.TrimLeftFunc(s, unicode.IsSpace) }),
		"rstrip":         text(func(s string) string { return strings.TrimRightFunc(s, unicode.IsSpace) }),
		"strip_newlines": text(func(s string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(s) }),
		"newline_to_br": text(func(s string) string {
			return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "<br />\n")
		}),
		"strip_html":   text(func(s string) string { return tags.ReplaceAllString(s, "") }),
		"remove":       text1(func(s, a string) string { return strings.ReplaceAll(s, a, "") }),
		"remove_first": text1(func(s, a string) string { return strings.Replace(s, a, "", 1) }),
		"replace":      replace(-1), "replace_first": replace(1), "slice": slice, "split": split, "truncate": truncate, "truncatewords": truncateWords,
		"handle": text(handle), "handleize": text(handle), "format_string": formatString,

		// encodings
		"escape": func(_ *rendering, v any, _ func(int) any) (any, error) {
			return markup(encodeHTML(printLiquid(v))), nil
		},
		"escape_once": func(_ *rendering, v any, _ func(int) any) (any, error) {
			return markup(encodeHTML(html.UnescapeString(printLiquid(v)))), nil
		},
		"raw":        func(_ *rendering, v any, _ func(int) any) (any, error) { return markup(printLiquid(v)), nil },
		"markup":     func(_ *rendering, v any, _ func(int) any) (any, error) { return markup(printLiquid(v)), nil },
		"json":       toJSON,
		"url_encode": text(url.QueryEscape), "url_decode": urlDecode,
		"base64": text(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),

		"base64_encode":          text(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
		"base64_url_safe_encode": text(func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }),
		"base64_decode":          fromBase64, "base64_url_safe_decode": fromBase64,
		"md5":    text(func(s string) string { h := md5.Sum([]byte(s)); return hex.EncodeToString(h[:]) }),  //nolint:gosec // the format's
		"sha1":   text(func(s string) string { h := sha1.Sum([]byte(s)); return hex.EncodeToString(h[:]) }), //nolint:gosec // the format's
		"sha256": text(func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }),

		// instants
		"date": date, "format_date": formatDate, "time_zone": timeZone,

		// lists
		"compact": lists(func(l []any, _ func(int) any) (any, error) {
			return slices.DeleteFunc(slices.Clone(l), func(v any) bool { return v == nil }), nil
		}),
		"concat": lists(func(l []any, arg func(int) any) (any, error) {
			more := asList(arg(0))
			if len(l)+len(more) > maxElements {
				return nil, errElements
			}
			return slices.Concat(l, more), nil
		}),
		"first":   lists(func(l []any, _ func(int) any) (any, error) { v, _ := member(l, 0); return v, nil }),
		"last":    lists(func(l []any, _ func(int) any) (any, error) { v, _ := member(l, -1); return v, nil }),
		"join":    join,
		"map":     mapFilter,
		"reverse": lists(func(l []any, _ func(int) any) (any, error) { l = slices.Clone(l); slices.Reverse(l); return l, nil }),
		"size":    size, "sort": sorted(less), "sort_natural": sorted(lessText), "uniq": uniq, "where": where,
		"default": func(_ *rendering, v any, arg func(int) any) (any, error) {
			if empty(v) {
				return arg(0), nil
			}
			return v, nil
		},

		// the run
		"workflow_definition_id": definitionID,
		"output":                 outputFilter,
		"signal_url":             signalURL,
	}
}

// exact takes the noise of binary fractions away: 0.1 + 0.2 is 0.3 on the
// platform, which counts in decimals.
func exact(f float64) float64 {
	if f == math.Trunc(f) {
		return f
	}
	g, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 15, 64), 64)
	if err != nil {
		return f
	}
	return g
}

func toWhole(_ *rendering, v any, _ func(int) any) (any, error) { return finite(math.Trunc(number(v))) }

// divide divides whole numbers without a rest.
func divide(_ *rendering, v any, arg func(int) any) (any, error) {
	a, b := number(v), number(arg(0))
	if b == 0 {
		return nil, errors.New("divided by zero")
	}
	if a == math.Trunc(a) && b == math.Trunc(b) {
		return finite(math.Floor(a / b))
	}
	return finite(exact(a / b))
}

func roundTo(_ *rendering, v any, arg func(int) any) (any, error) {
	scale := math.Pow10(int(min(max(number(arg(0)), 0), 15)))
	return finite(exact(math.Round(number(v)*scale) / scale))
}

// formatNumber knows F, N, D and their digits, and patterns like 0.00.
func formatNumber(_ *rendering, v any, arg func(int) any) (any, error) {
	f, format := number(v), printLiquid(arg(0))
	digits := 2
	if len(format) > 1 {
		if n, err := strconv.Atoi(format[1:]); err == nil && n >= 0 && n <= 15 {
			digits = n
		}
	}
	switch {
	case format == "":
		return printLiquid(numberValue(f)), nil
	case format[0] == 'F' || format[0] == 'f':
		return strconv.FormatFloat(f, 'f', digits, 64), nil
	case format[0] == 'N' || format[0] == 'n':
		return grouped(strconv.FormatFloat(f, 'f', digits, 64)), nil
	case format[0] == 'D' || format[0] == 'd':
		s := strconv.FormatInt(int64(f), 10)
		for len(format) > 1 && len(s) < digits {
			s = "0" + s
		}
		return s, nil
	}
	_, fraction, _ := strings.Cut(format, ".")
	s := strconv.FormatFloat(f, 'f', min(strings.Count(fraction, "0")+strings.Count(fraction, "#"), 15), 64)
	for n := strings.Count(fraction, "#"); n > 0 && strings.HasSuffix(s, "0") && strings.Contains(s, "."); n-- {
		s = s[:len(s)-1]
	}
	s = strings.TrimSuffix(s, ".")
	if strings.Contains(format, ",") {
		s = grouped(s)
	}
	return s, nil
}

func grouped(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return sign + whole
}

// formatString puts its arguments into {0}, {1} …
func formatString(_ *rendering, v any, arg func(int) any) (any, error) {
	s := printLiquid(v)
	for i := range 10 {
		hole := "{" + strconv.Itoa(i) + "}"
		with := printLiquid(arg(i))
		if len(s)+strings.Count(s, hole)*len(with) > maxRendered {
			return nil, errRendered
		}
		s = strings.ReplaceAll(s, hole, with)
	}
	return s, nil
}

func capitalize(s string) string {
	r := []rune(s)
	if len(r) == 0 {
		return s
	}
	return string(unicode.ToUpper(r[0])) + string(r[1:])
}

func handle(s string) string {
	return strings.Trim(noHandle.ReplaceAllString(strings.ToLower(s), "-"), "-")
}

func replace(n int) filter {
	return func(_ *rendering, v any, arg func(int) any) (any, error) {
		s, old, with := printLiquid(v), printLiquid(arg(0)), printLiquid(arg(1))
		if old == "" {
			return s, nil
		}
		if len(s)+strings.Count(s, old)*len(with) > maxRendered {
			return nil, errRendered
		}
		return strings.Replace(s, old, with, n), nil
	}
}

// slice takes a part of a text or a list.
func slice(_ *rendering, v any, arg func(int) any) (any, error) {
	start, n := int(number(arg(0))), 1
	if arg(1) != nil {
		n = int(number(arg(1)))
	}
	cut := func(length int) (int, int) {
		if start < 0 {
			start = max(start+length, 0)
		}
		start = min(start, length)
		return start, start + min(max(n, 0), length-start)
	}
	if l, ok := v.([]any); ok {
		a, b := cut(len(l))
		return l[a:b], nil
	}
	r := []rune(printLiquid(v))
	a, b := cut(len(r))
	return string(r[a:b]), nil
}

func split(_ *rendering, v any, arg func(int) any) (any, error) {
	s, sep := printLiquid(v), printLiquid(arg(0))
	var parts []string
	switch {
	case s == "":
		return []any{}, nil
	case sep == " ":
		parts = strings.Fields(s)
	case strings.Count(s, sep) > maxElements:
		return nil, errElements
	default:
		parts = strings.Split(s, sep)
	}
	return texts(parts), nil
}

func truncate(_ *rendering, v any, arg func(int) any) (any, error) {
	r, dots, n := []rune(printLiquid(v)), []rune("..."), 50
	if arg(0) != nil {
		n = int(number(arg(0)))
	}
	if arg(1) != nil {
		dots = []rune(printLiquid(arg(1)))
	}
	if len(r) <= n {
		return string(r), nil
	}
	return string(r[:max(n-len(dots), 0)]) + string(dots), nil
}

func truncateWords(_ *rendering, v any, arg func(int) any) (any, error) {
	s, dots, n := printLiquid(v), "...", 15
	if arg(0) != nil {
		n = max(int(number(arg(0))), 1)
	}
	if arg(1) != nil {
		dots = printLiquid(arg(1))
	}
	words := strings.Fields(s)
	if len(words) <= n {
		return s, nil
	}
	return strings.Join(words[:n], " ") + dots, nil
}

// toJSON: null for nothing, a blank text is itself.
func toJSON(_ *rendering, v any, _ func(int) any) (any, error) {
	if s, ok := v.(string); ok && strings.TrimSpace(s) == "" {
		return s, nil
	}
	if m, ok := v.(markup); ok {
		v = string(m)
	}
	if _, ok := v.(lookup); ok {
		v = nil
	}
	b, err := plainJSON(v)
	if err != nil {
		return nil, err
	}
	return markup(b), nil
}

func urlDecode(_ *rendering, v any, _ func(int) any) (any, error) {
	s := printLiquid(v)
	if out, err := url.QueryUnescape(s); err == nil {
		return out, nil
	}
	return s, nil
}

func fromBase64(_ *rendering, v any, _ func(int) any) (any, error) {
	b, err := decodeBase64(printLiquid(v))
	if err != nil {
		return nil, err
	}
	return strings.ToValidUTF8(string(b), "\uFFFD"), nil
}

func join(_ *rendering, v any, arg func(int) any) (any, error) {
	sep := " "
	if arg(0) != nil {
		sep = printLiquid(arg(0))
	}
	var b strings.Builder
	for i, x := range asList(v) {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(printLiquid(x))
		if b.Len() > maxRendered {
			return nil, errRendered
		}
	}
	return b.String(), nil
}

func mapFilter(_ *rendering, v any, arg func(int) any) (any, error) {
	l := asList(v)
	out := make([]any, len(l))
	for i, x := range l {
		out[i], _ = member(x, printLiquid(arg(0)))
	}
	return out, nil
}

func size(_ *rendering, v any, _ func(int) any) (any, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	case *model.Object:
		return v.Len(), nil
	}
	return len([]rune(printLiquid(v))), nil
}

func less(a, b any) int {
	x, ok1 := numeric(a)
	y, ok2 := numeric(b)
	if ok1 && ok2 {
		return cmp.Compare(x, y)
	}
	if s, ok := a.(time.Time); ok {
		if t, ok := b.(time.Time); ok {
			return s.Compare(t)
		}
	}
	return strings.Compare(printLiquid(a), printLiquid(b))
}

func lessText(a, b any) int {
	return strings.Compare(strings.ToLower(printLiquid(a)), strings.ToLower(printLiquid(b)))
}

func sorted(order func(a, b any) int) filter {
	return func(_ *rendering, v any, arg func(int) any) (any, error) {
		l := slices.Clone(asList(v))
		key := printLiquid(arg(0))
		slices.SortStableFunc(l, func(a, b any) int {
			if key != "" {
				a, _ = member(a, key)
				b, _ = member(b, key)
			}
			return order(a, b)
		})
		return l, nil
	}
}

func uniq(_ *rendering, v any, _ func(int) any) (any, error) {
	seen := map[string]bool{}
	out := []any{}
	for _, x := range asList(v) {
		k := printLiquid(x)
		if _, isText := x.(string); isText {
			k = "s" + k
		}
		if !seen[k] {
			seen[k] = true
			out = append(out, x)
		}
	}
	return out, nil
}

func where(_ *rendering, v any, arg func(int) any) (any, error) {
	out := []any{}
	for _, x := range asList(v) {
		got, _ := member(x, printLiquid(arg(0)))
		if arg(1) == nil && !empty(got) || arg(1) != nil && same(got, arg(1)) {
			out = append(out, x)
		}
	}
	return out, nil
}

// empty is what default replaces.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

func definitionID(r *rendering, v any, arg func(int) any) (any, error) {
	find := r.evaluator.options.Services.DefinitionByName
	if printLiquid(arg(0)) == "tag" {
		find = r.evaluator.options.Services.DefinitionByTag
	}
	id, err := r.evaluator.definition(r.ctx, find, printLiquid(v))
	if err != nil || id == nil {
		return "", err
	}
	return id, nil
}

// outputFilter is "NAME" | output: "PROP".
func outputFilter(r *rendering, v any, arg func(int) any) (any, error) {
	a, ok := r.scope.Activity(printLiquid(v))
	if !ok {
		return nil, nil
	}
	name := printLiquid(arg(0))
	if name == "" {
		name = "Output"
	}
	return outputOf(a, name), nil
}

func signalURL(r *rendering, v any, _ func(int) any) (any, error) {
	f := r.evaluator.options.Services.SignalURL
	if f == nil {
		return nil, errors.New("signals have no addresses here")
	}
	return f(r.ctx, printLiquid(v), r.scope.Instance().InstanceID)
}

// filterNames lists the filters there are.
func filterNames() []string { return slices.Sorted(maps.Keys(filters)) }
