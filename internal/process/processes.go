package process

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// Store keeps instances; *store.Store is one.
type Store interface {
	ProcessInstance(ctx context.Context, name string) (store.ProcessInstance, error)
	ProcessInstances(ctx context.Context, process string, after int64, limit int) ([]store.ProcessInstance, error)
	Change(ctx context.Context, fn func(c *store.Change) error) error
	AppendEvents(ctx context.Context, events ...store.Event) error
	TakeWorkflowLock(ctx context.Context, key, owner string, lease time.Duration) (bool, error)
	DropWorkflowLock(ctx context.Context, key, owner string) error
}

// Sealer seals what fields hold; *vault.Vault is one.
type Sealer interface {
	Seal(b freshet.Binding, plaintext []byte) ([]byte, error)
	Open(b freshet.Binding, sealed []byte) ([]byte, error)
}

// Definitions are what people declared. Errors wrap freshet.ErrNotFound.
type Definitions interface {
	Process(ctx context.Context, name string) (p *freshet.Process, id string, err error)
	Service(ctx context.Context, name string) (*freshet.Service, error)
}

// Options are what Processes are made of. The first four are required.
type Options struct {
	Store       Store
	Sealer      Sealer
	Definitions Definitions
	Journal     *run.Journal

	Expressions *expr.Evaluator                              // nil: conditions and expressions are refused
	Outbound    outbound.Options                             // how calls leave
	Mutual      func(cert tls.Certificate) http.RoundTripper // guarded, with a client certificate; nil: refused
	Values      *redact.Values                               // is told of secrets that are opened
	Alone       bool                                         // no other process uses the store
	Moved       func()                                       // told when a timer was written: schedule.Poller.Nudge
	Longest     time.Duration                                // of one press; 0: 10 minutes
	Now         func() time.Time                             // nil: time.Now
	Log         *slog.Logger                                 // nil: silence
}

// Processes presses buttons and keeps instances. It is safe for concurrent use,
// also by several servers over one store.
type Processes struct {
	o     Options
	locks locks

	mu     sync.Mutex
	closed bool
	live   sync.WaitGroup
	stop   context.CancelFunc
	life   context.Context
}

// New returns the processes of a server. Close them.
func New(o Options) *Processes {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Longest <= 0 {
		o.Longest = 10 * time.Minute
	}
	if o.Moved == nil {
		o.Moved = func() {}
	}
	p := &Processes{o: o}
	p.locks.init(o)
	p.life, p.stop = context.WithCancel(context.Background())
	return p
}

// ErrClosed says that no press begins any more.
var ErrClosed = errors.New("the server is ending")

// enter admits a press, which ends with p.live.Done.
func (p *Processes) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.live.Add(1)
	return nil
}

// Close waits for presses to end, until ctx does; what goes on then is told to
// stop.
func (p *Processes) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		p.live.Wait()
		close(done)
	}()
	defer p.stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		p.stop()
		<-done
		return ctx.Err()
	}
}

// A NotFoundError names an instance that is not there. It is
// freshet.ErrNotFound.
type NotFoundError struct{ Process, Instance string }

// Error says what to do.
func (e *NotFoundError) Error() string {
	return fmt.Sprintf("process %s has no instance %s: it was deleted, or never saved; name another one, or none for a new one", e.Process, e.Instance)
}

// Is lets errors.Is(err, freshet.ErrNotFound) hold.
func (e *NotFoundError) Is(target error) bool { return target == freshet.ErrNotFound }

// A FieldError says that a form has no field of the name. It is
// freshet.ErrNotFound.
type FieldError struct{ Of, Field string }

// Error names both.
func (e *FieldError) Error() string { return fmt.Sprintf("%s has no field %s", e.Of, e.Field) }

// Is lets errors.Is(err, freshet.ErrNotFound) hold.
func (e *FieldError) Is(target error) bool { return target == freshet.ErrNotFound }

// An Instance is a saved form as people may see it: fields that are declared
// secret are freshet.Redacted, or empty if they are.
type Instance struct {
	ID            string // PROCESS-N
	Process       string
	Fields        map[string]any
	CreatedAt     time.Time
	SavedAt       time.Time
	SavedBy       string
	ExpiresAt     time.Time // of the token that the fields hold; zero: they do not say
	RefreshExpiry time.Time
	Lifetime      time.Duration // of the token when it was issued; 0: unknown
	Number        int64
}

func (p *Processes) show(d *freshet.Process, in store.ProcessInstance, fields map[string]any) *Instance {
	out := &Instance{ID: in.Name, Process: in.Of, Fields: masked(d, fields), CreatedAt: in.CreatedAt, SavedAt: in.SavedAt, SavedBy: in.SavedBy, ExpiresAt: in.ExpiresAt, RefreshExpiry: in.RefreshExpiry, Number: in.Number}
	if !in.ExpiresAt.IsZero() && !in.IssuedAt.IsZero() {
		out.Lifetime = in.ExpiresAt.Sub(in.IssuedAt)
	}
	return out
}

// masked is every field of a form, those that are secret without their values.
func masked(d *freshet.Process, fields map[string]any) map[string]any {
	out := make(map[string]any, len(d.Fields))
	for i := range d.Fields {
		f := &d.Fields[i]
		v := fields[f.Name]
		switch {
		case v == nil:
			v = ""
		case f.Secret && v != "":
			v = freshet.Redacted
		}
		out[f.Name] = v
	}
	return out
}

func binding(in *store.ProcessInstance) freshet.Binding {
	return freshet.Binding{Table: "process_instances", Row: in.ID, Column: "fields", Generation: in.Revision}
}

func seal(s Sealer, in *store.ProcessInstance, fields map[string]any) error {
	plain, err := json.Marshal(fields)
	if err == nil {
		in.Sealed, err = s.Seal(binding(in), plain)
	}
	if err != nil {
		return fmt.Errorf("seal instance %s: %w", in.Name, err)
	}
	return nil
}

func (p *Processes) open(in store.ProcessInstance) (map[string]any, error) {
	plain, err := p.o.Sealer.Open(binding(&in), in.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open instance %s: %w", in.Name, err)
	}
	v, err := model.ParseJSON(plain)
	if err != nil {
		return nil, fmt.Errorf("read instance %s: it is not what was sealed", in.Name)
	}
	fields, _ := model.Plain(v).(map[string]any)
	if fields == nil {
		fields = map[string]any{}
	}
	return fields, nil
}

// row reads an instance of a process. "" for the process is any.
func (p *Processes) row(ctx context.Context, process, instance string) (store.ProcessInstance, error) {
	in, err := p.o.Store.ProcessInstance(ctx, instance)
	if errors.Is(err, store.ErrNotFound) || err == nil && process != "" && in.Of != process {
		return in, &NotFoundError{process, instance}
	}
	return in, err
}

// Instance returns a saved instance. Errors wrap freshet.ErrNotFound for a
// process or an instance that is not there.
func (p *Processes) Instance(ctx context.Context, process, instance string) (*Instance, error) {
	d, _, err := p.o.Definitions.Process(ctx, process)
	if err != nil {
		return nil, err
	}
	return p.instance(ctx, d, instance)
}

func (p *Processes) instance(ctx context.Context, d *freshet.Process, instance string) (*Instance, error) {
	in, err := p.row(ctx, d.Name, instance)
	if err != nil {
		return nil, err
	}
	fields, err := p.open(in)
	if err != nil {
		return nil, err
	}
	return p.show(d, in, fields), nil
}

// Instances lists saved instances of a process in order of number, after the
// given number, at most limit.
func (p *Processes) Instances(ctx context.Context, process string, after int64, limit int) ([]*Instance, error) {
	d, _, err := p.o.Definitions.Process(ctx, process)
	if err != nil {
		return nil, err
	}
	rows, err := p.o.Store.ProcessInstances(ctx, process, after, limit)
	out := make([]*Instance, 0, len(rows))
	for _, in := range rows {
		fields, err := p.open(in)
		if err != nil {
			return nil, err
		}
		out = append(out, p.show(d, in, fields))
	}
	return out, err
}

// Enter saves values that a person enters into fields: of an instance, or with
// "" of a new one. Other fields stay; freshet.Redacted keeps what a secret field
// holds. by goes on record.
func (p *Processes) Enter(ctx context.Context, process, instance string, values map[string]any, by string) (*Instance, error) {
	d, id, err := p.o.Definitions.Process(ctx, process)
	if err != nil {
		return nil, err
	}
	given, err := p.entered(d, values)
	if err != nil {
		return nil, err
	}
	in, fields, err := p.save(ctx, d, id, instance, given, by)
	if err != nil {
		return nil, err
	}
	return p.show(d, in, fields), nil
}

// entered checks values from outside.
func (p *Processes) entered(d *freshet.Process, values map[string]any) (map[string]any, error) {
	given := make(map[string]any, len(values))
	for n, v := range values {
		f := d.Field(n)
		if f == nil {
			return nil, &FieldError{"process " + d.Name, n}
		}
		if f.Secret && v == freshet.Redacted {
			continue
		}
		if v == nil {
			v = ""
		}
		given[n] = model.Plain(v)
		if text, ok := v.(string); f.Secret && ok {
			p.known(text)
		}
	}
	return given, nil
}

// Delete removes an instance. The error wraps freshet.ErrNotFound if it is not
// there.
func (p *Processes) Delete(ctx context.Context, process, instance string) error {
	in, err := p.row(ctx, process, instance)
	if err != nil {
		return err
	}
	err = p.o.Store.Change(ctx, func(c *store.Change) error {
		if err := c.DeleteTimersOf(KindExpiry, in.ID); err != nil {
			return err
		}
		return c.DeleteProcessInstance(in.ID)
	})
	if errors.Is(err, store.ErrNotFound) {
		return &NotFoundError{process, instance}
	}
	return err
}

// save writes fields that have changed over an instance as it is, or makes a new
// one, in one transaction.
func (p *Processes) save(ctx context.Context, d *freshet.Process, id, instance string, changed map[string]any, by string) (in store.ProcessInstance, fields map[string]any, err error) {
	write := func(c *store.Change) error {
		fields = map[string]any{}
		put := func(from map[string]any) {
			for i := range d.Fields {
				n := d.Fields[i].Name
				if v, ok := changed[n]; ok {
					fields[n] = v
				} else if v, ok := from[n]; ok {
					fields[n] = v
				}
			}
		}
		var err error
		if instance == "" {
			put(nil)
			in, err = c.AddProcessInstance(p.aged(d, store.ProcessInstance{Process: id, SavedBy: by}, fields, c.Now()), func(in *store.ProcessInstance) error { return seal(p.o.Sealer, in, fields) })
		} else {
			if in, err = c.ProcessInstance(instance); errors.Is(err, store.ErrNotFound) || err == nil && in.Process != id {
				return &NotFoundError{d.Name, instance}
			} else if err != nil {
				return err
			}
			was, err := p.open(in)
			if err != nil {
				return err
			}
			put(was)
			in.Revision, in.SavedBy, in.SavedAt = in.Revision+1, by, c.Now()
			in = p.aged(d, in, fields, c.Now())
			if err := seal(p.o.Sealer, &in, fields); err != nil {
				return err
			}
			if err := c.SaveProcessInstance(in); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		return watch(c, in)
	}
	for range 8 {
		if err = p.o.Store.Change(ctx, write); !errors.Is(err, store.ErrStale) {
			break
		}
	}
	if err == nil && d.Expiry != nil {
		p.o.Moved()
	}
	return in, fields, err
}

// Field returns the saved value of a field of an instance, whatever process it
// is of: processField("TokenKeeper-1", "AccessToken"). Secrets are opened, and
// masked from then on wherever this server writes.
func (p *Processes) Field(ctx context.Context, instance, field string) (any, error) {
	v, secret, err := p.field(ctx, instance, field)
	if text, ok := v.(string); ok && secret {
		p.known(text)
	}
	return v, err
}

func (p *Processes) field(ctx context.Context, instance, field string) (v any, secret bool, err error) {
	in, err := p.row(ctx, "", instance)
	if errors.Is(err, freshet.ErrNotFound) {
		return nil, false, fmt.Errorf("there is no instance %s of a process: it was deleted, or never saved: %w", instance, freshet.ErrNotFound)
	} else if err != nil {
		return nil, false, err
	}
	d, _, err := p.o.Definitions.Process(ctx, in.Of)
	if err != nil {
		return nil, false, err
	}
	f := d.Field(field)
	if f == nil {
		return nil, false, &FieldError{"process " + in.Of, field}
	}
	fields, err := p.open(in)
	if err != nil {
		return nil, false, err
	}
	if v = fields[field]; v == nil {
		v = ""
	}
	return v, f.Secret, nil
}

// Lookup fills in process.INSTANCE.FIELD in the templates of resources.
func (p *Processes) Lookup(path string) (any, bool) {
	instance, field, ok := other(trimPrefix(path, "process."))
	if !ok || path == trimPrefix(path, "process.") {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(p.life, 5*time.Second)
	defer cancel()
	v, err := p.Field(ctx, instance, field)
	if err != nil {
		p.o.Log.Warn("a field is not there", "instance", instance, "field", field, "error", err)
		return nil, false
	}
	return v, true
}

func trimPrefix(s, prefix string) string {
	if len(s) > len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):]
	}
	return s
}

// known tells whoever masks of secrets. Short ones would turn up in ordinary
// words.
func (p *Processes) known(values ...string) {
	for _, v := range values {
		if len(v) >= 6 {
			p.o.Values.Add(v)
		}
	}
}

// Declare makes the row of a process and the instances that are its seeds, in
// the transaction that writes the declaration. Instances that are there stay.
func Declare(c *store.Change, s Sealer, id string, d *freshet.Process) error {
	if err := c.PutProcess(id, d.Name); err != nil {
		return err
	}
	p := &Processes{o: Options{Sealer: s}}
	for i, seed := range d.Instances {
		if _, err := c.ProcessInstance(fmt.Sprintf("%s-%d", d.Name, i+1)); err == nil {
			continue
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		fields := map[string]any{}
		for n, v := range seed {
			if fields[n] = v.Text; !v.Secret.IsZero() {
				fields[n] = v.Secret.Reveal()
			}
		}
		in, err := c.AddProcessInstance(p.aged(d, store.ProcessInstance{Process: id, Number: int64(i + 1), SavedBy: "config"}, fields, c.Now()),
			func(in *store.ProcessInstance) error { return seal(s, in, fields) })
		if err != nil {
			return err
		}
		if err := watch(c, in); err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets a process with its instances, in the transaction that deletes
// the declaration.
func Remove(c *store.Change, id string) error {
	instances, err := c.DeleteProcess(id)
	for _, in := range instances {
		err = errors.Join(err, c.DeleteTimersOf(KindExpiry, in))
	}
	return err
}
