package run

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/freshet-dev/freshet/internal/redact"
	"github.com/freshet-dev/freshet/internal/store"
)

// Options are what a Journal is made of. Store is required.
type Options struct {
	Store   *store.Store
	Values  *redact.Values   // secrets that are known everywhere; may be nil
	Alone   bool             // no other process uses the store: whoever else owned a run is dead
	Keep    Keep             // what Trim leaves
	Now     func() time.Time // nil: time.Now
	Log     *slog.Logger     // nil: silence
	Observe func(Event)      // must not block; nil: nobody
}

// Keep bounds the journal.
type Keep struct {
	For   time.Duration
	Count int
}

// A Journal keeps runs.
type Journal struct{ o Options }

// A Recorder writes one run.
type Recorder struct{ id ID }

var errNotYet = errors.New("run: the journal is being built")

func New(o Options) *Journal                                                 { return &Journal{o} }
func (j *Journal) Begin(ctx context.Context, s Start) (*Recorder, error)     { return nil, errNotYet }
func (j *Journal) Create(ctx context.Context, s Start) (ID, error)           { return "", errNotYet }
func (j *Journal) Resume(ctx context.Context, id ID) (*Recorder, error)      { return nil, errNotYet }
func (j *Journal) Interrupted(ctx context.Context, limit int) ([]Run, error) { return nil, errNotYet }
func (j *Journal) Interrupt(ctx context.Context, id ID) error                { return errNotYet }
func (j *Journal) Get(ctx context.Context, id ID) (Run, error)               { return Run{}, errNotYet }
func (j *Journal) Trim(ctx context.Context, now time.Time) error             { return errNotYet }
func (j *Journal) Close(ctx context.Context) error                           { return nil }
func (r *Recorder) ID() ID                                                   { return r.id }
func (r *Recorder) CorrelationID() string                                    { return "" }
func (r *Recorder) Step(s Step) int                                          { return 0 }
func (r *Recorder) Correlate(id string)                                      {}
func (r *Recorder) Secret(values ...string)                                  {}
func (r *Recorder) Warn(text string)                                         {}
func (r *Recorder) Suspend(ctx context.Context) error                        { return errNotYet }
func (r *Recorder) End(ctx context.Context, e End) error                     { return errNotYet }
