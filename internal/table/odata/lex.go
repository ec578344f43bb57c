package odata

import (
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tokEnd tokenKind = iota
	tokName
	tokText
	tokNumber
	tokDate
	tokSign // ( ) ,
)

type tok struct {
	kind tokenKind
	text string
	pos  int // byte
}

type lexer struct {
	s   string
	pos int
}

// char is the character at a byte, from 1, for errors.
func (l *lexer) char(pos int) int { return utf8.RuneCountInString(l.s[:min(pos, len(l.s))]) + 1 }

func (l *lexer) fault(pos int, hint, detail string) *Error {
	return &Error{At: l.char(pos), Detail: detail, Hint: hint}
}

var (
	// A date is told from a number by its first hyphen.
	dateForm   = regexp.MustCompile(`^\d{4}-\d{1,2}-\d{1,2}([Tt][0-9:.]*([Zz]|[+-]\d{1,2}(:\d{1,2})?)?)?`)
	numberForm = regexp.MustCompile(`^[+-]?(\d+(\.\d*)?|\.\d+)`)
)

// slips are what people write who think in another language.
var slips = []struct{ text, hint string }{
	{"==", "equality is written: Column eq 'text'"}, {"!=", "it is written: Column ne 'text'"}, {"<>", "it is written: Column ne 'text'"},
	{">=", "it is written: Column ge 5"}, {"<=", "it is written: Column le 5"}, {">", "it is written: Column gt 5"}, {"<", "it is written: Column lt 5"},
	{"=", "equality is written: Column eq 'text'"}, {"&&", "it is written: and"}, {"||", "it is written: or"}, {"!", "it is written: not (…)"},
	{"\"", "text stands in single quotes"}, {"`", "text stands in single quotes"}, {"’", "text stands in plain single quotes"}, {"‘", "text stands in plain single quotes"},
	{"/", "a reference is filtered by the number of its row: Company eq 12"}, {"*", "there is no arithmetic here"}, {"+", "there is no arithmetic here"},
	{"$", "a filter begins with its first condition"}, {"{", "a template was not filled in"}, {"}", "a template was not filled in"},
}

func (l *lexer) next() (tok, error) {
	for l.pos < len(l.s) && strings.IndexByte(" \t\r\n", l.s[l.pos]) >= 0 {
		l.pos++
	}
	start := l.pos
	if start == len(l.s) {
		return tok{kind: tokEnd, pos: start}, nil
	}
	rest := l.s[start:]
	c, size := utf8.DecodeRuneInString(rest)
	switch {
	case c == '(' || c == ')' || c == ',':
		l.pos++
		return tok{tokSign, rest[:1], start}, nil
	case c == '\'':
		return l.quoted(start)
	case c >= '0' && c <= '9' || (c == '-' || c == '+' || c == '.') && numberForm.MatchString(rest):
		kind, text := tokDate, dateForm.FindString(rest)
		if text == "" {
			kind, text = tokNumber, numberForm.FindString(rest)
		}
		l.pos += len(text)
		if after, _ := utf8.DecodeRuneInString(l.s[l.pos:]); l.pos < len(l.s) && (nameRune(after) || after == '.' || after == ':') {
			return tok{}, l.fault(l.pos, "numbers are written 12 or 12.50, dates 2024-11-20T12:00:00Z, text in single quotes", "this is neither a number nor a date")
		}
		return tok{kind, text, start}, nil
	case nameStart(c):
		n := size
		for n < len(rest) {
			c, size := utf8.DecodeRuneInString(rest[n:])
			if !nameRune(c) {
				break
			}
			n += size
		}
		l.pos += n
		return tok{tokName, rest[:n], start}, nil
	}
	hint := "text stands in single quotes"
	for _, s := range slips {
		if strings.HasPrefix(rest, s.text) {
			hint = s.hint
			break
		}
	}
	return tok{}, l.fault(start, hint, "this sign means nothing here")
}

// quoted reads a text in single quotes, in which a quote is doubled.
func (l *lexer) quoted(start int) (tok, error) {
	var b strings.Builder
	for i := start + 1; i < len(l.s); i++ {
		if l.s[i] != '\'' {
			b.WriteByte(l.s[i])
			continue
		}
		if i+1 < len(l.s) && l.s[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		l.pos = i + 1
		if after, _ := utf8.DecodeRuneInString(l.s[l.pos:]); l.pos < len(l.s) && nameRune(after) {
			return tok{}, l.fault(l.pos, "a quote inside text is doubled: 'it''s'", "the text ends here, and something follows without a blank")
		}
		return tok{tokText, b.String(), start}, nil
	}
	return tok{}, l.fault(start, "a quote inside text is doubled: 'it''s'", "the text that begins here has no closing quote")
}

func nameStart(c rune) bool { return c == '_' || unicode.IsLetter(c) }
func nameRune(c rune) bool  { return nameStart(c) || unicode.IsDigit(c) }

// IsName reports whether a filter can name a column so.
func IsName(s string) bool {
	for i, c := range s {
		if i == 0 && !nameStart(c) || !nameRune(c) {
			return false
		}
	}
	return s != "" && utf8.ValidString(s) && !Reserved(s)
}

// Reserved reports whether s is a word of filters, in any case.
func Reserved(s string) bool {
	switch strings.ToLower(s) {
	case "and", "or", "not", "eq", "ne", "gt", "ge", "lt", "le", "in", "true", "false", "null", "asc", "desc":
		return true
	}
	return false
}

// timeForms are the dates that are understood; those without a zone are UTC.
var timeForms = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02"}

// ParseTime reads a date as filters write them, to the millisecond.
func ParseTime(s string) (time.Time, bool) {
	s = strings.ToUpper(strings.TrimSpace(s))
	for _, form := range timeForms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC().Truncate(time.Millisecond), true
		}
	}
	return time.Time{}, false
}
