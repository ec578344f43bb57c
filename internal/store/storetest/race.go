package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Many callers at one row. A database that lets writers run side by side has to
// come out as one that does not.
var races = []test{
	{"F13 of callers that claim a row one gets it, a thousand times", func(w *world) {
		const callers = 4
		names := number("c", rounds(1000))
		w.connect(names...)
		for _, n := range names {
			won := w.one(together(callers, func(i int) error {
				return w.Claim(w.ctx, store.Claim{ID: id(n), Attempt: fmt.Sprint("a", i), Owner: fmt.Sprint("p", i), Lease: time.Minute})
			}), store.ErrStale)
			if r := w.row(n); r.Attempt != fmt.Sprint("a", won) || r.LeaseOwner != fmt.Sprint("p", won) {
				w.t.Fatalf("%d won, the row has %s of %s", won, r.Attempt, r.LeaseOwner)
			}
		}
	}},
	{"F13 of callers that want a lapsed lease one gets it", func(w *world) {
		names := number("c", rounds(50))
		w.connect(names...)
		for _, n := range names {
			w.claim(n, "old", time.Second)
		}
		w.pass(time.Second)
		for _, n := range names {
			w.one(together(8, func(i int) error {
				return w.Claim(w.ctx, store.Claim{ID: id(n), Attempt: fmt.Sprint("a", i), Owner: "me", Lease: time.Minute})
			}), store.ErrStale)
		}
	}},
	{"F26 of an answer and a person's token one is stored", func(w *world) {
		names := number("c", rounds(100))
		w.hold(at(0), names...)
		for _, n := range names {
			w.claim(n, "a1", time.Minute)
			won := w.one(together(2, func(i int) error {
				if i == 0 {
					return w.Commit(w.ctx, store.Commit{ID: id(n), Attempt: "a1", Gen: 1, Sealed: []byte("answer")})
				}
				return w.Put(w.ctx, store.Commit{ID: id(n), Gen: 1, Sealed: []byte("person")})
			}), store.ErrStale)
			if r := w.row(n); r.Gen != 2 || string(r.Sealed) != []string{"answer", "person"}[won] || r.Attempt != "" {
				w.t.Fatalf("%d won: %+v", won, r)
			}
		}
	}},
	{"F26 forgetting wins over whatever comes at the same time", func(w *world) {
		names := number("c", rounds(100))
		w.hold(at(0), names...)
		for _, n := range names {
			w.claim(n, "a1", time.Minute)
			errs := together(3, func(i int) error {
				switch i {
				case 0:
					return w.Commit(w.ctx, store.Commit{ID: id(n), Attempt: "a1", Gen: 1, Sealed: []byte("answer"), NextAt: at(0)})
				case 1:
					return w.Put(w.ctx, store.Commit{ID: id(n), Gen: 1, Sealed: []byte("person"), NextAt: at(0)})
				}
				return w.Forget(w.ctx, id(n), freshet.ReasonRevoked, nil)
			})
			w.ok(errs[2])
			gen := int64(2)
			for _, err := range errs[:2] {
				if err == nil {
					gen++
				} else {
					w.is(err, store.ErrStale)
				}
			}
			if r := w.row(n); gen > 3 || r.Gen != gen || r.Sealed != nil || r.State != freshet.StateReauth || !r.NextAt.IsZero() {
				w.t.Fatalf("%v: %+v", errs, r)
			}
		}
	}},
	{"F26 deleting leaves no row, whatever comes at the same time", func(w *world) {
		names := number("c", rounds(50))
		w.hold(at(0), names...)
		for _, n := range names {
			w.claim(n, "a1", time.Minute)
			errs := together(3, func(i int) error {
				switch i {
				case 0:
					return w.Commit(w.ctx, store.Commit{ID: id(n), Attempt: "a1", Gen: 1, Sealed: []byte("answer")})
				case 1:
					return w.Fail(w.ctx, store.Failure{ID: id(n), Attempt: "a1", Gen: 1, State: freshet.StateUncertain})
				}
				return w.Change(w.ctx, func(c *store.Change) error { return c.DeleteToken(id(n)) })
			})
			w.ok(errs[2])
			if errs[0] == nil && errs[1] == nil {
				w.t.Fatal("one attempt ended twice")
			}
			_, err := w.Token(w.ctx, id(n))
			w.is(err, store.ErrNotFound)
		}
	}},
	{"an attempt ends once", func(w *world) {
		names := number("c", rounds(50))
		w.hold(at(0), names...)
		for _, n := range names {
			w.claim(n, "a1", time.Minute)
			w.one(together(3, func(i int) error {
				switch i {
				case 0:
					return w.Commit(w.ctx, store.Commit{ID: id(n), Attempt: "a1", Gen: 1, Sealed: []byte("answer")})
				case 1:
					return w.Fail(w.ctx, store.Failure{ID: id(n), Attempt: "a1", Gen: 1, State: freshet.StateUncertain})
				}
				return w.Unclaim(w.ctx, id(n), "a1")
			}), store.ErrStale)
		}
	}},
	{"claims and commits of many callers add up", func(w *world) {
		// Each stored answer is one more than the one that its claim saw, so
		// that none can be lost.
		callers, each := 6, rounds(30)
		w.connect("crm")
		var stored atomic.Int64
		for _, err := range together(callers, func(i int) error {
			for n := 0; n < each; {
				r, err := w.Token(w.ctx, id("crm"))
				if err != nil {
					return err
				}
				attempt := fmt.Sprintf("a%d-%d", i, n)
				err = w.Claim(w.ctx, store.Claim{ID: id("crm"), Gen: r.Gen, Attempt: attempt, Owner: "me", Lease: time.Minute})
				if errors.Is(err, store.ErrStale) {
					continue
				} else if err != nil {
					return err
				}
				if err := w.Commit(w.ctx, store.Commit{ID: id("crm"), Attempt: attempt, Gen: r.Gen, Sealed: []byte(attempt), Events: []store.Event{{Type: "x"}}}); err != nil {
					return err
				}
				stored.Add(1)
				n++
			}
			return nil
		}) {
			w.ok(err)
		}
		equal(w, stored.Load(), int64(callers*each))
		equal(w, w.row("crm").Gen, int64(callers*each))
		events, err := w.Events(w.ctx, "", 0, 10*callers*each)
		w.ok(err)
		equal(w, len(events), callers*each)
	}},
	{"meta is counted up by many without losing one", func(w *world) {
		callers, each := 8, rounds(20)
		for _, err := range together(callers, func(int) error {
			for n := 0; n < each; {
				v, rev, err := w.Meta(w.ctx, "count")
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				var b [8]byte
				copy(b[:], v)
				binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])+1)
				err = w.PutMeta(w.ctx, "count", b[:], rev)
				if err == nil {
					n++
				} else if !errors.Is(err, store.ErrStale) {
					return err
				}
			}
			return nil
		}) {
			w.ok(err)
		}
		v, rev, err := w.Meta(w.ctx, "count")
		w.ok(err)
		equal(w, rev, int64(callers*each))
		equal(w, binary.BigEndian.Uint64(v), uint64(callers*each))
	}},
	{"of new resources of one name one is written", func(w *world) {
		for i := range rounds(30) {
			won := w.one(together(4, func(j int) error {
				return w.Change(w.ctx, func(c *store.Change) error {
					return c.Put(store.Resource{ID: fmt.Sprintf("id-%d-%d", i, j), Kind: "clients", Name: fmt.Sprint("n", i), Spec: "{}", Revision: 1})
				})
			}), store.ErrStale)
			r, err := w.Resource(w.ctx, "clients", fmt.Sprint("n", i))
			w.ok(err)
			equal(w, r.ID, fmt.Sprintf("id-%d-%d", i, won))
		}
	}},
	{"of changes to one revision one is written", func(w *world) {
		w.declare(store.Resource{ID: "r", Kind: "clients", Name: "n", Spec: "{}", Revision: 1})
		for rev := int64(2); rev < 2+int64(rounds(30)); rev++ {
			w.one(together(4, func(i int) error {
				return w.Change(w.ctx, func(c *store.Change) error {
					return c.Put(store.Resource{ID: "r", Kind: "clients", Name: "n", Spec: fmt.Sprint(i), Revision: rev})
				})
			}), store.ErrStale)
		}
	}},
	{"S72 the audit of many writers is one chain", func(w *world) {
		callers, each := 6, rounds(15)
		for _, err := range together(callers, func(i int) error {
			for n := range each {
				rows := make([]store.AuditRow, 1+n%11)
				for j := range rows {
					rows[j] = store.AuditRow{At: begin, Actor: fmt.Sprint(i), Action: "a", Subject: "s", Detail: "{}"}
				}
				if err := w.AppendAudit(w.ctx, rows, chain); err != nil {
					return err
				}
			}
			return nil
		}) {
			w.ok(err)
		}
		rows, err := w.Audit(w.ctx, 0, 10000)
		w.ok(err)
		for i, r := range rows {
			if got := binary.BigEndian.Uint64(r.Hash); got != uint64(i+1) {
				w.t.Fatalf("row %d is number %d of its chain", i+1, got)
			}
		}
	}},
	{"S01 of callers that take a flow one gets it", func(w *world) {
		for i := range rounds(10) {
			flow := fmt.Sprint("f", i)
			w.ok(w.StartFlow(w.ctx, store.Flow{ID: flow, Connection: "crm", Kind: "authorization_code", Sealed: []byte("verifier"), ExpiresAt: at(time.Hour)}))
			w.one(together(50, func(int) error {
				f, err := w.TakeFlow(w.ctx, flow)
				if err == nil && string(f.Sealed) != "verifier" {
					return fmt.Errorf("it got %+v", f)
				}
				return err
			}), store.ErrNotFound)
		}
	}},
	{"F42 of callers that claim a poll one gets it", func(w *world) {
		for i := range rounds(10) {
			flow := fmt.Sprint("f", i)
			w.ok(w.StartFlow(w.ctx, store.Flow{ID: flow, Connection: "crm", Kind: "device_code", Sealed: []byte("code"), ExpiresAt: at(time.Hour), PollAt: at(time.Second)}))
			w.one(together(8, func(i int) error {
				return w.ClaimPoll(w.ctx, flow, at(time.Second), at(time.Minute))
			}), store.ErrStale)
		}
	}},
	{"F85 of callers that claim a letter one gets it", func(w *world) {
		for i := range rounds(10) {
			letter := fmt.Sprint("l", i)
			w.ok(w.Post(w.ctx, store.Letter{ID: letter, Kind: "webhook", Target: "ops", Payload: "{}", NextAt: at(time.Second)}))
			w.one(together(8, func(int) error {
				return w.ClaimLetter(w.ctx, letter, at(time.Second), at(time.Minute))
			}), store.ErrStale)
		}
	}},
	{"of keys of one name one is made, and it is revoked once", func(w *world) {
		for range rounds(10) {
			w.one(together(6, func(i int) error {
				return w.AddKey(w.ctx, store.Key{ID: fmt.Sprintf("k%d-%p", i, new(int)), Name: "ci", Hash: []byte("h"), Scopes: []string{"read"}})
			}), store.ErrExists)
			w.one(together(6, func(int) error {
				_, err := w.RevokeKey(w.ctx, "ci")
				return err
			}), store.ErrNotFound)
		}
	}},
	{"callers that hang up while they wait write nothing and hold nothing up", func(w *world) {
		w.hold(at(0), "crm")
		ctx, cancel := context.WithCancel(w.ctx)
		for i, err := range together(8, func(i int) error {
			if i == 0 {
				cancel()
			}
			return w.PutMeta(ctx, fmt.Sprint("m", i), []byte{1}, 0)
		}) {
			_, _, found := w.Meta(w.ctx, fmt.Sprint("m", i))
			if (err == nil) != (found == nil) {
				w.t.Errorf("caller %d got %v, and its row %v", i, err, found)
			}
		}
		w.ok(w.PutMeta(w.ctx, "after", []byte{1}, 0))
	}},
}

// chain numbers rows by what the row before says.
func chain(last store.AuditRow, rows []store.AuditRow) {
	var n uint64
	if last.Hash != nil {
		n = binary.BigEndian.Uint64(last.Hash)
	}
	for i := range rows {
		n++
		rows[i].Hash = binary.BigEndian.AppendUint64(make([]byte, 0, store.HashSize), n)[:store.HashSize]
	}
}
