package odata

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The limits of a condition.
const (
	MaxLength = 64 << 10 // bytes: a token may be compared with
	MaxDepth  = 64       // parentheses, nots and calls inside each other
	MaxTerms  = 200      // comparisons
	MaxList   = 1000     // members of one list
)

// Parse reads a condition; "" and blanks are nil, which every row meets. The
// error is an *Error.
func Parse(s string) (Expr, error) {
	if len(s) > MaxLength {
		return nil, &Error{At: MaxLength, Detail: fmt.Sprintf("a filter has at most %d bytes", MaxLength)}
	}
	if strings.IndexByte(s, 0) >= 0 {
		return nil, &Error{At: 1, Detail: "a filter has no zero bytes"}
	}
	if !utf8.ValidString(s) {
		return nil, &Error{At: 1, Detail: "this is not UTF-8 text"}
	}
	p := parser{lexer: lexer{s: s}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind == tokEnd {
		return nil, nil
	}
	x, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.unexpected()
	}
	return x, nil
}

type parser struct {
	lexer
	tok   tok
	depth int
	terms int
}

func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

func (p *parser) word(words ...string) string {
	if p.tok.kind != tokName {
		return ""
	}
	for _, w := range words {
		if strings.EqualFold(p.tok.text, w) {
			return w
		}
	}
	return ""
}

func (p *parser) sign(s string) bool { return p.tok.kind == tokSign && p.tok.text == s }

// operators of other languages, and of OData where it goes beyond this.
var strangers = map[string]string{
	"is": "it is written: Column eq null", "like": "it is written: contains(Column,'text')", "equals": "it is written: Column eq 'text'", "has": "there are no flags here",
	"add": "there is no arithmetic here", "sub": "there is no arithmetic here", "mul": "there is no arithmetic here", "div": "there is no arithmetic here", "mod": "there is no arithmetic here",
	"between": "it is written: Column ge 1 and Column le 5", "xor": "there is and, or and not",
}

// unexpected says what is wrong with the token at hand. Names may be shown; text
// and numbers may be secret.
func (p *parser) unexpected() *Error {
	e := &Error{At: p.char(p.tok.pos)}
	switch p.tok.kind {
	case tokEnd:
		e.Detail, e.Hint = "the filter ends too early", "a condition is like: Column eq 'text'"
	case tokName:
		e.Detail, e.Hint = fmt.Sprintf("%s is not expected here", short(p.tok.text)), "conditions are joined by and, or"
		if h := strangers[strings.ToLower(p.tok.text)]; h != "" {
			e.Hint = h
		}
	case tokSign:
		e.Detail = fmt.Sprintf("%s is not expected here", p.tok.text)
		if p.tok.text == ")" {
			e.Hint = "there is one too many, or something before it is missing"
		}
	case tokText:
		e.Detail, e.Hint = "a text is not expected here", "a condition is like: Column eq 'text'; a quote inside text is doubled"
	default:
		e.Detail, e.Hint = "a value is not expected here", "a condition is like: Column gt 5; text stands in single quotes"
	}
	return e
}

// short bounds what an error shows of a name.
func short(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

func (p *parser) deeper() error {
	if p.depth++; p.depth > MaxDepth {
		return &Error{At: p.char(p.tok.pos), Detail: fmt.Sprintf("the filter goes deeper than %d levels", MaxDepth)}
	}
	return nil
}

func (p *parser) or() (Expr, error)  { return p.logic(true) }
func (p *parser) and() (Expr, error) { return p.logic(false) }

func (p *parser) logic(or bool) (Expr, error) {
	word, below := "and", p.not
	if or {
		word, below = "or", p.and
	}
	pos := p.tok.pos
	x, err := below()
	if err != nil {
		return nil, err
	}
	of := []Expr{x}
	for p.word(word) != "" {
		if err := p.advance(); err != nil {
			return nil, err
		}
		if x, err = below(); err != nil {
			return nil, err
		}
		of = append(of, x)
	}
	if len(of) == 1 {
		return x, nil
	}
	return &Logic{Or: or, Of: of, pos: p.char(pos)}, nil
}

func (p *parser) not() (Expr, error) {
	if p.word("not") == "" {
		return p.comparison()
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	pos := p.char(p.tok.pos)
	if err := p.advance(); err != nil {
		return nil, err
	}
	x, err := p.not()
	if err != nil {
		return nil, err
	}
	return &Not{X: x, pos: pos}, nil
}

func (p *parser) comparison() (Expr, error) {
	if p.terms++; p.terms > MaxTerms {
		return nil, &Error{At: p.char(p.tok.pos), Detail: fmt.Sprintf("a filter has at most %d conditions", MaxTerms), Hint: "many values of one column are written: Column in ('a','b')"}
	}
	l, err := p.operand()
	if err != nil {
		return nil, err
	}
	pos := p.char(p.tok.pos)
	if p.word("in") != "" {
		return p.in(l, pos)
	}
	op := p.word("eq", "ne", "gt", "ge", "lt", "le")
	if op == "" {
		return l, nil
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	r, err := p.operand()
	if err != nil {
		return nil, err
	}
	return &Compare{Op: Op(op), L: l, R: r, pos: pos}, nil
}

func (p *parser) in(l Expr, pos int) (Expr, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if !p.sign("(") {
		e := p.unexpected()
		e.Hint = "it is written: Column in ('a','b')"
		return nil, e
	}
	x := &In{X: l, pos: pos}
	for {
		if err := p.advance(); err != nil {
			return nil, err
		}
		v, err := p.operand()
		if err != nil {
			return nil, err
		}
		lit, ok := v.(*Literal)
		if !ok {
			return nil, &Error{At: v.at(), Detail: "a list holds texts, numbers and dates", Hint: "text stands in single quotes"}
		}
		if x.List = append(x.List, lit); len(x.List) > MaxList {
			return nil, &Error{At: lit.pos, Detail: fmt.Sprintf("a list has at most %d members", MaxList)}
		}
		if p.sign(",") {
			continue
		}
		if !p.sign(")") {
			return nil, p.unexpected()
		}
		return x, p.advance()
	}
}

func (p *parser) operand() (Expr, error) {
	t, pos := p.tok, p.char(p.tok.pos)
	switch {
	case t.kind == tokText:
		return &Literal{Value: t.text, raw: t.text, pos: pos}, p.advance()
	case t.kind == tokNumber:
		n, ok := parseNumber(t.text)
		if !ok {
			return nil, &Error{At: pos, Detail: "this number has more digits than are kept", Hint: "18 are, whatever they are"}
		}
		return &Literal{Value: n, raw: t.text, pos: pos}, p.advance()
	case t.kind == tokDate:
		v, ok := ParseTime(t.text)
		if !ok {
			return nil, &Error{At: pos, Detail: "this is not a date", Hint: "dates are written 2024-11-20 or 2024-11-20T12:00:00Z"}
		}
		return &Literal{Value: v, raw: t.text, pos: pos}, p.advance()
	case p.sign("("):
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		if err := p.advance(); err != nil {
			return nil, err
		}
		x, err := p.or()
		if err != nil {
			return nil, err
		}
		if !p.sign(")") {
			e := p.unexpected()
			if p.tok.kind == tokEnd {
				e.Detail, e.Hint = "a parenthesis is not closed", ""
			}
			return nil, e
		}
		return x, p.advance()
	case t.kind != tokName:
		return nil, p.unexpected()
	}
	switch p.word("true", "false", "null") {
	case "true", "false":
		return &Literal{Value: p.word("true") != "", raw: strings.ToLower(t.text), pos: pos}, p.advance()
	case "null":
		return &Literal{pos: pos}, p.advance()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.sign("(") {
		return p.call(t.text, pos)
	}
	if Reserved(t.text) {
		return nil, &Error{At: pos, Detail: fmt.Sprintf("%s is not expected here", short(t.text)), Hint: "a condition is like: Column eq 'text'"}
	}
	return &Column{Name: t.text, pos: pos}, nil
}

func (p *parser) call(name string, pos int) (Expr, error) {
	fn := functions[strings.ToLower(name)]
	if fn == nil {
		e := &Error{At: pos, Detail: fmt.Sprintf("there is no function %s", short(name)), Hint: "there are " + functionNames}
		if strings.EqualFold(name, "substringof") {
			e.Hint = "it is written: contains(Column,'text')"
		}
		return nil, e
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	c := &Call{Name: strings.ToLower(name), fn: fn, pos: pos}
	if err := p.advance(); err != nil {
		return nil, err
	}
	for !p.sign(")") {
		if len(c.Args) > 0 {
			if !p.sign(",") {
				return nil, p.unexpected()
			}
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		x, err := p.operand()
		if err != nil {
			return nil, err
		}
		if c.Args = append(c.Args, x); len(c.Args) > len(fn.args) {
			break
		}
	}
	if n := len(c.Args); n > len(fn.args) || n < fn.least {
		return nil, &Error{At: pos, Detail: fmt.Sprintf("%s takes %s", c.Name, fn.takes()), Hint: "it is written: " + fn.example}
	}
	return c, p.advance()
}
