package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/store"
)

// Lifetime is how long a link may be used.
const Lifetime = 10 * time.Minute

var (
	// ErrUnknown says that no flow goes with a state, a link or an id, or that
	// it is used up or out of time. Which of these it is nobody is told.
	ErrUnknown = errors.New("this authorization is not known, was used already, or is out of time")
	// ErrBrowser says that the browser is not the one that opened the link.
	ErrBrowser = errors.New("this authorization was begun in another browser")
	// ErrChanged says that the connection is not what it was when the flow began.
	ErrChanged = errors.New("the connection was changed since this authorization began")
)

// A Sealer seals flows; *vault.Vault is one.
type Sealer interface {
	Seal(b freshet.Binding, plain []byte) ([]byte, error)
	Open(b freshet.Binding, sealed []byte) ([]byte, error)
	Digest(purpose string, s freshet.Secret) []byte
}

// A Grants speaks to providers; *grant.Sender is one.
type Grants interface {
	AuthorizeURL(ctx context.Context, def *freshet.Definition, p grant.AuthorizeParams) (string, error)
	CheckCallback(ctx context.Context, def *freshet.Definition, q url.Values) (freshet.Secret, error)
	StartDevice(ctx context.Context, def *freshet.Definition) (grant.Device, error)
}

// A Source asks for the token and stores it; *refresh.Source is one.
type Source interface {
	Obtain(ctx context.Context, name string, a grant.Ask, otherAccount bool) (grant.Outcome, error)
}

// Options are what Flows are made of. All but the last four are required.
type Options struct {
	Store       *store.Store
	Sealer      Sealer
	Definitions refresh.Definitions
	Grants      Grants
	Source      Source
	// RedirectURI is the redirect URI of clients that name none: the base URL
	// and /callback/oauth2.
	RedirectURI string

	Shared bool // other processes work on the same rows
	Now    func() time.Time
	Log    *slog.Logger
	Ended  func(Ended) // called for each flow that ends; it must not block
}

// An Ended is how a flow ended.
type Ended struct {
	Flow, Connection, Kind string
	Actor                  string // who began it
	Done                   bool
	Detail                 string
}

// Flows are the authorizations under way. They are safe for concurrent use.
type Flows struct {
	o    Options
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	active  map[string]bool            // taken by this process and not ended
	waiters map[string][]chan struct{} // closed when the flow ends
}

// New returns Flows whose device flows are polled until Close.
func New(o Options) *Flows {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ended == nil {
		o.Ended = func(Ended) {}
	}
	f := &Flows{o: o, active: map[string]bool{}, waiters: map[string][]chan struct{}{}}
	life, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.wg.Add(1)
	go f.poll(life)
	return f
}

// Close stops polling and waits for the exchanges that are under way.
func (f *Flows) Close() {
	f.stop()
	f.wg.Wait()
}

// A Status is how far a flow is.
type Status struct {
	Flow       string
	Connection string
	Kind       string // authorization_code or device_code
	State      string // pending, done or failed
	Detail     string // in words, "" while nothing is wrong
	CreatedAt  time.Time
	ExpiresAt  time.Time
}

// The states of a flow.
const (
	Pending = "pending"
	Done    = "done"
	Failed  = "failed"
)

// Status returns how far a flow is, or ErrUnknown.
func (f *Flows) Status(ctx context.Context, id string) (Status, error) {
	row, err := f.o.Store.Flow(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Status{}, ErrUnknown
	} else if err != nil {
		return Status{}, fmt.Errorf("flow %s: %w", id, err)
	}
	st := Status{Flow: row.ID, Connection: row.Connection, Kind: row.Kind, State: row.Status, Detail: row.Detail, CreatedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt}
	late := !f.o.Now().Before(row.ExpiresAt)
	f.mu.Lock()
	ours := f.active[id]
	f.mu.Unlock()
	switch {
	case row.Status == Pending && late && !ours:
		st.State, st.Detail = Failed, "nobody finished it in time; start again"
	case row.Status == "taken" && !ours && (!f.o.Shared || late):
		// Whoever took it died between the code's leaving and the token's
		// arrival. The code was sent, and is never sent again.
		st.State, st.Detail = Failed, "it was interrupted after the provider had answered; start again"
	case row.Status == "taken":
		st.State = Pending
	}
	return st, nil
}

// Wait is Status, but waits up to d for the flow to end.
func (f *Flows) Wait(ctx context.Context, id string, d time.Duration) (Status, error) {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for {
		ended := make(chan struct{})
		f.mu.Lock()
		f.waiters[id] = append(f.waiters[id], ended)
		f.mu.Unlock()
		st, err := f.Status(ctx, id)
		if err != nil || st.State != Pending || d <= 0 {
			f.leave(id, ended)
			return st, err
		}
		// Another process may end it, and time does.
		again := time.NewTimer(time.Second)
		select {
		case <-ended:
		case <-again.C:
		case <-deadline.C:
			d = 0
		case <-ctx.Done():
			again.Stop()
			f.leave(id, ended)
			return st, ctx.Err()
		}
		again.Stop()
		f.leave(id, ended)
	}
}

func (f *Flows) leave(id string, ch chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.waiters[id]
	for i := range list {
		if list[i] == ch {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(f.waiters, id)
	} else {
		f.waiters[id] = list
	}
}

// begin marks a flow as this process's until end.
func (f *Flows) begin(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active[id] = true
}

// end stores how a flow ended and tells those who wait.
func (f *Flows) end(row store.Flow, r *record, done bool, detail string) {
	status := Failed
	if done {
		status = Done
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := f.o.Store.EndFlow(ctx, row.ID, status, detail); err != nil {
		// The row stays taken, which people see as interrupted.
		f.o.Log.Warn("end of an authorization not recorded", "connection", row.Connection, "error", err)
	}
	f.mu.Lock()
	delete(f.active, row.ID)
	waiting := f.waiters[row.ID]
	delete(f.waiters, row.ID)
	f.mu.Unlock()
	for _, ch := range waiting {
		close(ch)
	}
	f.o.Ended(Ended{Flow: row.ID, Connection: row.Connection, Kind: row.Kind, Actor: r.Actor, Done: done, Detail: detail})
	f.o.Log.Info("authorization ended", "connection", row.Connection, "kind", row.Kind, "done", done, "detail", detail)
}

// obtained says in words what an exchange led to.
func obtained(out grant.Outcome, err error) (done bool, detail string) {
	var subject *refresh.SubjectError
	switch {
	case errors.As(err, &subject):
		return false, fmt.Sprintf("this is the account %q, the connection had %q; nothing was changed. To take the new account, connect again and confirm it (other_account)", subject.Got, subject.Had)
	case err != nil:
		var dup *refresh.DuplicateError
		if errors.As(err, &dup) {
			return false, dup.Error()
		}
		var state *freshet.StateError
		if errors.As(err, &state) {
			return false, state.Error()
		}
		return false, "the token could not be stored; start again when the server's log says that the cause is gone"
	case out.Err != nil && out.Err.Code == "access_denied":
		return false, "the person who was asked refused it"
	case out.Err != nil && out.Err.Code == "expired_token":
		return false, "nobody confirmed it in time; start again"
	case out.Err != nil:
		return false, out.Err.Error()
	case out.Token == nil:
		return false, "the provider's answer held no access token; start again"
	}
	return true, ""
}
