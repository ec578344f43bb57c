package odata

import (
	"fmt"
	"time"
)

// A Kind is what an expression is.
type Kind int

// The kinds.
const (
	Null Kind = iota // the literal null, which goes with all others
	Text
	Num
	Bool
	Time
)

// String names the kind as an error does.
func (k Kind) String() string {
	return [...]string{"null", "text", "a number", "true or false", "a date"}[k]
}

// An Expr is a node of a condition: *Logic, *Not, *Compare, *In, *Call, *Column
// or *Literal. Trees are immutable after Bind.
type Expr interface {
	kind() Kind
	at() int
}

// A Logic joins two or more conditions.
type Logic struct {
	Or  bool // else and
	Of  []Expr
	pos int
}

// A Not is the opposite of a condition.
type Not struct {
	X   Expr
	pos int
}

// An Op compares.
type Op string

// The comparisons.
const (
	Eq Op = "eq"
	Ne Op = "ne"
	Gt Op = "gt"
	Ge Op = "ge"
	Lt Op = "lt"
	Le Op = "le"
)

// mirrored is the comparison that holds with its sides exchanged.
var mirrored = map[Op]Op{Eq: Eq, Ne: Ne, Gt: Lt, Ge: Le, Lt: Gt, Le: Ge}

// A Compare compares two values. Bind puts a literal on the right.
type Compare struct {
	Op   Op
	L, R Expr
	pos  int
}

// An In compares with each of a list of literals.
type In struct {
	X    Expr
	List []*Literal
	pos  int
}

// A Call is a function of its arguments.
type Call struct {
	Name string
	Args []Expr
	fn   *function
	pos  int
}

// A Column is a value of the row.
type Column struct {
	Name string // as the table has it, after Bind
	Kind Kind   // after Bind
	pos  int
}

// A Literal is a value that the condition holds: nil, string, Number, bool or
// time.Time.
type Literal struct {
	Value any
	raw   string // as it was written; of a text without its quotes
	pos   int
}

func (*Logic) kind() Kind     { return Bool }
func (*Not) kind() Kind       { return Bool }
func (*Compare) kind() Kind   { return Bool }
func (*In) kind() Kind        { return Bool }
func (c *Call) kind() Kind    { return c.fn.result }
func (c *Column) kind() Kind  { return c.Kind }
func (l *Literal) kind() Kind { return kindOf(l.Value) }

func (x *Logic) at() int   { return x.pos }
func (x *Not) at() int     { return x.pos }
func (x *Compare) at() int { return x.pos }
func (x *In) at() int      { return x.pos }
func (x *Call) at() int    { return x.pos }
func (x *Column) at() int  { return x.pos }
func (x *Literal) at() int { return x.pos }

func kindOf(v any) Kind {
	switch v.(type) {
	case string:
		return Text
	case Number:
		return Num
	case bool:
		return Bool
	case time.Time:
		return Time
	}
	return Null
}

// An Error is a condition that cannot be carried out.
type Error struct {
	At     int // character, from 1
	Detail string
	Hint   string
}

// Error says where and why.
func (e *Error) Error() string {
	s := fmt.Sprintf("character %d: %s", e.At, e.Detail)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}
