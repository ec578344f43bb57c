package script

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"modernc.org/quickjs"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

//go:embed kernel.js
var kernelSource string

// stackSlots bounds the depth of calls. The engine's own default would overrun
// the stack of a goroutine, which ends the process and cannot be caught.
const stackSlots = 4000

// gcThreshold is how much a machine allocates before it looks for cycles.
// Counted references free nearly everything at once, and most machines are gone
// before they have used that much.
const gcThreshold = 2 << 20

// mark is the member that marks values on their way between Go and scripts. It
// is new in every process, so that no document can hold it.
var mark = "~" + rand.Text()

// A machine is one virtual machine with its kernel. It is not safe for
// concurrent use.
type machine struct {
	engine *Engine
	js     *quickjs.VM
	inner  inner
	run    quickjs.Value
	settle quickjs.Value
	extend quickjs.Value
	added  uint64 // the extras it has, by their bits

	// of the evaluation that runs
	world World
	ctx   context.Context
	cause error // the last that a host function returned
	watch watch
}

// compileKernel returns the bytecode of the kernel with a prelude, and that of
// the extras.
func compileKernel(prelude string, extras []Extra) (kernel []byte, more [][]byte, err error) {
	js, err := quickjs.NewVM()
	if err != nil {
		return nil, nil, err
	}
	defer js.Close()
	js.SetMaxStackSize(stackSlots)
	known, err := json.Marshal(kinds())
	if err != nil {
		return nil, nil, err
	}
	if strings.TrimSpace(prelude) == "" {
		prelude = "null"
	}
	// The prelude is compiled with the kernel, so that a machine parses neither.
	source := strings.TrimSpace(kernelSource) + "(globalThis.__host, globalThis.__mark, " + string(known) +
		", globalThis.__clock, globalThis.__output, (" + prelude + "\n))"
	if kernel, err = js.Compile(source, quickjs.EvalGlobal); err != nil {
		return nil, nil, fmt.Errorf("script kernel: %w", err)
	}
	for _, x := range extras {
		b, err := js.Compile("("+x.Source+"\n)", quickjs.EvalGlobal)
		if err != nil {
			return nil, nil, fmt.Errorf("script extra %s: %w", strings.Join(x.Names, " "), err)
		}
		more = append(more, b)
	}
	return kernel, more, nil
}

// add loads the extras that a script mentions.
func (m *machine) add(want uint64) error {
	for i, code := range m.engine.extras {
		if want&^m.added&(1<<i) == 0 {
			continue
		}
		f, err := m.js.EvalBytecodeValue(code)
		if err != nil {
			return err
		}
		_, err = m.extend.Call(quickjs.UndefinedValue, f)
		f.Free()
		if err != nil {
			return err
		}
		m.added |= 1 << i
	}
	return nil
}

func (e *Engine) newMachine() (*machine, error) {
	js, err := quickjs.NewVM()
	if err != nil {
		return nil, fmt.Errorf("new script machine: %w", err)
	}
	m := &machine{engine: e, js: js}
	if m.inner, err = innerOf(js); err != nil {
		js.Close()
		return nil, err
	}
	js.SetMaxStackSize(stackSlots)
	js.SetMemoryLimit(uintptr(e.options.Memory))
	js.SetGCThreshold(gcThreshold)
	if err := m.boot(); err != nil {
		m.close()
		return nil, fmt.Errorf("new script machine: %w", err)
	}
	return m, nil
}

func (m *machine) boot() error {
	if err := m.js.RegisterHostFunc("__host", m.host); err != nil {
		return err
	}
	g := m.js.GlobalObject()
	defer g.Free()
	for name, v := range map[string]any{"__mark": mark, "__clock": m.engine.options.Now != nil, "__output": m.engine.options.Output} {
		a, err := m.js.NewAtom(name)
		if err != nil {
			return err
		}
		if err := m.js.SetProperty(g, a, v); err != nil {
			return err
		}
	}
	tools, err := m.js.EvalBytecodeValue(m.engine.kernel)
	if err != nil {
		return err
	}
	defer tools.Free()
	for name, p := range map[string]*quickjs.Value{"run": &m.run, "settle": &m.settle, "extend": &m.extend} {
		a, err := m.js.NewAtom(name)
		if err != nil {
			return err
		}
		if *p, err = tools.GetPropertyValue(a); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) close() {
	defer func() {
		// What a fault left half done may fault once more. What cannot be freed
		// then stays.
		_ = recover()
	}()
	m.watch.end()
	for _, v := range []*quickjs.Value{&m.run, &m.settle, &m.extend} {
		if v.VM() != nil {
			v.Free()
		}
	}
	m.js.Close()
}

// eval runs a program; reusable says whether the machine is as it was. A
// machine that is not reusable closes itself.
//
// The script runs on a goroutine of its own, because what the engine does in
// one go, without looking for an interrupt, cannot be stopped: then the caller
// gets its answer, and the goroutine ends when the engine comes back.
func (m *machine) eval(ctx context.Context, p *Program, w World, limit time.Duration) (v any, reusable bool, err error) {
	m.world, m.ctx, m.cause = w, ctx, nil
	lost := m.watch.start(m, limit)
	stop := context.AfterFunc(ctx, m.watch.interrupt)
	defer stop()
	done := make(chan end, 1)
	m.engine.do(func() {
		var e end
		defer func() {
			if r := recover(); r != nil {
				// The engine's own fault, met so far only where it ran out of
				// memory while it described an error.
				e = end{err: m.broken(fmt.Errorf("out of memory: %v", r))}
			}
			m.world, m.ctx = nil, nil
			if !m.watch.end() || !e.reusable {
				m.close()
			}
			done <- e
		}()
		// A bad pointer in the engine is a panic here, not the process's end.
		debug.SetPanicOnFault(true)
		e.v, e.reusable, e.err = m.interpret(ctx, p, w, limit)
	})
	select {
	case e := <-done:
		return e.v, e.reusable, e.err
	case <-lost:
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		return nil, false, &LimitError{Limit: LimitTime, Allowed: limit.String()}
	}
}

// An end is how an evaluation ended.
type end struct {
	v        any
	reusable bool
	err      error
}

func (m *machine) interpret(ctx context.Context, p *Program, w World, limit time.Duration) (v any, reusable bool, err error) {
	if err := m.add(p.extras); err != nil {
		return nil, false, m.broken(err)
	}
	args := make([]any, 2, 8)
	args[0], args[1] = p.text, p.mode()
	if p.roams {
		for _, name := range w.Globals() {
			args = append(args, name)
		}
	} else {
		for _, name := range p.words {
			if _, ok := w.Global(name); ok {
				args = append(args, name)
			}
		}
	}
	r, err := m.run.Call(quickjs.UndefinedValue, args...)
	if err == nil && r == "p" {
		m.inner.jobs(m.watch.fired)
		r, err = m.settle.Call(quickjs.UndefinedValue)
	}
	if err != nil || m.watch.fired() {
		// The kernel catches whatever can be caught; what comes through is the
		// interrupt, or memory that did not suffice for the error itself.
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		if m.watch.fired() {
			return nil, false, &LimitError{Limit: LimitTime, Allowed: limit.String()}
		}
		return nil, false, m.broken(err)
	}
	return m.result(p, r)
}

// result reads what run and settle return.
func (m *machine) result(p *Program, r any) (v any, reusable bool, err error) {
	s, ok := r.(string)
	if !ok {
		v, err = m.decode(r)
		return v, !p.taints, err
	}
	s, spoilt := strings.CutPrefix(s, "!")
	reusable = !spoilt && !p.taints
	if s, failed := strings.CutPrefix(s, "e"); failed {
		err := m.fault(p, s)
		var l *LimitError
		return nil, reusable && !errors.As(err, &l), err
	}
	v, err = m.decode(s)
	return v, reusable, err
}

// host is the kernel's way out: with no name the clock, with "=" a global, else
// a function of the world.
func (m *machine) host(args []any) (any, error) {
	name, _ := args[0].(string)
	if name == "" {
		return float64(m.engine.options.Now().UnixMilli()), nil
	}
	if m.world == nil {
		return nil, errors.New("this evaluation is over")
	}
	if name == "=" {
		global, _ := args[1].(string)
		v, _ := m.world.Global(strings.TrimPrefix(global, "s"))
		return m.encode(v)
	}
	in := make([]any, len(args)-1)
	for i := range in {
		v, err := m.decode(args[i+1])
		if err != nil {
			return nil, m.keep(err)
		}
		in[i] = v
	}
	if !m.watch.pause() {
		return nil, errors.New("this evaluation is over")
	}
	v, err := m.call(name, in)
	m.watch.resume()
	if err != nil {
		return nil, m.keep(err)
	}
	return m.encode(v)
}

// call calls a function of the world, without a slot if it waits.
func (m *machine) call(name string, in []any) (any, error) {
	if w, ok := m.world.(Waiter); ok && w.Waits(name) {
		m.engine.leave()
		// The slot is the caller's to give back, so it is taken again in any case.
		defer func() { m.engine.slots <- struct{}{} }()
	}
	return m.world.Call(m.ctx, name, in)
}

func (m *machine) keep(err error) error {
	m.cause = err
	return err
}

// encode turns a value into what crosses: scalars as they are, else a tagged
// text.
func (m *machine) encode(v any) (any, error) {
	switch x := v.(type) {
	case nil, bool, quickjs.Undefined:
		return x, nil
	case int:
		return float64(x), nil
	case int64:
		return float64(x), nil
	case float64:
		return x, nil
	case string:
		if len(x) > m.engine.options.Input {
			return nil, m.keep(tooMuch(LimitInput, m.engine.options.Input))
		}
		return "s" + strings.ToValidUTF8(x, "\uFFFD"), nil
	case Undefined:
		return quickjs.Undefined{}, nil
	}
	enc := model.Encoder{Mark: mark}
	b, err := enc.Append([]byte{'j'}, v)
	if err != nil {
		return nil, m.keep(err)
	}
	if len(b) > m.engine.options.Input {
		return nil, m.keep(tooMuch(LimitInput, m.engine.options.Input))
	}
	if enc.Marked {
		b[0] = 'm'
	}
	return string(b), nil
}

// decode is the way back.
func (m *machine) decode(r any) (any, error) {
	switch r := r.(type) {
	case int:
		return int64(r), nil
	case float64:
		return number(r), nil
	case quickjs.Undefined:
		return nil, nil
	case *big.Int:
		return r.String(), nil
	case string:
		if r == "" || r == "u" {
			return nil, nil
		}
		if r[0] == 's' {
			return r[1:], nil
		}
		d := model.Decoder{Mark: mark}
		v, err := d.Decode([]byte(r[1:]))
		if err != nil {
			return nil, fmt.Errorf("what the script returned: %w", err)
		}
		return v, nil
	}
	return r, nil
}

// number is a whole number where a script's number is one that it holds
// exactly; what is no number is no value.
func number(f float64) any {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil
	case f == math.Trunc(f) && math.Abs(f) <= 1<<53 && !(f == 0 && math.Signbit(f)):
		return int64(f)
	}
	return f
}

// Undefined is what a host function returns for JavaScript's undefined; nil is
// null.
type Undefined struct{}

// A watch interrupts a machine when its script has run too long. Time spent in
// host functions does not count. The engine forgets an interrupt whenever it is
// called anew, so the watch repeats it until the evaluation ends.
//
// What counts is the processor's time, so that a script is not punished for the
// load of the machine: of the process, because threads have none of their own
// here, shared between the scripts that run. The wall's clock ends an evaluation
// that gets no processor at all.
type watch struct {
	mu    sync.Mutex
	m     *machine // nil: nothing runs
	timer *time.Timer
	begun time.Time
	cpu   time.Duration // spent when it began
	hard  time.Time     // the end, whatever the processor did
	left  time.Duration
	away  bool          // in a host function, which ends by its context
	over  bool          // interrupted
	ended time.Time     // when
	lost  chan struct{} // closed when the engine did not come back; nil: closed
}

const (
	again = 5 * time.Millisecond // how soon an interrupt is repeated
	grace = time.Second          // after which the caller does not wait any longer
	slack = 10                   // how many times the limit the wall's clock may show
)

// start begins an evaluation. The channel closes when it will not end.
func (w *watch) start(m *machine, limit time.Duration) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m, w.left, w.begun, w.cpu, w.over = m, limit, time.Now(), spent(), false
	w.hard = w.begun.Add(slack * limit)
	w.lost = make(chan struct{})
	if w.timer == nil {
		w.timer = time.AfterFunc(limit, w.expire)
	} else {
		w.timer.Reset(limit)
	}
	return w.lost
}

func (w *watch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil || w.away && !w.over {
		return
	}
	if left := w.left - w.usedLocked(); !w.over && left > 0 && time.Now().Before(w.hard) {
		w.timer.Reset(max(left, again))
		return
	}
	w.interruptLocked()
}

// usedLocked is how much of its time the script has had since it began, or went
// on, at most.
func (w *watch) usedLocked() time.Duration {
	share := (spent() - w.cpu) / time.Duration(max(1, len(w.m.engine.slots)))
	return min(share, time.Since(w.begun))
}

func (w *watch) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m != nil {
		w.interruptLocked()
	}
}

func (w *watch) interruptLocked() {
	if !w.over {
		w.over, w.ended = true, time.Now()
	}
	w.m.js.Interrupt()
	w.m.inner.hurry()
	if w.lost != nil && !w.away && time.Since(w.ended) >= grace {
		close(w.lost)
		w.lost = nil
	}
	w.timer.Reset(again)
}

// pause begins a host function; false says that the evaluation is over and
// nobody waits for it.
func (w *watch) pause() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	w.timer.Stop()
	w.left -= w.usedLocked()
	w.away = true
	return true
}

func (w *watch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = false
	if w.over {
		return
	}
	w.hard = w.hard.Add(time.Since(w.begun)) // at most: what came before the pause is given again
	w.begun, w.cpu = time.Now(), spent()
	w.timer.Reset(max(w.left, 0))
}

func (w *watch) fired() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over
}

// end ends the evaluation. It reports whether somebody waits for it.
func (w *watch) end() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m = nil
	if w.timer != nil {
		w.timer.Stop()
	}
	return w.lost != nil
}
