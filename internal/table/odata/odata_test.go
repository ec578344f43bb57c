package odata

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// columns of the tests, by the first letter of their kind: t1 is text.
func testColumns(name string) (string, Kind, error) {
	switch name[0] {
	case 't':
		return name, Text, nil
	case 'n':
		return name, Num, nil
	case 'b':
		return name, Bool, nil
	case 'd':
		return name, Time, nil
	case 's':
		return "", 0, &Error{Detail: "secret"}
	}
	return "", 0, fmt.Errorf("no column %s", name)
}

var testRow = map[string]any{
	"t": "Äcme's", "tEmpty": "", "tLong": strings.Repeat("x", 300), "tNum": "12", "n": Number{1250, 2}, "nNeg": Number{-5, 1}, "nZero": Number{}, "nMax": Number{Unscaled: 1<<63 - 1},
	"b": true, "bNo": false, "d": time.Date(2024, 11, 20, 12, 0, 5, 7e6, time.UTC),
}

// match decides a condition for testRow.
func match(s string) (bool, error) {
	x, err := Parse(s)
	if err == nil {
		x, err = Bind(x, testColumns)
	}
	if err != nil {
		return false, err
	}
	return Match(x, func(name string) any { return testRow[name] }), nil
}

func TestMatch(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "  \n": true,
		// Comparisons.
		"t eq 'Äcme''s'": true, "t eq 'äcme''s'": false, "'Äcme''s' eq t": true, "t ne 'x'": true, "t gt 'A'": true, "t lt 'A'": false, "t ge 'Äcme''s'": true,
		"n eq 12.5": true, "n eq 12.50": true, "n eq '12.5'": true, "n gt 12.499": true, "n lt 12.501": true, "n ge 12.5": true, "n le 12": false, "5 lt n": true, "5 gt n": false,
		"nNeg eq -0.5": true, "nNeg lt 0": true, "nMax eq 9223372036854775807": true, "nMax gt 9223372036854775806": true, "n eq +12.5": true,
		"tNum eq 12": true, "tNum eq 12.0": false,
		"b": true, "bNo": false, "not bNo": true, "b eq true": true, "b eq 'true'": true, "b ne false": true, "bNo eq 0": true, "true": true, "false": false, "not false": true,
		"d eq 2024-11-20T12:00:05.007Z": true, "d gt 2024-11-20T12:00:00Z": true, "d ge 2024-11-20": true, "d lt '2024-11-21'": true, "d eq 2024-11-20T13:00:05.007+01:00": true, "d lt 2024-11-20T12:00:05.0069Z": false,
		// What is absent.
		"tNone eq null": true, "tNone ne null": false, "t ne null": true, "null eq tNone": true, "null ne t": true, "tNone eq ''": false, "tEmpty eq ''": true, "tEmpty eq null": false,
		"nNone gt 5": false, "nNone le 5": false, "not (nNone gt 5)": true, "nNone ne 5": true, "bNone": false, "not bNone": true, "bNone eq false": false, "nNone gt null": false,
		"null eq null": true, "contains(tNone,'x')": false, "not contains(tNone,'x')": true, "length(tNone) eq null": true,
		// Logic.
		"b and t eq 'x'": false, "b or t eq 'x'": true, "bNo or bNo or b": true, "bNo and b or b": true, "b and (bNo or b)": true, "not b or b": true, "not (b or b)": false, "not not b": true,
		"b AND NOT bNo": true, "n GT 1": true, "((((b))))": true, "(b) eq (bNo)": false, "(n gt 1) eq b": true,
		// Lists.
		"t in ('a','Äcme''s')": true, "n in (1,12.5)": true, "t in ('a')": false, "nNone in (1,null)": true, "n in ('12.5')": true, "not (n in (1))": true, "d in (2024-11-20T12:00:05.007Z)": true,
		// Functions.
		"contains(t,'cme')": true, "startswith(t,'Äc')": true, "endswith(t,'''s')": true, "startswith(t,'')": true, "contains(n,'12')": true,
		"length(t) eq 6": true, "indexof(t,'cme') eq 1": true, "indexof(t,'z') eq -1": true, "substring(t,1) eq 'cme''s'": true, "substring(t,1,3) eq 'cme'": true, "substring(t,99) eq ''": true,
		"substring(t,-5,2) eq 'Äc'": true, "substring(t,2,99) eq 'me''s'": true, "tolower(t) eq 'äcme''s'": true, "toupper(t) eq 'ÄCME''S'": true, "trim('  a ') eq 'a'": true, "concat(t,'!') eq 'Äcme''s!'": true,
		"concat(tolower(t),toupper(t)) eq 'äcme''sÄCME''S'":                                                           true,
		"year(d) eq 2024 and month(d) eq 11 and day(d) eq 20 and hour(d) eq 12 and minute(d) eq 0 and second(d) eq 5": true,
		"round(n) eq 13": true, "floor(n) eq 12": true, "ceiling(n) eq 13": true, "round(nNeg) eq -1": true, "floor(nNeg) eq -1": true, "ceiling(nNeg) eq 0": true, "round(2.4) eq 2": true, "ceiling(2) eq 2": true,
		"Length(t) gt length(tEmpty)": true, "t eq concat('Äcme','''s')": true,
	} {
		if got, err := match(s); err != nil || got != want {
			t.Errorf("%s = %v, %v, want %v", s, got, err, want)
		}
	}
}

// TestErrors: each names the place and says what to write instead.
func TestErrors(t *testing.T) {
	for s, want := range map[string]string{
		"t eq":                       "character 5: the filter ends too early; a condition is like: Column eq 'text'",
		"t":                          "character 1: a condition is needed, and this is text; a condition is like: Column eq 'text'",
		"n":                          "character 1: a condition is needed, and this is a number; a condition is like: Column eq 'text'",
		"'canary'":                   "character 1: a condition is needed, and this is text; a condition is like: Column eq 'text'",
		"t == 'a'":                   "character 3: this sign means nothing here; equality is written: Column eq 'text'",
		"t = 'a'":                    "character 3: this sign means nothing here; equality is written: Column eq 'text'",
		"t != 'a'":                   "character 3: this sign means nothing here; it is written: Column ne 'text'",
		`t eq "canary"`:              "character 6: this sign means nothing here; text stands in single quotes",
		"t eq ‘canary’":              "character 6: this sign means nothing here; text stands in plain single quotes",
		"t eq 'a' && b":              "character 10: this sign means nothing here; it is written: and",
		"t eq 'O'Brien'":             "character 9: the text ends here, and something follows without a blank; a quote inside text is doubled: 'it''s'",
		"t eq 'canary":               "character 6: the text that begins here has no closing quote; a quote inside text is doubled: 'it''s'",
		"t eq 'a' or '1' eq '1":      "character 20: the text that begins here has no closing quote; a quote inside text is doubled: 'it''s'",
		"t eq 'a'; drop table x":     "character 9: this sign means nothing here; text stands in single quotes",
		"t eq 'a' -- x":              "character 10: this sign means nothing here; text stands in single quotes",
		"t eq 'a' b":                 "character 10: b is not expected here; conditions are joined by and, or",
		"t like 'a'":                 "character 3: like is not expected here; it is written: contains(Column,'text')",
		"t is null":                  "character 3: is is not expected here; it is written: Column eq null",
		"n add 1 eq 2":               "character 3: add is not expected here; there is no arithmetic here",
		"company/name eq 'x'":        "character 8: this sign means nothing here; a reference is filtered by the number of its row: Company eq 12",
		"t eq {{Variables.x}}":       "character 6: this sign means nothing here; a template was not filled in",
		"(b":                         "character 3: a parenthesis is not closed",
		"b)":                         "character 2: ) is not expected here; there is one too many, or something before it is missing",
		"()":                         "character 2: ) is not expected here; there is one too many, or something before it is missing",
		"n gt canary":                "no column canary",
		"n gt 'canary'":              "character 6: a number is needed here; numbers are written 12 or 12.50",
		"d gt 'canary'":              "character 6: a date is needed here; dates are written 2024-11-20T12:00:00Z, without quotes",
		"d gt 5":                     "character 6: a date is needed here; dates are written 2024-11-20T12:00:00Z, without quotes",
		"d gt 2024-13-01":            "character 6: this is not a date; dates are written 2024-11-20 or 2024-11-20T12:00:00Z",
		"b eq 'canary'":              "character 6: true or false is needed here; write true or false",
		"b gt false":                 "character 3: true and false have no order; compare them with eq and ne",
		"t eq n":                     "character 3: text is compared with a number",
		"n eq 12x":                   "character 8: this is neither a number nor a date; numbers are written 12 or 12.50, dates 2024-11-20T12:00:00Z, text in single quotes",
		"n eq 1234567890123456789.5": "character 6: this number has more digits than are kept; 18 are, whatever they are",
		"n in 5":                     "character 6: a value is not expected here; it is written: Column in ('a','b')",
		"n in ()":                    "character 7: ) is not expected here; there is one too many, or something before it is missing",
		"n in (n)":                   "character 7: a list holds texts, numbers and dates; text stands in single quotes",
		"n in (1 2)":                 "character 9: a value is not expected here; a condition is like: Column gt 5; text stands in single quotes",
		"substringof('a',t)":         "character 1: there is no function substringof; it is written: contains(Column,'text')",
		"contains(t)":                "character 1: contains takes 2 values; it is written: contains(Column,'text')",
		"substring(t)":               "character 1: substring takes 2 or 3 values; it is written: substring(Column,0,5)",
		"length(t,t) eq 1":           "character 1: length takes one value; it is written: length(Column)",
		"year(t) eq 1":               "character 6: year takes a date, and this is text; it is written: year(Column)",
		"s eq 'x'":                   "character 1: secret",
		"and eq 1":                   "character 1: and is not expected here; a condition is like: Column eq 'text'",
		"t eq 'a' and":               "character 13: the filter ends too early; a condition is like: Column eq 'text'",
		"\xff":                       "character 1: this is not UTF-8 text",
		"t eq 'a\x00'":               "character 1: a filter has no zero bytes",
	} {
		_, err := match(s)
		if err == nil || err.Error() != want {
			t.Errorf("%q\n got %v\nwant %s", s, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	for s, want := range map[string]string{
		"t eq '" + strings.Repeat("x", MaxLength) + "'":                                         "at most 65536 bytes",
		strings.Repeat("(", MaxDepth+1) + "b" + strings.Repeat(")", MaxDepth+1):                 "deeper than 64",
		strings.Repeat("not ", MaxDepth+1) + "b":                                                "deeper than 64",
		strings.Repeat("trim(", MaxDepth+1) + "t" + strings.Repeat(")", MaxDepth+1) + " eq 'x'": "deeper than 64",
		"b" + strings.Repeat(" or b", MaxTerms):                                                 "at most 200 conditions",
		"n in (1" + strings.Repeat(",1", MaxList) + ")":                                         "at most 1000 members",
	} {
		if _, err := match(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s…: %v, want %s", s, err, want)
		}
	}
	for _, s := range []string{
		strings.Repeat("(", MaxDepth) + "b" + strings.Repeat(")", MaxDepth),
		"b" + strings.Repeat(" and b", MaxTerms-1),
		"n in (12.5" + strings.Repeat(",1", MaxList-1) + ")",
		"tLong eq '" + strings.Repeat("x", 300) + "'",
	} {
		if ok, err := match(s); err != nil || !ok {
			t.Errorf("%.40s…: %v, %v", s, ok, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for s, want := range map[string]string{"0": "0", "-0": "0", "00012": "12", "1.500": "1.5", ".5": "0.5", "5.": "5", "-12.34": "-12.34", "9223372036854775807": "9223372036854775807", "-9223372036854775808": "-9223372036854775808",
		"0.000000000000000001": "0.000000000000000001", "92233720368547758.06": "92233720368547758.06"} {
		if n, ok := parseNumber(s); !ok || n.String() != want {
			t.Errorf("%s = %v, %v", s, n, ok)
		}
	}
	for _, s := range []string{"", ".", "-", "1e5", "0x1", "1_0", "--1", "9223372036854775808", "1.2.3", "123456789012345678.99"} {
		if n, ok := parseNumber(s); ok {
			t.Errorf("%q is taken as %v", s, n)
		}
	}
	if n, _ := parseNumber("92233720368547758"); n.Compare(Number{9223372036854775800, 2}) != 0 || n.Compare(Number{9223372036854775801, 2}) != -1 {
		t.Error("numbers of different scale near the end of 64 bits")
	}
}

// FuzzParse: whatever comes in, there is an answer, and what is understood can be
// decided.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"t eq 'a''b' and not (n gt 12.50 or d le 2024-11-20T12:00:00Z)", "t in ('a',null) or startswith(tolower(t),'x')", "b", "n eq -.5", "substring(t,1,2) ne concat(t,'')", "((", "'", "t eq '\u2028'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		x, err := Parse(s)
		if err != nil {
			if _, ok := err.(*Error); !ok || err.Error() == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		if x, err = Bind(x, func(name string) (string, Kind, error) { return name, Kind(len(name)%4 + 1), nil }); err != nil {
			return
		}
		kinds := []any{"x", Number{15, 1}, true, time.Unix(0, 0)}
		got := Match(x, func(name string) any { return kinds[len(name)%4] })
		if x != nil && Match(&Not{X: x}, func(name string) any { return kinds[len(name)%4] }) == got {
			t.Fatalf("%q is both", s)
		}
		Match(x, func(string) any { return nil })
	})
}
