package odata

import (
	"fmt"
	"strings"
	"time"
)

// Columns tells a column's name as the table has it, and its kind. What it
// refuses is the error of Bind, at the column's place if it is an *Error without
// one.
type Columns func(name string) (as string, kind Kind, err error)

// Bind ties a condition to columns and gives literals the kind of what they are
// compared with. x is not changed. The error is an *Error, or that of columns.
func Bind(x Expr, columns Columns) (Expr, error) {
	if x == nil {
		return nil, nil
	}
	return binder{columns}.condition(x)
}

type binder struct{ columns Columns }

// condition binds what is true or false.
func (b binder) condition(x Expr) (Expr, error) {
	out, err := b.expr(x)
	if err != nil {
		return nil, err
	}
	if k := out.kind(); k != Bool {
		return nil, &Error{At: out.at(), Detail: fmt.Sprintf("a condition is needed, and this is %s", k), Hint: "a condition is like: Column eq 'text'"}
	}
	return out, nil
}

func (b binder) expr(x Expr) (Expr, error) {
	switch x := x.(type) {
	case *Logic:
		out := &Logic{Or: x.Or, pos: x.pos, Of: make([]Expr, len(x.Of))}
		for i := range x.Of {
			var err error
			if out.Of[i], err = b.condition(x.Of[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *Not:
		inner, err := b.condition(x.X)
		return &Not{X: inner, pos: x.pos}, err
	case *Compare:
		return b.compare(x)
	case *In:
		inner, err := b.expr(x.X)
		if err != nil {
			return nil, err
		}
		out := &In{X: inner, pos: x.pos, List: make([]*Literal, len(x.List))}
		for i, l := range x.List {
			if out.List[i], err = literalAs(l, inner.kind()); err != nil {
				return nil, err
			}
		}
		return out, nil
	case *Call:
		out := &Call{Name: x.Name, fn: x.fn, pos: x.pos, Args: make([]Expr, len(x.Args))}
		for i, a := range x.Args {
			arg, err := b.expr(a)
			if err != nil {
				return nil, err
			}
			if l, ok := arg.(*Literal); ok {
				if arg, err = literalAs(l, x.fn.args[i]); err != nil {
					return nil, err
				}
			}
			// Numbers and dates have a text as well.
			if k := arg.kind(); k != x.fn.args[i] && k != Null && x.fn.args[i] != Text {
				return nil, &Error{At: arg.at(), Detail: fmt.Sprintf("%s takes %s, and this is %s", x.Name, x.fn.args[i], k), Hint: "it is written: " + x.fn.example}
			}
			out.Args[i] = arg
		}
		return out, nil
	case *Column:
		name, kind, err := b.columns(x.Name)
		if err != nil {
			if e, ok := err.(*Error); ok && e.At == 0 {
				e.At = x.pos
			}
			return nil, err
		}
		return &Column{Name: name, Kind: kind, pos: x.pos}, nil
	}
	return x, nil
}

func (b binder) compare(x *Compare) (Expr, error) {
	l, err := b.expr(x.L)
	if err != nil {
		return nil, err
	}
	r, err := b.expr(x.R)
	if err != nil {
		return nil, err
	}
	out := &Compare{Op: x.Op, L: l, R: r, pos: x.pos}
	if _, ok := l.(*Literal); ok {
		out.L, out.R, out.Op = r, l, mirrored[x.Op]
	}
	if lit, ok := out.R.(*Literal); ok {
		// A column named like a value that lost its quotes is the usual slip.
		if out.R, err = literalAs(lit, out.L.kind()); err != nil {
			return nil, err
		}
	}
	lk, rk := out.L.kind(), out.R.kind()
	if lk != rk && lk != Null && rk != Null {
		return nil, &Error{At: x.pos, Detail: fmt.Sprintf("%s is compared with %s", lk, rk)}
	}
	if (lk == Bool || rk == Bool) && out.Op != Eq && out.Op != Ne {
		return nil, &Error{At: x.pos, Detail: "true and false have no order", Hint: "compare them with eq and ne"}
	}
	return out, nil
}

// literalAs gives a literal the kind of its other side: '12' beside a number is
// 12, 12 beside text is '12'.
func literalAs(l *Literal, k Kind) (*Literal, error) {
	have := l.kind()
	if have == k || have == Null || k == Null {
		return l, nil
	}
	bad := func(hint string) (*Literal, error) {
		return nil, &Error{At: l.pos, Detail: fmt.Sprintf("%s is needed here", k), Hint: hint}
	}
	out := &Literal{raw: l.raw, pos: l.pos}
	text := strings.TrimSpace(l.raw)
	switch k {
	case Text:
		out.Value = l.raw
	case Num:
		n, ok := parseNumber(text)
		if !ok || have != Text {
			return bad("numbers are written 12 or 12.50")
		}
		out.Value = n
	case Time:
		t, ok := ParseTime(text)
		if !ok {
			return bad("dates are written 2024-11-20T12:00:00Z, without quotes")
		}
		out.Value = t
	case Bool:
		switch strings.ToLower(text) {
		case "true", "1":
			out.Value = true
		case "false", "0":
			out.Value = false
		default:
			return bad("write true or false")
		}
	}
	return out, nil
}

// Match decides a bound condition for the row that get reads: nil, string, bool,
// Number or time.Time of each column's kind.
func Match(x Expr, get func(column string) any) bool {
	if x == nil {
		return true
	}
	b, _ := eval(x, get).(bool)
	return b
}

func eval(x Expr, get func(string) any) any {
	switch x := x.(type) {
	case *Logic:
		for _, c := range x.Of {
			if Match(c, get) == x.Or {
				return x.Or
			}
		}
		return !x.Or
	case *Not:
		return !Match(x.X, get)
	case *Compare:
		return compare(x.Op, eval(x.L, get), eval(x.R, get))
	case *In:
		v := eval(x.X, get)
		for _, l := range x.List {
			if compare(Eq, v, l.Value) {
				return true
			}
		}
		return false
	case *Call:
		args := make([]any, len(x.Args))
		for i, a := range x.Args {
			v := eval(a, get)
			if v == nil {
				return nil
			}
			if x.fn.args[i] == Text {
				v = textOf(v)
			}
			args[i] = v
		}
		return x.fn.do(args)
	case *Column:
		return get(x.Name)
	case *Literal:
		return x.Value
	}
	return nil
}

func compare(op Op, l, r any) bool {
	if l == nil || r == nil {
		switch op {
		case Eq:
			return l == nil && r == nil
		case Ne:
			return l != nil || r != nil
		}
		return false
	}
	n := Order(l, r)
	switch op {
	case Eq:
		return n == 0
	case Ne:
		return n != 0
	case Gt:
		return n > 0
	case Ge:
		return n >= 0
	case Lt:
		return n < 0
	}
	return n <= 0
}

// Order compares two values of one kind: less, equal, more. What is absent comes
// first.
func Order(l, r any) int {
	switch a := l.(type) {
	case string:
		if b, ok := r.(string); ok {
			return strings.Compare(a, b)
		}
	case Number:
		if b, ok := r.(Number); ok {
			return a.Compare(b)
		}
	case time.Time:
		if b, ok := r.(time.Time); ok {
			return a.Compare(b)
		}
	case bool:
		if b, ok := r.(bool); ok {
			switch {
			case a == b:
				return 0
			case b:
				return -1
			}
			return 1
		}
	case nil:
		if r == nil {
			return 0
		}
		return -1
	}
	return 1
}

// textOf is a value as text, for functions of text.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case Number:
		return v.String()
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.999Z")
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return ""
}
