// Package predicate decides by a condition over an answer's JSON: whether a
// token endpoint's answer is a success, whether an API's answer refuses a token.
//
//	ok == true
//	errcode == nil || errcode == 0
//	has(error.code) and error.code in [190, 102]
//	status startsWith "BAD_"
//	any(errors, .type == "INVALID_SESSION_ID")
//	body == "wrong code"
//
// The notation is that of expr-lang/expr; the evaluation is our own, because a
// condition over foreign bytes must be total and cheap. Members that are not
// there are nil, so is everything looked up in what has no members, and a
// comparison of things that do not compare is false. There is no arithmetic, no
// variable, no clock and no way out; what is not listed here is refused when a
// condition is compiled.
//
//	values      nil true false 1 1.5 "text" 'text' [lists]
//	lookup      member, member.member, member[0], member["odd name"], member?.member
//	comparison  == != < <= > >= in "not in" contains startsWith endsWith matches
//	logic       && and || or ! not ?: ??
//	functions   has(x) len(x) lower(x) upper(x) trim(x) any all none one count
//
// A body that is no JSON object is named body; in one that is an object body is
// its member of that name, if it has one.
package predicate

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
)

const (
	maxSource = 1024
	maxSteps  = 200_000 // evaluated nodes of one Match
	maxNested = 2       // any inside any; each level multiplies the work
)

// ErrCost says that an answer was too large for a condition.
var ErrCost = errors.New("the condition takes too many steps over this body")

// A Predicate is a compiled condition. It is immutable and safe for concurrent
// use.
type Predicate struct {
	source string
	eval   eval
}

// An eval computes one node.
type eval func(*run) any

// A run is one Match.
type run struct {
	root  any
	items []any // of the enclosing any, all, …
	index []int
	steps int
}

// errStop carries ErrCost out of a run.
type errStop struct{}

// Compile reads a condition. Its errors name what is not understood.
func Compile(source string) (*Predicate, error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("a condition is at most %d characters long", maxSource)
	}
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("the condition is empty")
	}
	tree, err := parser.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("the condition is not understood: %w", err)
	}
	c := compiler{}
	e := c.node(tree.Node)
	if c.err != nil {
		return nil, c.err
	}
	return &Predicate{source: source, eval: e}, nil
}

// String returns the condition as it was written.
func (p *Predicate) String() string { return p.source }

// Match reports whether the condition holds over v: what encoding/json makes of
// JSON (map[string]any, []any, string, float64 or json.Number, bool, nil), or
// the text of a body that is none. A condition whose value is not true does not hold. The only
// error is ErrCost.
func (p *Predicate) Match(v any) (ok bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, stop := r.(errStop); !stop {
				panic(r)
			}
			ok, err = false, ErrCost
		}
	}()
	r := &run{root: v}
	return p.eval(r) == true, nil
}

func (r *run) step(n int) {
	if r.steps += n; r.steps > maxSteps {
		panic(errStop{})
	}
}

type compiler struct {
	err    error
	nested int
}

func (c *compiler) refuse(format string, args ...any) eval {
	if c.err == nil {
		c.err = fmt.Errorf("the condition uses "+format, args...)
	}
	return func(*run) any { return nil }
}

// constant returns an eval of a fixed value.
func constant(v any) eval { return func(*run) any { return v } }

func (c *compiler) node(n ast.Node) eval {
	e := c.bare(n)
	return func(r *run) any {
		r.step(1)
		return e(r)
	}
}

func (c *compiler) bare(n ast.Node) eval {
	switch n := n.(type) {
	case *ast.NilNode:
		return constant(nil)
	case *ast.BoolNode:
		return constant(n.Value)
	case *ast.IntegerNode:
		return constant(float64(n.Value))
	case *ast.FloatNode:
		return constant(n.Value)
	case *ast.StringNode:
		return constant(n.Value)
	case *ast.ArrayNode:
		return c.list(n)
	case *ast.IdentifierNode:
		return c.name(n.Value)
	case *ast.ChainNode:
		return c.node(n.Node)
	case *ast.MemberNode:
		of, key := c.node(n.Node), c.node(n.Property)
		return func(r *run) any { return lookup(of(r), key(r)) }
	case *ast.PointerNode:
		return c.pointer(n.Name)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		cond, yes, no := c.node(n.Cond), c.node(n.Exp1), c.node(n.Exp2)
		return func(r *run) any {
			if cond(r) == true {
				return yes(r)
			}
			return no(r)
		}
	case *ast.BuiltinNode:
		return c.builtin(n)
	case *ast.CallNode:
		if f, ok := n.Callee.(*ast.IdentifierNode); ok && f.Value == "has" && len(n.Arguments) == 1 {
			arg := c.node(n.Arguments[0])
			return func(r *run) any { return arg(r) != nil }
		}
		return c.refuse("a function that it does not know: has, len, lower, upper, trim, any, all, none, one and count are there")
	case nil:
		return c.refuse("nothing where a value should be")
	}
	return c.refuse("something other than values, lookups, comparisons and logic: %s", n.String())
}

func (c *compiler) list(n *ast.ArrayNode) eval {
	items := make([]eval, len(n.Nodes))
	for i, e := range n.Nodes {
		items[i] = c.node(e)
	}
	return func(r *run) any {
		out := make([]any, len(items))
		for i, e := range items {
			out[i] = e(r)
		}
		return out
	}
}

func (c *compiler) name(name string) eval {
	if name == "$env" {
		return func(r *run) any { return r.root }
	}
	return func(r *run) any {
		m, object := r.root.(map[string]any)
		if v, ok := m[name]; ok {
			return scalar(v)
		}
		if !object && name == "body" {
			return scalar(r.root)
		}
		return nil
	}
}

func (c *compiler) pointer(name string) eval {
	switch name {
	case "":
		return func(r *run) any {
			if len(r.items) == 0 {
				return nil
			}
			return scalar(r.items[len(r.items)-1])
		}
	case "index":
		return func(r *run) any {
			if len(r.index) == 0 {
				return nil
			}
			return float64(r.index[len(r.index)-1])
		}
	}
	return c.refuse("#%s, which it does not know", name)
}

func (c *compiler) unary(n *ast.UnaryNode) eval {
	e := c.node(n.Node)
	switch n.Operator {
	case "!", "not":
		return func(r *run) any { return e(r) != true }
	case "-":
		return func(r *run) any {
			if f, ok := e(r).(float64); ok {
				return -f
			}
			return nil
		}
	case "+":
		return e
	}
	return c.refuse("the operator %s", n.Operator)
}

func (c *compiler) binary(n *ast.BinaryNode) eval {
	if n.Operator == "matches" {
		pattern, ok := n.Right.(*ast.StringNode)
		if !ok {
			return c.refuse("matches with a pattern that is not written out")
		}
		re, err := regexp.Compile(pattern.Value)
		if err != nil {
			return c.refuse("a pattern that is none: %v", err)
		}
		left := c.node(n.Left)
		return func(r *run) any {
			s, ok := left(r).(string)
			r.step(len(s) / 64)
			return ok && re.MatchString(s)
		}
	}
	left, right := c.node(n.Left), c.node(n.Right)
	both := func(f func(r *run, a, b any) bool) eval {
		return func(r *run) any { return f(r, left(r), right(r)) }
	}
	text := func(f func(s, part string) bool) eval {
		return both(func(r *run, a, b any) bool {
			s, ok := a.(string)
			part, ok2 := b.(string)
			r.step(len(s) / 64)
			return ok && ok2 && f(s, part)
		})
	}
	order := func(f func(cmp int) bool) eval {
		return both(func(_ *run, a, b any) bool {
			cmp, ok := compare(a, b)
			return ok && f(cmp)
		})
	}
	switch n.Operator {
	case "&&", "and":
		return func(r *run) any { return left(r) == true && right(r) == true }
	case "||", "or":
		return func(r *run) any { return left(r) == true || right(r) == true }
	case "??":
		return func(r *run) any {
			if v := left(r); v != nil {
				return v
			}
			return right(r)
		}
	case "==":
		return both(func(_ *run, a, b any) bool { return equal(a, b) })
	case "!=":
		return both(func(_ *run, a, b any) bool { return !equal(a, b) })
	case "<":
		return order(func(cmp int) bool { return cmp < 0 })
	case "<=":
		return order(func(cmp int) bool { return cmp <= 0 })
	case ">":
		return order(func(cmp int) bool { return cmp > 0 })
	case ">=":
		return order(func(cmp int) bool { return cmp >= 0 })
	case "in":
		return both(contains)
	case "contains":
		return text(strings.Contains)
	case "startsWith":
		return text(strings.HasPrefix)
	case "endsWith":
		return text(strings.HasSuffix)
	}
	return c.refuse("the operator %s", n.Operator)
}

func (c *compiler) builtin(n *ast.BuiltinNode) eval {
	text := func(f func(string) string) eval {
		if len(n.Arguments) != 1 {
			return c.refuse("%s with other than one value", n.Name)
		}
		arg := c.node(n.Arguments[0])
		return func(r *run) any {
			if s, ok := arg(r).(string); ok {
				r.step(len(s) / 64)
				return f(s)
			}
			return nil
		}
	}
	switch n.Name {
	case "lower":
		return text(strings.ToLower)
	case "upper":
		return text(strings.ToUpper)
	case "trim":
		return text(strings.TrimSpace)
	case "len":
		if len(n.Arguments) != 1 {
			return c.refuse("len with other than one value")
		}
		arg := c.node(n.Arguments[0])
		return func(r *run) any {
			switch v := arg(r).(type) {
			case string:
				return float64(len(v))
			case []any:
				return float64(len(v))
			case map[string]any:
				return float64(len(v))
			}
			return nil
		}
	case "any", "all", "none", "one", "count":
		return c.quantifier(n)
	}
	return c.refuse("the function %s, which is not among has, len, lower, upper, trim, any, all, none, one, count", n.Name)
}

// quantifier compiles any(list, condition) and its kin. What is no list is an
// empty one.
func (c *compiler) quantifier(n *ast.BuiltinNode) eval {
	if len(n.Arguments) != 2 {
		return c.refuse("%s without a condition", n.Name)
	}
	over := c.node(n.Arguments[0])
	p, ok := n.Arguments[1].(*ast.PredicateNode)
	if !ok {
		return c.refuse("%s without a condition", n.Name)
	}
	if c.nested++; c.nested > maxNested {
		return c.refuse("%s too deep inside its like", n.Name)
	}
	cond := c.node(p.Node)
	c.nested--
	count := func(r *run, enough int) (hits, total int) {
		list, _ := over(r).([]any)
		for i, item := range list {
			r.items, r.index = append(r.items, item), append(r.index, i)
			hit := cond(r) == true
			r.items, r.index = r.items[:len(r.items)-1], r.index[:len(r.index)-1]
			if hit {
				if hits++; hits == enough {
					break
				}
			}
		}
		return hits, len(list)
	}
	switch n.Name {
	case "any":
		return func(r *run) any { hits, _ := count(r, 1); return hits > 0 }
	case "none":
		return func(r *run) any { hits, _ := count(r, 1); return hits == 0 }
	case "one":
		return func(r *run) any { hits, _ := count(r, 2); return hits == 1 }
	case "all":
		return func(r *run) any { hits, total := count(r, -1); return hits == total }
	}
	return func(r *run) any { hits, _ := count(r, -1); return float64(hits) }
}

// lookup returns a member or an element, nil where there is none. A negative
// index counts from the end.
func lookup(of, key any) any {
	switch of := of.(type) {
	case map[string]any:
		if k, ok := key.(string); ok {
			return scalar(of[k])
		}
	case []any:
		f, ok := key.(float64)
		if !ok {
			return nil
		}
		if f < 0 {
			f += float64(len(of))
		}
		if i := int(f); f >= 0 && f < float64(len(of)) && float64(i) == f {
			return scalar(of[i])
		}
	}
	return nil
}

// scalar makes the numbers of a decoder that keeps their text comparable.
func scalar(v any) any {
	if n, ok := v.(json.Number); ok {
		f, err := n.Float64()
		if err != nil {
			return n.String()
		}
		return f
	}
	return v
}

// equal compares scalars; maps and lists equal nothing.
func equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case bool:
		v, ok := b.(bool)
		return ok && a == v
	case string:
		v, ok := b.(string)
		return ok && a == v
	case float64:
		v, ok := b.(float64)
		return ok && a == v
	}
	return false
}

// compare orders two numbers or two texts.
func compare(a, b any) (cmp int, ok bool) {
	switch a := a.(type) {
	case float64:
		if b, ok := b.(float64); ok {
			switch {
			case a < b:
				return -1, true
			case a > b:
				return 1, true
			}
			return 0, a == b
		}
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b), true
		}
	}
	return 0, false
}

// contains implements in: an element of a list, a member of an object, a part
// of a text.
func contains(r *run, part, whole any) bool {
	switch whole := whole.(type) {
	case []any:
		r.step(len(whole))
		for _, v := range whole {
			if equal(scalar(v), part) {
				return true
			}
		}
	case map[string]any:
		name, ok := part.(string)
		_, there := whole[name]
		return ok && there
	case string:
		s, ok := part.(string)
		r.step(len(whole) / 64)
		return ok && strings.Contains(whole, s)
	}
	return false
}
