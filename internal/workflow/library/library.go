package library

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow"
)

// Store keeps versions; *store.Store is one.
type Store interface {
	Workflow(ctx context.Context, name string) (store.Workflow, error)
	Workflows(ctx context.Context, after string, limit int) ([]store.Workflow, error)
	WorkflowVersion(ctx context.Context, id string, number int64) (store.WorkflowVersion, error)
	WorkflowVersions(ctx context.Context, id string, below int64, limit int) ([]store.WorkflowVersion, error)
	Change(ctx context.Context, fn func(c *store.Change) error) error
}

// Sealer seals files; *vault.Vault is one.
type Sealer interface {
	Seal(b freshet.Binding, plaintext []byte) ([]byte, error)
	Open(b freshet.Binding, sealed []byte) ([]byte, error)
}

// Options are what a Library is made of. Store and Sealer are required.
type Options struct {
	Store  Store
	Sealer Sealer
	// CacheSize bounds the versions kept in memory; 0: 512.
	CacheSize int
}

// A Library keeps workflows. It is safe for concurrent use.
type Library struct {
	o     Options
	index atomic.Pointer[index]

	mu       sync.Mutex // of loading and of watchers
	watchers []func()
	loaded   int // versions in memory
}

// New returns a library. The first lookup reads the index.
func New(o Options) *Library {
	if o.CacheSize <= 0 {
		o.CacheSize = 512
	}
	return &Library{o: o}
}

// A NotFoundError says that no published workflow answers. It is
// freshet.ErrNotFound.
type NotFoundError struct {
	What  string // name, id or tag
	Value string
	Draft bool // it is there, and was never published
}

// Error says what to do where the workflow is only a draft.
func (e *NotFoundError) Error() string {
	if e.Draft {
		return fmt.Sprintf("workflow %s is a draft: publish it first", e.Value)
	}
	if e.What == "name" {
		return fmt.Sprintf("there is no workflow %s", e.Value)
	}
	return fmt.Sprintf("there is no published workflow with the %s %s", e.What, e.Value)
}

// Is lets errors.Is(err, freshet.ErrNotFound) hold.
func (e *NotFoundError) Is(target error) bool { return target == freshet.ErrNotFound }

// An entry is one workflow in the index. Its published version is loaded when
// somebody asks for it.
type entry struct {
	store.Workflow
	version atomic.Pointer[workflow.Version]
}

// index is everything a lookup needs, replaced as a whole.
type index struct {
	list         []*entry // in order of name
	name, id     map[string]*entry
	definitionID map[string]*entry // of published files; the first name wins
	tag          map[string]*entry
}

// page is how many rows are held at once where all are looked at.
const page = 500

// load reads the index. Versions that are still the published ones stay.
func (l *Library) load(ctx context.Context) (*index, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := &index{name: map[string]*entry{}, id: map[string]*entry{}, definitionID: map[string]*entry{}, tag: map[string]*entry{}}
	old := l.index.Load()
	after := ""
	kept := 0
	for {
		rows, err := l.o.Store.Workflows(ctx, after, page)
		if err != nil {
			return nil, fmt.Errorf("read the index of workflows: %w", err)
		}
		for _, w := range rows {
			e := &entry{Workflow: w}
			if old != nil {
				if was := old.id[w.ID]; was != nil && was.Published == w.Published && was.Name == w.Name {
					if v := was.version.Load(); v != nil {
						e.version.Store(v)
						kept++
					}
				}
			}
			x.list = append(x.list, e)
			x.name[w.Name], x.id[w.ID] = e, e
			first(x.definitionID, w.DefinitionID, e) // blank while nothing is published
			first(x.tag, w.Tag, e)
			after = w.Name
		}
		if len(rows) < page {
			break
		}
	}
	l.loaded = kept
	l.index.Store(x)
	return x, nil
}

func first(m map[string]*entry, key string, e *entry) {
	if _, ok := m[key]; !ok && key != "" {
		m[key] = e
	}
}

func (l *Library) current(ctx context.Context) (*index, error) {
	if x := l.index.Load(); x != nil {
		return x, nil
	}
	return l.load(ctx)
}

// Changed reads the index anew and tells the watchers. Whoever writes a
// workflow calls it after the write is durable; so does who hears of another
// process's write.
func (l *Library) Changed(ctx context.Context) error {
	_, err := l.load(ctx)
	if err != nil {
		l.index.Store(nil) // the next lookup tries again, rather than to answer with what is gone
	}
	l.mu.Lock()
	watchers := l.watchers
	l.mu.Unlock()
	for _, f := range watchers {
		f()
	}
	return err
}

// Watch has f called after every change, also of other processes, when lookups
// see it. f must not block; it may be called from several goroutines at once.
func (l *Library) Watch(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = append(l.watchers[:len(l.watchers):len(l.watchers)], f)
}

// Published returns the published version of a name. The error is a
// *NotFoundError.
func (l *Library) Published(ctx context.Context, name string) (*workflow.Version, error) {
	x, err := l.current(ctx)
	if err != nil {
		return nil, err
	}
	return l.published(ctx, x.name[name], "name", name)
}

// ByID returns the published version of a workflow by our id, or by the
// definitionId of its file.
func (l *Library) ByID(ctx context.Context, id string) (*workflow.Version, error) {
	x, err := l.current(ctx)
	if err != nil {
		return nil, err
	}
	e := x.id[id]
	if e == nil {
		e = x.definitionID[id]
	}
	return l.published(ctx, e, "id", id)
}

// ByTag returns the published version of the first workflow, in order of name,
// whose file has the tag.
func (l *Library) ByTag(ctx context.Context, tag string) (*workflow.Version, error) {
	x, err := l.current(ctx)
	if err != nil {
		return nil, err
	}
	return l.published(ctx, x.tag[tag], "tag", tag)
}

// AllPublished returns every published version, in order of name. With an error
// it returns those that could be read.
func (l *Library) AllPublished(ctx context.Context) ([]*workflow.Version, error) {
	x, err := l.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []*workflow.Version
	var errs []error
	for _, e := range x.list {
		if e.Workflow.Published == 0 {
			continue
		}
		v, err := l.published(ctx, e, "name", e.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, v)
	}
	return out, errors.Join(errs...)
}

func (l *Library) published(ctx context.Context, e *entry, what, value string) (*workflow.Version, error) {
	if e == nil || e.Workflow.Published == 0 {
		return nil, &NotFoundError{What: what, Value: value, Draft: e != nil}
	}
	if v := e.version.Load(); v != nil {
		return v, nil
	}
	row, err := l.o.Store.WorkflowVersion(ctx, e.ID, e.Workflow.Published)
	if errors.Is(err, store.ErrNotFound) { // deleted since the index was read
		return nil, &NotFoundError{What: what, Value: value}
	}
	if err != nil {
		return nil, err
	}
	v, _, err := l.open(e.Name, row, true)
	if err != nil {
		return nil, err
	}
	if e.version.CompareAndSwap(nil, v) {
		l.mu.Lock()
		l.loaded++
		if l.loaded > l.o.CacheSize {
			l.forget(e)
		}
		l.mu.Unlock()
	}
	return v, nil
}

// forget drops versions until half of the room is free; l.mu is held.
func (l *Library) forget(keep *entry) {
	x := l.index.Load()
	if x == nil {
		return
	}
	for _, e := range x.id { // in no order: which go is chance
		if l.loaded <= l.o.CacheSize/2 {
			return
		}
		if e != keep && e.version.Swap(nil) != nil {
			l.loaded--
		}
	}
}

// Numbered returns any version of a workflow, by our id: what a run that has
// begun goes on with. The error wraps freshet.ErrNotFound.
func (l *Library) Numbered(ctx context.Context, id string, number int) (*workflow.Version, error) {
	x, err := l.current(ctx)
	if err != nil {
		return nil, err
	}
	e := x.id[id]
	if e == nil {
		return nil, &NotFoundError{What: "id", Value: id}
	}
	if int64(number) == e.Workflow.Published {
		return l.published(ctx, e, "id", id)
	}
	row, err := l.o.Store.WorkflowVersion(ctx, id, int64(number))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("workflow %s has no version %d: %w", e.Name, number, freshet.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	v, _, err := l.open(e.Name, row, false)
	return v, err
}

// File returns a version of a name, 0 for the newest, with its file as somebody
// wrote it. The error wraps freshet.ErrNotFound.
func (l *Library) File(ctx context.Context, name string, number int) (*workflow.Version, []byte, error) {
	w, err := l.o.Store.Workflow(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, &NotFoundError{What: "name", Value: name}
	}
	if err != nil {
		return nil, nil, err
	}
	if number == 0 {
		number = int(w.Latest)
	}
	row, err := l.o.Store.WorkflowVersion(ctx, w.ID, int64(number))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, fmt.Errorf("workflow %s has no version %d: %w", name, number, freshet.ErrNotFound)
	}
	if err != nil {
		return nil, nil, err
	}
	return l.open(name, row, int64(number) == w.Published)
}

// Rows lists workflows in order of name, after the given name, at most limit.
func (l *Library) Rows(ctx context.Context, after string, limit int) ([]store.Workflow, error) {
	return l.o.Store.Workflows(ctx, after, limit)
}

// Get returns a workflow's row. The error is a *NotFoundError.
func (l *Library) Get(ctx context.Context, name string) (store.Workflow, error) {
	w, err := l.o.Store.Workflow(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return w, &NotFoundError{What: "name", Value: name}
	}
	return w, err
}

// Versions lists versions of a workflow, the newest first, below a number (0:
// from the newest).
func (l *Library) Versions(ctx context.Context, id string, below int64, limit int) ([]store.WorkflowVersion, error) {
	return l.o.Store.WorkflowVersions(ctx, id, below, limit)
}
