package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// A state is what a run is, apart from its journal. It belongs to one exec.
type state struct {
	Input     any
	Variables map[string]any
	Stack     []entry
	Scopes    []*scope // open ones, in the order in which they were opened
	Waits     []wait
	Last      any // the latest value stored under an output named Output

	Outputs []map[string]any  // by node; nil: not executed yet
	Own     []map[string]any  // by node: Call.State
	Arrived []map[string]bool // by node: a join's edges whose sources were executed
	Ran     []*node           // in the order of their first execution
	Undo    []undo            // in the order in which they were entered

	Name, ContextID string
	Correlation     string
	Steps           int
	Elapsed         time.Duration // spent running
	Depth           int
	Parent          string
	Awaited         bool     // the parent waits for the end
	Secrets         []string // masked in the journal, after a resumption too
	Lock            string   // its key; known when the run begins
	Begun           bool     // the lock and mapped inputs are known
	Failed          string   // the fault that is being compensated
	NextScope       int
	NextWait        int
}

// An entry is an activity to execute.
type entry struct {
	node     *node
	scope    int // it is in; for one that unwinds, its own
	input    any
	hasInput bool
	first    bool // it starts the run
	unwind   bool
	resume   *activity.Resumption
}

// A scope is an activity whose branch is under way.
type scope struct {
	id, parent int // from 1 on; 0 is none
	node       *node
	vars       map[string]any
	state      map[string]any
	broken     bool
}

// A wait is an activity that waits.
type wait struct {
	id    string
	node  *node
	scope int
	activity.Bookmark
}

// An undo is a Compensable that the run came through.
type undo struct {
	node  *node
	scope int
	at    activity.Undo
}

func newState(p *program) *state {
	return &state{
		Variables: p.v.Defaults(),
		Outputs:   make([]map[string]any, len(p.nodes)),
		Own:       make([]map[string]any, len(p.nodes)),
		Arrived:   make([]map[string]bool, len(p.nodes)),
	}
}

func (st *state) push(e entry) { st.Stack = append(st.Stack, e) }

func (st *state) pop() entry {
	e := st.Stack[len(st.Stack)-1]
	st.Stack[len(st.Stack)-1] = entry{}
	st.Stack = st.Stack[:len(st.Stack)-1]
	return e
}

func (st *state) scope(id int) *scope {
	for i := len(st.Scopes) - 1; i >= 0 && id != 0; i-- {
		if st.Scopes[i].id == id {
			return st.Scopes[i]
		}
	}
	return nil
}

func (st *state) open(n *node, parent int) *scope {
	st.NextScope++
	s := &scope{id: st.NextScope, parent: parent, node: n, state: map[string]any{}}
	st.Scopes = append(st.Scopes, s)
	return s
}

// close removes a scope; what is still open within it belongs to the one above.
func (st *state) close(s *scope) {
	st.Scopes = slices.DeleteFunc(st.Scopes, func(o *scope) bool { return o == s })
	up := func(id *int) {
		if *id == s.id {
			*id = s.parent
		}
	}
	for _, o := range st.Scopes {
		up(&o.parent)
	}
	for i := range st.Stack {
		up(&st.Stack[i].scope)
	}
	for i := range st.Waits {
		up(&st.Waits[i].scope)
	}
}

// waitsIn reports whether something waits within a scope.
func (st *state) waitsIn(s *scope) bool {
	for _, w := range st.Waits {
		for o := st.scope(w.scope); o != nil; o = st.scope(o.parent) {
			if o == s {
				return true
			}
		}
	}
	return false
}

// variable reads a variable from within a scope.
func (st *state) variable(name string, from int) (any, bool) {
	for s := st.scope(from); s != nil; s = st.scope(s.parent) {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	v, ok := st.Variables[name]
	return v, ok
}

func (st *state) bookmarks(run string) []store.Bookmark {
	out := make([]store.Bookmark, len(st.Waits))
	for i, w := range st.Waits {
		out[i] = store.Bookmark{ID: w.id, Run: run, Activity: w.node.a.ID, Kind: w.Kind, Key: w.Key, Due: w.Due}
	}
	return out
}

// The form in which a state is stored. Members are added to it, never given
// another meaning: a newer process goes on with what an older one stored.

func (st *state) encode(p *program) ([]byte, error) {
	m := map[string]any{
		"input": st.Input, "variables": st.Variables, "last": st.Last,
		"name": st.Name, "context": st.ContextID, "correlation": st.Correlation, "steps": st.Steps, "elapsed": int64(st.Elapsed), "depth": st.Depth,
		"parent": st.Parent, "awaited": st.Awaited, "secrets": anys(st.Secrets), "lock": st.Lock, "begun": st.Begun, "failed": st.Failed,
		"nextScope": st.NextScope, "nextWait": st.NextWait,
	}
	var stack, scopes, waits, ran, undos []any
	for _, e := range st.Stack {
		o := map[string]any{"activity": e.node.a.ID, "scope": e.scope, "first": e.first, "unwind": e.unwind}
		if e.hasInput {
			o["input"] = e.input
		}
		if e.resume != nil {
			o["resume"] = map[string]any{"kind": e.resume.Kind, "key": e.resume.Key, "input": plainEnd(e.resume.Input)}
		}
		stack = append(stack, o)
	}
	for _, s := range st.Scopes {
		scopes = append(scopes, map[string]any{"id": s.id, "parent": s.parent, "activity": s.node.a.ID, "variables": s.vars, "state": s.state, "broken": s.broken})
	}
	for _, w := range st.Waits {
		o := map[string]any{"id": w.id, "activity": w.node.a.ID, "scope": w.scope, "kind": w.Kind, "key": w.Key}
		if !w.Due.IsZero() {
			o["due"] = w.Due
		}
		waits = append(waits, o)
	}
	for _, n := range st.Ran {
		ran = append(ran, n.a.ID)
	}
	for _, u := range st.Undo {
		undos = append(undos, map[string]any{"activity": u.node.a.ID, "scope": u.scope, "at": string(u.at)})
	}
	outputs, own, arrived := map[string]any{}, map[string]any{}, map[string]any{}
	for i, n := range p.nodes {
		if st.Outputs[i] != nil {
			outputs[n.a.ID] = st.stored(n)
		}
		if len(st.Own[i]) > 0 {
			own[n.a.ID] = st.Own[i]
		}
		if len(st.Arrived[i]) > 0 {
			keys := []any{}
			for k := range st.Arrived[i] {
				keys = append(keys, k)
			}
			arrived[n.a.ID] = keys
		}
	}
	m["stack"], m["scopes"], m["waits"], m["ran"], m["undo"], m["outputs"], m["own"], m["arrived"] = stack, scopes, waits, ran, undos, outputs, own, arrived
	return model.Marshal(m)
}

// stored leaves out outputs that the author keeps in memory only.
func (st *state) stored(n *node) map[string]any {
	out := st.Outputs[n.index]
	for name, where := range n.a.Storage {
		if where == "Transient" {
			if _, ok := out[name]; ok {
				kept := map[string]any{}
				for k, v := range out {
					if n.a.Storage[k] != "Transient" {
						kept[k] = v
					}
				}
				return kept
			}
		}
	}
	return out
}

func decodeState(p *program, b []byte) (*state, error) {
	v, err := model.Unmarshal(b)
	m, ok := v.(map[string]any)
	if err != nil || !ok {
		return nil, fmt.Errorf("read the stored state: %w", err)
	}
	st := newState(p)
	st.Input, st.Last = m["input"], m["last"]
	st.Variables, _ = m["variables"].(map[string]any)
	if st.Variables == nil {
		st.Variables = map[string]any{}
	}
	st.Name, st.ContextID, st.Correlation = text(m["name"]), text(m["context"]), text(m["correlation"])
	st.Parent, st.Lock, st.Failed = text(m["parent"]), text(m["lock"]), text(m["failed"])
	st.Awaited, _ = m["awaited"].(bool)
	st.Begun, _ = m["begun"].(bool)
	st.Steps, st.Depth, st.NextScope, st.NextWait = number(m["steps"]), number(m["depth"]), number(m["nextScope"]), number(m["nextWait"])
	st.Elapsed = time.Duration(number(m["elapsed"]))
	for _, s := range list(m["secrets"]) {
		st.Secrets = append(st.Secrets, text(s))
	}
	missing := ""
	find := func(v any) *node {
		n := p.byID[text(v)]
		if n == nil {
			missing = text(v)
		}
		return n
	}
	for _, o := range objects(m["scopes"]) {
		s := &scope{id: number(o["id"]), parent: number(o["parent"]), node: find(o["activity"])}
		s.vars, _ = o["variables"].(map[string]any)
		s.state, _ = o["state"].(map[string]any)
		if s.state == nil {
			s.state = map[string]any{}
		}
		s.broken, _ = o["broken"].(bool)
		st.Scopes = append(st.Scopes, s)
	}
	for _, o := range objects(m["stack"]) {
		e := entry{node: find(o["activity"]), scope: number(o["scope"])}
		e.first, _ = o["first"].(bool)
		e.unwind, _ = o["unwind"].(bool)
		e.input, e.hasInput = o["input"]
		if r, ok := o["resume"].(map[string]any); ok {
			e.resume = &activity.Resumption{Kind: text(r["kind"]), Key: text(r["key"]), Input: r["input"]}
			if e.resume.Kind == activity.WaitChild {
				e.resume.Input = readEnd(r["input"])
			}
		}
		st.Stack = append(st.Stack, e)
	}
	for _, o := range objects(m["waits"]) {
		w := wait{id: text(o["id"]), node: find(o["activity"]), scope: number(o["scope"])}
		w.Kind, w.Key = text(o["kind"]), text(o["key"])
		w.Due, _ = o["due"].(time.Time)
		st.Waits = append(st.Waits, w)
	}
	for _, id := range list(m["ran"]) {
		if n := find(id); n != nil {
			st.Ran = append(st.Ran, n)
		}
	}
	for _, o := range objects(m["undo"]) {
		st.Undo = append(st.Undo, undo{find(o["activity"]), number(o["scope"]), activity.Undo(text(o["at"]))})
	}
	each := func(member string, take func(n *node, v any)) {
		all, _ := m[member].(map[string]any)
		for id, v := range all {
			if n := find(id); n != nil {
				take(n, v)
			}
		}
	}
	each("outputs", func(n *node, v any) { st.Outputs[n.index], _ = v.(map[string]any) })
	each("own", func(n *node, v any) { st.Own[n.index], _ = v.(map[string]any) })
	each("arrived", func(n *node, v any) {
		st.Arrived[n.index] = map[string]bool{}
		for _, k := range list(v) {
			st.Arrived[n.index][text(k)] = true
		}
	})
	if missing != "" {
		return nil, fmt.Errorf("read the stored state: it names the activity %s, which version %d of %s has not", missing, p.v.Number, p.v.Name)
	}
	return st, nil
}

func text(v any) string { s, _ := v.(string); return s }

func number(v any) int {
	switch n := v.(type) {
	case int64:
		return int(n)
	case float64:
		return int(n)
	}
	return 0
}

func list(v any) []any { l, _ := v.([]any); return l }

func objects(v any) (out []map[string]any) {
	for _, x := range list(v) {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func anys[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

// plainEnd turns how a child ended into a value that can be stored; others are.
func plainEnd(v any) any {
	end, ok := v.(activity.ChildEnd)
	if !ok {
		return v
	}
	return map[string]any{"run": end.RunID, "name": end.Name, "status": end.Status, "outcomes": anys(end.Outcomes), "output": end.Output, "fault": end.Fault}
}

func readEnd(v any) activity.ChildEnd {
	m, _ := v.(map[string]any)
	end := activity.ChildEnd{Found: true, RunID: text(m["run"]), Name: text(m["name"]), Status: text(m["status"]), Output: m["output"], Fault: text(m["fault"])}
	for _, o := range list(m["outcomes"]) {
		end.Outcomes = append(end.Outcomes, text(o))
	}
	return end
}
