// Package storetest is what a database has to pass to be one of Freshet's: the
// meaning of every method of store.Store, and what happens when many callers
// want the same row. An adapter runs it over fresh databases:
//
//	func TestStore(t *testing.T) { storetest.Run(t, open) }
//
// Names are compared as bytes: a database that sorts by language needs a
// collation for that.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Run runs the suite. Each call of open returns a store over an empty database
// of the present schema, and sees to its end.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Seam", seam}, {"Token", tokens}, {"Attempt", attempts}, {"Due", dues}, {"Race", races},
		{"Resource", resources}, {"Record", records}, {"Key", keys}, {"Flow", flows}, {"Outbox", letters}, {"Sealed", sealed}, {"Replica", replicas},
		{"Table", tables},
		{"Workflow", workflows},
		{"App", apps},
		{"Run", runs},
		{"Instance", instances},
		{"Process", processes},
		{"Component", components},
		{"Timer", timers}, {"Job", jobs},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.tests {
				t.Run(c.name, func(t *testing.T) {
					st := open(t)
					k := &clock{DB: st.DB(), now: begin}
					c.run(&world{t: t, Store: store.New(k), clock: k, ctx: t.Context()})
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(w *world)
}

// begin is when every world begins, by the database's clock.
var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A world is one test's store, with a clock that the test moves.
type world struct {
	*store.Store
	t     *testing.T
	clock *clock
	ctx   context.Context
}

// clock replaces the database's clock.
type clock struct {
	store.DB
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now(context.Context, store.Querier) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, nil
}

// pass lets time pass.
func (w *world) pass(d time.Duration) time.Time {
	w.clock.mu.Lock()
	defer w.clock.mu.Unlock()
	w.clock.now = w.clock.now.Add(d)
	return w.clock.now
}

func (w *world) now() time.Time { return w.pass(0) }

// ok ends the test at an error.
func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// is ends the test unless err is want.
func (w *world) is(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("got %v, want %v", err, want)
	}
}

func equal[T any](w *world, got, want T) {
	w.t.Helper()
	if !reflect.DeepEqual(got, want) {
		w.t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// at returns an instant after the beginning, as a database gives it back.
func at(d time.Duration) time.Time { return begin.Add(d) }

// id is the id that connect gives to the connection of a name.
func id(name string) freshet.ConnectionID { return freshet.ConnectionID("id-" + name) }

// connect makes the rows of connections.
func (w *world) connect(names ...string) {
	w.t.Helper()
	w.ok(w.Change(w.ctx, func(c *store.Change) error {
		for _, n := range names {
			if err := c.EnsureToken(store.Token{ID: id(n), Name: n, Client: "client/acme", Provider: "acme", State: freshet.StateOK}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// hold gives connections a first token, which is due at next.
func (w *world) hold(next time.Time, names ...string) {
	w.t.Helper()
	w.connect(names...)
	for _, n := range names {
		w.ok(w.Put(w.ctx, store.Commit{ID: id(n), Sealed: []byte("sealed-1-" + n), Digest: []byte("digest-" + n), NextAt: next}))
	}
}

// row returns a connection's row.
func (w *world) row(name string) store.Token {
	w.t.Helper()
	t, err := w.Token(w.ctx, id(name))
	w.ok(err)
	return t
}

// claim claims a row for an attempt of the name, at the generation that it has.
func (w *world) claim(name, attempt string, lease time.Duration) {
	w.t.Helper()
	w.ok(w.Claim(w.ctx, store.Claim{ID: id(name), Gen: w.row(name).Gen, Attempt: attempt, Owner: "me", Lease: lease}))
}

// exec runs SQL that the store has no word for.
func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	w.ok(w.DB().Tx(w.ctx, func(tx store.Querier) error {
		n, err := tx.Exec(w.ctx, query, args...)
		if err == nil && n == 0 {
			err = errors.New("it changed no row")
		}
		return err
	}))
}

// together runs n callers at once and returns what each got.
func together(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			errs[i] = fn(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return errs
}

// one ends the test unless one caller got nil and all the others the error, and
// returns which one.
func (w *world) one(errs []error, others error) int {
	w.t.Helper()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won < 0:
			won = i
		case err == nil:
			w.t.Fatalf("callers %d and %d both won", won, i)
		case !errors.Is(err, others):
			w.t.Fatalf("caller %d: %v, want %v", i, err, others)
		}
	}
	if won < 0 {
		w.t.Fatal("nobody won")
	}
	return won
}

func number(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s%04d", prefix, i)
	}
	return names
}
