package script

import (
	"container/list"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// ErrClosed is the answer of an engine that was closed.
var ErrClosed = errors.New("the script engine is closed")

// Options are an engine's limits and what its scripts find. The zero value of
// each has the default that is named.
type Options struct {
	// Now is the clock that scripts see. Nil: the machine's own.
	Now func() time.Time

	// Prelude is JavaScript that adds to the globals of every machine: one
	// function expression, given the kernel's tools (see kernel.js). It is
	// trusted.
	Prelude string

	// Extras are loaded into a machine when a script first mentions one of
	// their names, because making machines is most of what short scripts cost.
	// At most 64.
	Extras []Extra

	Time   time.Duration // of the processor for one evaluation, without what host functions take; 250 ms. Ten times as long by the wall
	Memory int           // bytes of one machine; 32 MiB
	Source int           // bytes of one script; 64 KiB
	Input  int           // bytes of one value that goes in, as JSON; 1 MiB
	Output int           // UTF-16 units of one value that comes out, as JSON; 4 MiB

	Spare int // machines made ahead; twice the processors. Negative: none
	Idle  int // machines that idle sessions keep; 64
	Slots int // scripts that run at the same time; four times the processors, so that loops cannot take all of the server
}

// An Extra is a part of a prelude that few scripts need.
type Extra struct {
	Names  []string // of the globals that it defines
	Source string   // as Prelude
}

func (o Options) filled() Options {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if o.Time == 0 {
		o.Time = 250 * time.Millisecond
	}
	n := runtime.GOMAXPROCS(0)
	set(&o.Memory, 32<<20)
	set(&o.Source, 64<<10)
	set(&o.Input, 1<<20)
	set(&o.Output, 4<<20)
	set(&o.Spare, 2*n)
	set(&o.Idle, 64)
	set(&o.Slots, 4*n)
	return o
}

// An Engine runs scripts. It is safe for concurrent use. Close it.
type Engine struct {
	options Options
	kernel  []byte   // compiled
	extras  [][]byte // compiled
	slots   chan struct{}

	work   chan func()
	spare  chan *machine
	refill chan struct{}
	stop   chan struct{}
	done   sync.WaitGroup // of fill

	programs programs

	mu     sync.Mutex
	closed bool
	idle   *list.List // of *Session, the one that waits longest in front
}

// New returns an engine. The error is that of a prelude that does not run.
func New(o Options) (*Engine, error) {
	e := &Engine{options: o.filled(), idle: list.New(), work: make(chan func()), stop: make(chan struct{})}
	e.slots = make(chan struct{}, e.options.Slots)
	var err error
	if e.kernel, e.extras, err = compileKernel(e.options.Prelude, e.options.Extras); err != nil {
		return nil, err
	}
	e.programs.extras = map[string]uint64{}
	for i, x := range e.options.Extras {
		for _, name := range x.Names {
			e.programs.extras[name] |= 1 << i
		}
	}
	first, err := e.newMachine()
	if err != nil {
		return nil, err
	}
	if e.options.Spare < 0 {
		first.close()
		return e, nil
	}
	e.spare = make(chan *machine, e.options.Spare)
	e.refill = make(chan struct{}, 1)
	e.spare <- first
	e.done.Go(e.fill)
	return e, nil
}

// fill keeps machines ready, one at a time: making one is work for a processor
// that a running script could use.
func (e *Engine) fill() {
	for {
		select {
		case <-e.stop:
			return
		case <-e.refill:
		}
		for len(e.spare) < cap(e.spare) {
			m, err := e.newMachine()
			if err != nil {
				break // whoever needs one makes it, and reports the error
			}
			select {
			case e.spare <- m:
			case <-e.stop:
				m.close()
				return
			}
		}
	}
}

// do runs f on a goroutine that ran a script before, if one is idle: the
// engine's calls need a deep stack, and growing one takes as long as a short
// script. The goroutines end with the engine.
func (e *Engine) do(f func()) {
	select {
	case e.work <- f:
		return
	default:
	}
	go func() {
		for {
			f()
			select {
			case f = <-e.work:
			case <-e.stop:
				return
			}
		}
	}()
}

// take returns a machine that nobody used.
func (e *Engine) take() (*machine, error) {
	if e.spare == nil {
		return e.newMachine()
	}
	select {
	case e.refill <- struct{}{}:
	default:
	}
	select {
	case m := <-e.spare:
		return m, nil
	default:
		return e.newMachine()
	}
}

// Close ends the engine. It waits for the machine that is being made, not for
// scripts that run; their sessions are the caller's to close.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	var machines []*machine
	for el := e.idle.Front(); el != nil; el = el.Next() {
		s := el.Value.(*Session)
		machines = append(machines, s.machine)
		s.machine, s.place = nil, nil
	}
	e.idle.Init()
	e.programs.close()
	e.mu.Unlock()
	for _, m := range machines {
		m.close()
	}
	close(e.stop)
	if e.spare == nil {
		return nil
	}
	e.done.Wait()
	for {
		select {
		case m := <-e.spare:
			m.close()
		default:
			return nil
		}
	}
}

// A World is what one evaluation sees beside the language. Its functions are
// called from the goroutine of the evaluation.
type World interface {
	// Global returns a value for a global of the name, ok false if there is
	// none. It is asked for the names that the script mentions.
	Global(name string) (v any, ok bool)
	// Globals lists the names, for scripts that could reach one without
	// mentioning it.
	Globals() []string
	// Call is what the prelude's call(name, ...args) does. An error is thrown
	// in the script, and is found in the error of Eval if nothing catches it.
	Call(ctx context.Context, name string, args []any) (any, error)
}

// A Waiter is a World some of whose functions wait for something: a database,
// a network, another script. A script in one of them leaves its slot to others.
type Waiter interface {
	Waits(name string) bool
}

// A Session is the scripts of one run, one after the other. It costs nothing
// until the first. Sessions are not safe for concurrent use. Close it.
type Session struct {
	engine  *Engine
	machine *machine      // nil: none yet, or taken away; guarded by engine.mu while place is set
	place   *list.Element // in engine.idle
	closed  bool
}

// Open returns a session.
func (e *Engine) Open() *Session { return &Session{engine: e} }

// Close throws the machine away.
func (s *Session) Close() {
	if m := s.claim(); m != nil {
		m.close()
	}
	s.closed = true
}

// claim takes the session's machine out of the idle ones.
func (s *Session) claim() *machine {
	e := s.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	m := s.machine
	if s.place != nil {
		e.idle.Remove(s.place)
	}
	s.machine, s.place = nil, nil
	return m
}

// rest puts the machine among the idle ones, and closes the one that waited
// longest if there are too many.
func (s *Session) rest(m *machine) {
	e := s.engine
	var gone *machine
	e.mu.Lock()
	switch {
	case e.closed || e.options.Idle < 0:
		gone = m
	default:
		s.machine = m
		s.place = e.idle.PushBack(s)
		if e.idle.Len() > e.options.Idle {
			o := e.idle.Remove(e.idle.Front()).(*Session)
			gone = o.machine
			o.machine, o.place = nil, nil
		}
	}
	e.mu.Unlock()
	if gone != nil {
		gone.close()
	}
}

// Eval runs a program in a clean global scope and returns the value of its last
// statement. A limit of 0 is the engine's own time. Promises are waited for as
// long as they need nothing from outside.
//
// Errors are an [Error], a [LimitError], ErrClosed, or that of the context.
func (s *Session) Eval(ctx context.Context, p *Program, w World, limit time.Duration) (any, error) {
	e := s.engine
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	closed := e.closed || s.closed
	e.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()

	m := s.claim()
	if m == nil {
		var err error
		if m, err = e.take(); err != nil {
			return nil, err
		}
	}
	if limit == 0 {
		limit = e.options.Time
	}
	v, reusable, err := m.eval(ctx, p, w, limit)
	if reusable {
		s.rest(m)
	}
	return v, err
}

// enter waits for a slot.
func (e *Engine) enter(ctx context.Context) error {
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) leave() { <-e.slots }

// kinds is what the kernel knows of the platform's objects.
func kinds() map[string][]string {
	out := map[string][]string{}
	for _, k := range model.Kinds() {
		out[string(k)] = model.Fixed(k)
	}
	return out
}
