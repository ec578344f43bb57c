package storetest

import (
	"errors"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

var tokens = []test{
	{"a new connection has no token", func(w *world) {
		want := store.Token{ID: "id-crm", Name: "crm", Client: "client/acme", Provider: "acme", State: freshet.StateReauth,
			Reason: freshet.ReasonNeverAuthorized, NextAt: at(time.Minute), Protocol: store.Protocol, UpdatedAt: begin}
		w.ok(w.Change(w.ctx, func(c *store.Change) error {
			if err := c.EnsureToken(want); err != nil {
				return err
			}
			got, err := c.Token("id-crm")
			equal(w, got, want)
			return err
		}))
		equal(w, w.row("crm"), want)
		byName, err := w.TokenByName(w.ctx, "crm")
		w.ok(err)
		equal(w, byName, want)
		_, err = w.Token(w.ctx, "id-other")
		w.is(err, store.ErrNotFound)
		_, err = w.TokenByName(w.ctx, "id-crm")
		w.is(err, store.ErrNotFound)
	}},
	{"a connection that has a token keeps it when it is declared again", func(w *world) {
		w.hold(at(time.Hour), "crm")
		before := w.row("crm")
		w.pass(time.Minute)
		again := store.Token{ID: id("crm"), Name: "crm2", Client: "client/b", Provider: "b", State: freshet.StateReauth, Reason: "x"}
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.EnsureToken(again) }))
		want := before
		want.Name, want.Client, want.Provider, want.UpdatedAt = "crm2", "client/b", "b", w.now()
		equal(w, w.row("crm"), want)
	}},
	{"a connection without a token takes the state that it is declared with", func(w *world) {
		w.connect("crm")
		w.ok(w.Change(w.ctx, func(c *store.Change) error {
			return c.EnsureToken(store.Token{ID: id("crm"), Name: "crm", State: freshet.StateReauth, Reason: freshet.ReasonNeverAuthorized})
		}))
		equal(w, w.row("crm").State, freshet.StateReauth)
		equal(w, w.row("crm").Reason, freshet.ReasonNeverAuthorized)
	}},
	{"a misconfigured connection is looked at again when it is declared again", func(w *world) {
		w.hold(at(time.Hour), "crm")
		w.ok(w.Fail(w.ctx, store.Failure{ID: id("crm"), Gen: 1, State: freshet.StateMisconfigured, NextAt: at(9 * time.Hour)}))
		w.pass(time.Minute)
		w.ok(w.Change(w.ctx, func(c *store.Change) error {
			return c.EnsureToken(store.Token{ID: id("crm"), Name: "crm", State: freshet.StateOK})
		}))
		equal(w, w.row("crm").NextAt, w.now())
		equal(w, w.row("crm").State, freshet.StateMisconfigured)
	}},
	{"two connections do not share a name", func(w *world) {
		w.connect("crm")
		err := w.Change(w.ctx, func(c *store.Change) error {
			if err := c.EnsureToken(store.Token{ID: "id-new", Name: "new", State: freshet.StateOK}); err != nil {
				return err
			}
			return c.EnsureToken(store.Token{ID: "id-2", Name: "crm", State: freshet.StateOK})
		})
		w.is(err, store.ErrExists)
		_, err = w.Token(w.ctx, "id-new")
		w.is(err, store.ErrNotFound)
	}},
	{"F26 a deleted connection leaves nothing behind", func(w *world) {
		w.hold(at(0), "crm", "erp")
		w.claim("crm", "a1", time.Minute)
		for _, n := range []string{"crm", "erp"} {
			w.ok(w.KeepOrphan(w.ctx, store.Orphan{ID: "o-" + n, Connection: id(n), Gen: 3, Sealed: []byte("s")}))
		}
		w.ok(w.Change(w.ctx, func(c *store.Change) error { return c.DeleteToken(id("crm")) }))
		_, err := w.Token(w.ctx, id("crm"))
		w.is(err, store.ErrNotFound)
		orphans, err := w.Orphans(w.ctx, id("crm"))
		w.ok(err)
		equal(w, len(orphans), 0)
		orphans, err = w.Orphans(w.ctx, id("erp"))
		w.ok(err)
		equal(w, len(orphans), 1)
		// What was on its way finds no row to come to.
		w.is(w.Commit(w.ctx, store.Commit{ID: id("crm"), Attempt: "a1", Gen: 1, Sealed: []byte("late")}), store.ErrStale)
		w.is(w.Fail(w.ctx, store.Failure{ID: id("crm"), Attempt: "a1", Gen: 1, State: freshet.StateUncertain}), store.ErrStale)
		w.is(w.Unclaim(w.ctx, id("crm"), "a1"), store.ErrStale)
		due, err := w.Due(w.ctx, 10)
		w.ok(err)
		equal(w, len(due), 1)
	}},
	{"connections are listed in pages, in the order of bytes", func(w *world) {
		// The order of a language would put these otherwise.
		names := []string{"A", "B", "a", "a-b", "a.b", "a_b", "aa", "b", "é"}
		for i := len(names) - 1; i >= 0; i-- {
			w.connect(names[i])
		}
		w.hold(at(0), "a-b")
		w.ok(w.Fail(w.ctx, store.Failure{ID: id("b"), State: freshet.StateAttention}))
		w.ok(w.Fail(w.ctx, store.Failure{ID: id("B"), State: freshet.StateAttention}))
		var got []string
		for after := ""; ; {
			page, err := w.Tokens(w.ctx, after, "", 2)
			w.ok(err)
			for _, r := range page {
				if r.Sealed != nil {
					w.t.Error("a list hands out sealed tokens")
				}
				got = append(got, r.Name)
			}
			if len(page) < 2 {
				break
			}
			after = page[1].Name
		}
		equal(w, got, names)
		page, err := w.Tokens(w.ctx, "", freshet.StateAttention, 10)
		w.ok(err)
		if len(page) != 2 || page[0].Name != "B" || page[1].Name != "b" {
			w.t.Errorf("in attention: %+v", page)
		}
		if page, err = w.Tokens(w.ctx, "B", freshet.StateAttention, 10); err != nil || len(page) != 1 || page[0].Name != "b" {
			w.t.Errorf("in attention after B: %+v, %v", page, err)
		}
	}},
	{"connections are counted", func(w *world) {
		w.hold(at(0), "a", "b", "c")
		w.connect("d")
		w.ok(w.Fail(w.ctx, store.Failure{ID: id("c"), Gen: 1, State: freshet.StateReauth}))
		states, err := w.CountTokens(w.ctx)
		w.ok(err)
		equal(w, states, map[freshet.State]int64{freshet.StateOK: 3, freshet.StateReauth: 1})
		n, err := w.CountProvider(w.ctx, "acme")
		w.ok(err)
		equal(w, n, 3) // d holds none
		n, err = w.CountProvider(w.ctx, "other")
		w.ok(err)
		equal(w, n, 0)
	}},
	{"a stored answer is the whole row", func(w *world) {
		w.connect("crm")
		w.claim("crm", "a1", time.Minute)
		w.pass(time.Second)
		c := store.Commit{ID: id("crm"), Attempt: "a1", Gen: 0, Sealed: []byte("sealed"), Digest: []byte("digest"), IssuedAt: at(-time.Second),
			ExpiresAt: at(time.Hour), RefreshExpiry: at(24 * time.Hour), NextAt: at(50 * time.Minute), Definition: 7,
			Events: []store.Event{{Connection: "crm", Type: "token.obtained"}}}
		w.ok(w.Commit(w.ctx, c))
		equal(w, w.row("crm"), store.Token{ID: id("crm"), Name: "crm", Client: "client/acme", Provider: "acme", Gen: 1, Sealed: c.Sealed, Digest: c.Digest,
			State: freshet.StateOK, NextAt: c.NextAt, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt, RefreshExpiry: c.RefreshExpiry, Definition: 7,
			Protocol: store.Protocol, UpdatedAt: w.now()})
		events, err := w.LastEvents(w.ctx, "crm", 10)
		w.ok(err)
		equal(w, len(events), 1)
		// What an answer does not say is not there, and not zero.
		w.ok(w.Put(w.ctx, store.Commit{ID: id("crm"), Gen: 1, Sealed: []byte("second")}))
		r := w.row("crm")
		if !r.ExpiresAt.IsZero() || !r.RefreshExpiry.IsZero() || !r.NextAt.IsZero() || !r.IssuedAt.IsZero() || r.Digest != nil {
			w.t.Errorf("it kept something of the former token: %+v", r)
		}
	}},
	{"a stored answer clears every failure", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Minute)
		w.ok(w.Fail(w.ctx, store.Failure{ID: id("crm"), Attempt: "a1", Gen: 1, State: freshet.StateUncertain, Reason: "interrupted", Error: `{"a":1}`, Failures: 4,
			LostAt: at(0), NotBefore: at(time.Hour)}))
		w.claim("crm", "a2", time.Minute)
		w.ok(w.Commit(w.ctx, store.Commit{ID: id("crm"), Attempt: "a2", Gen: 1, Sealed: []byte("s")}))
		r := w.row("crm")
		if r.State != freshet.StateOK || r.Reason != "" || r.Error != "" || r.Failures != 0 || !r.LostAt.IsZero() || !r.NotBefore.IsZero() {
			w.t.Errorf("%+v", r)
		}
	}},
	{"a token is forgotten, latched, and told", func(w *world) {
		w.hold(at(time.Hour), "crm")
		w.claim("crm", "a1", time.Minute)
		w.ok(w.Forget(w.ctx, id("crm"), freshet.ReasonRevoked, []store.Letter{{ID: "l1", Kind: "revoke", Target: "acme", Payload: "{}"}},
			store.Event{Connection: "crm", Type: "connection.revoked"}))
		equal(w, w.row("crm"), store.Token{ID: id("crm"), Name: "crm", Client: "client/acme", Provider: "acme", Gen: 2, State: freshet.StateReauth,
			Reason: freshet.ReasonRevoked, Protocol: store.Protocol, UpdatedAt: w.now()})
		due, err := w.DueLetters(w.ctx, "revoke", 10)
		w.ok(err)
		equal(w, len(due), 1)
		events, err := w.LastEvents(w.ctx, "crm", 10)
		w.ok(err)
		equal(w, len(events), 1)
		w.is(w.Commit(w.ctx, store.Commit{ID: id("crm"), Attempt: "a1", Gen: 1, Sealed: []byte("late")}), store.ErrStale)
		w.is(w.Forget(w.ctx, "id-none", freshet.ReasonRevoked, []store.Letter{{ID: "l2", Kind: "revoke", Target: "acme", Payload: "{}"}}), store.ErrNotFound)
		all, err := w.Letters(w.ctx, 10)
		w.ok(err)
		equal(w, len(all), 1)
	}},
	{"F25 the same refresh token of another connection is found by its digest", func(w *world) {
		w.hold(at(0), "a", "b")
		w.connect("none")
		find := func(provider, digest string, except freshet.ConnectionID) string {
			name, err := w.SameRefreshToken(w.ctx, provider, []byte(digest), except)
			w.ok(err)
			return name
		}
		equal(w, find("acme", "digest-a", id("b")), "a")
		equal(w, find("acme", "digest-a", id("a")), "")
		equal(w, find("other", "digest-a", id("b")), "")
		equal(w, find("acme", "digest-z", id("b")), "")
		name, err := w.SameRefreshToken(w.ctx, "acme", nil, id("b"))
		w.ok(err)
		equal(w, name, "") // connections without one do not share it
	}},
	{"F64 refresh tokens that end soon are found", func(w *world) {
		for i, end := range []time.Duration{time.Hour, 2 * time.Hour, 2 * time.Hour, 3 * time.Hour} {
			n := string(rune('a' + i))
			w.connect(n)
			w.ok(w.Put(w.ctx, store.Commit{ID: id(n), Sealed: []byte("s"), RefreshExpiry: at(end)}))
		}
		w.hold(at(0), "never")
		names := func(from, to time.Duration, limit int) (out []string) {
			rows, err := w.Lapsing(w.ctx, at(from), at(to), limit)
			w.ok(err)
			for _, r := range rows {
				if r.Sealed != nil {
					w.t.Error("a list hands out sealed tokens")
				}
				out = append(out, r.Name)
			}
			return out
		}
		equal(w, names(0, 4*time.Hour, 10), []string{"a", "b", "c", "d"})
		equal(w, names(time.Hour, 2*time.Hour, 10), []string{"b", "c"}) // after from, not after to
		equal(w, names(0, 4*time.Hour, 2), []string{"a", "b"})
	}},
	{"registrations in trouble", func(w *world) {
		c := store.Client{Key: "client/acme", State: freshet.StateMisconfigured, Reason: "invalid_client", Error: "{}"}
		w.ok(w.PutClient(w.ctx, c, store.Event{Type: "client.misconfigured"}))
		w.pass(time.Minute)
		c.Reason, c.NotBefore = "unauthorized_client", at(time.Hour)
		w.ok(w.PutClient(w.ctx, c))
		w.ok(w.PutClient(w.ctx, store.Client{Key: "client/a", State: freshet.StateAttention}))
		got, err := w.Clients(w.ctx)
		w.ok(err)
		c.Since = begin // the same trouble still
		equal(w, got, []store.Client{{Key: "client/a", State: freshet.StateAttention, Since: w.now()}, c})
		w.pass(time.Minute)
		c.State = freshet.StateAttention
		w.ok(w.PutClient(w.ctx, c))
		got, err = w.Clients(w.ctx)
		w.ok(err)
		equal(w, got[1].Since, w.now()) // another one
		w.ok(w.ClearClient(w.ctx, "client/acme", store.Event{Type: "client.ok"}))
		w.ok(w.ClearClient(w.ctx, "client/none"))
		got, err = w.Clients(w.ctx)
		w.ok(err)
		equal(w, len(got), 1)
		events, err := w.Events(w.ctx, "", 0, 10)
		w.ok(err)
		equal(w, len(events), 2)
	}},
}

var attempts = []test{
	{"a claim is written into the row", func(w *world) {
		w.hold(at(0), "crm")
		w.pass(time.Second)
		w.ok(w.Claim(w.ctx, store.Claim{ID: id("crm"), Gen: 1, Attempt: "a1", Owner: "me", Lease: time.Minute}))
		r := w.row("crm")
		if r.Attempt != "a1" || r.LeaseOwner != "me" || !r.AttemptAt.Equal(at(time.Second)) || !r.LeaseUntil.Equal(at(61*time.Second)) || r.Protocol != store.Protocol {
			w.t.Errorf("%+v", r)
		}
		if r.Gen != 1 || string(r.Sealed) != "sealed-1-crm" || r.State != freshet.StateOK {
			w.t.Errorf("the claim changed the token: %+v", r)
		}
	}},
	{"a claim is refused", func(w *world) {
		w.hold(at(0), "leased", "moved", "newer", "free")
		w.claim("leased", "a1", time.Minute)
		w.ok(w.Put(w.ctx, store.Commit{ID: id("moved"), Gen: 1, Sealed: []byte("s")}))
		w.exec(`UPDATE tokens SET protocol = $1 WHERE id = $2`, store.Protocol+1, string(id("newer")))
		for _, n := range []string{"leased", "moved", "newer", "none"} {
			err := w.Claim(w.ctx, store.Claim{ID: id(n), Gen: 1, Attempt: "a2", Owner: "you", Lease: time.Minute})
			if !errors.Is(err, store.ErrStale) {
				w.t.Errorf("%s: %v", n, err)
			}
		}
		equal(w, w.row("leased").Attempt, "a1")
		equal(w, w.row("newer").Attempt, "")
		w.ok(w.Claim(w.ctx, store.Claim{ID: id("free"), Gen: 1, Attempt: "a2", Owner: "you", Lease: time.Minute}))
	}},
	{"F13 a lease holds until its end by the database's clock", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", 30*time.Second)
		again := store.Claim{ID: id("crm"), Gen: 1, Attempt: "a2", Owner: "you", Lease: time.Minute}
		w.pass(30*time.Second - time.Millisecond)
		w.is(w.Claim(w.ctx, again), store.ErrStale)
		w.pass(time.Millisecond)
		w.ok(w.Claim(w.ctx, again))
		equal(w, w.row("crm").Attempt, "a2")
		equal(w, w.row("crm").LeaseUntil, at(90*time.Second))
	}},
	{"F16 who lost the lease commits nothing", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Second)
		w.pass(time.Second)
		w.claim("crm", "a2", time.Minute)
		w.is(w.Commit(w.ctx, store.Commit{ID: id("crm"), Attempt: "a1", Gen: 1, Sealed: []byte("late"), Events: []store.Event{{Type: "x"}}}), store.ErrStale)
		w.is(w.Fail(w.ctx, store.Failure{ID: id("crm"), Attempt: "a1", Gen: 1, State: freshet.StateReauth, Events: []store.Event{{Type: "x"}}}), store.ErrStale)
		w.is(w.Unclaim(w.ctx, id("crm"), "a1"), store.ErrStale)
		equal(w, w.row("crm").Attempt, "a2")
		events, err := w.LastEvents(w.ctx, "", 10)
		w.ok(err)
		equal(w, len(events), 0)
		w.ok(w.Commit(w.ctx, store.Commit{ID: id("crm"), Attempt: "a2", Gen: 1, Sealed: []byte("ours")}))
		equal(w, string(w.row("crm").Sealed), "ours")
		equal(w, w.row("crm").Gen, 2)
	}},
	{"F14 who outlived the lease commits while nobody else claimed", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Second)
		w.pass(time.Hour)
		w.ok(w.Commit(w.ctx, store.Commit{ID: id("crm"), Attempt: "a1", Gen: 1, Sealed: []byte("late and good")}))
		equal(w, w.row("crm").Gen, 2)
	}},
	{"F08 an answer is committed once", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Minute)
		c := store.Commit{ID: id("crm"), Attempt: "a1", Gen: 1, Sealed: []byte("s")}
		w.ok(w.Commit(w.ctx, c))
		w.is(w.Commit(w.ctx, c), store.ErrStale)
		c.Attempt = ""
		w.is(w.Commit(w.ctx, c), store.ErrStale)
		equal(w, w.row("crm").Gen, 2)
	}},
	{"F18 an answer is adopted over a row without an open attempt", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Minute)
		adopt := store.Commit{ID: id("crm"), Gen: 1, Sealed: []byte("s")}
		w.is(w.Commit(w.ctx, adopt), store.ErrStale)
		w.ok(w.Fail(w.ctx, store.Failure{ID: id("crm"), Attempt: "a1", Gen: 1, State: freshet.StateReauth}))
		w.ok(w.Commit(w.ctx, adopt))
		equal(w, w.row("crm").State, freshet.StateOK)
	}},
	{"an attempt of which nothing was sent is taken back", func(w *world) {
		w.hold(at(0), "crm")
		before := w.row("crm")
		w.claim("crm", "a1", time.Minute)
		w.ok(w.Unclaim(w.ctx, id("crm"), "a1"))
		equal(w, w.row("crm"), before)
		w.is(w.Unclaim(w.ctx, id("crm"), "a1"), store.ErrStale)
	}},
	{"a failure without a token keeps the token", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Minute)
		w.pass(time.Second)
		w.ok(w.Fail(w.ctx, store.Failure{ID: id("crm"), Attempt: "a1", Gen: 1, State: freshet.StateUncertain, Reason: "timeout", Error: `{"status":500}`, Failures: 2,
			LostAt: at(0), NotBefore: at(time.Minute), NextAt: at(2 * time.Minute), Definition: 5, Events: []store.Event{{Connection: "crm", Type: "x"}}}))
		equal(w, w.row("crm"), store.Token{ID: id("crm"), Name: "crm", Client: "client/acme", Provider: "acme", Gen: 1, Sealed: []byte("sealed-1-crm"),
			Digest: []byte("digest-crm"), State: freshet.StateUncertain, Reason: "timeout", Error: `{"status":500}`, Failures: 2, LostAt: at(0),
			NotBefore: at(time.Minute), NextAt: at(2 * time.Minute), Definition: 5, Protocol: store.Protocol, UpdatedAt: w.now()})
		events, err := w.LastEvents(w.ctx, "crm", 10)
		w.ok(err)
		equal(w, len(events), 1)
	}},
	{"F30 a failure with a salvaged token is the next generation", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Minute)
		w.ok(w.Fail(w.ctx, store.Failure{ID: id("crm"), Attempt: "a1", Gen: 1, State: freshet.StateAttention, Sealed: []byte("salvaged"), Digest: []byte("d2")}))
		r := w.row("crm")
		if r.Gen != 2 || string(r.Sealed) != "salvaged" || string(r.Digest) != "d2" || r.State != freshet.StateAttention || r.Attempt != "" {
			w.t.Errorf("%+v", r)
		}
		w.is(w.Fail(w.ctx, store.Failure{ID: id("crm"), Gen: 1, State: freshet.StateReauth}), store.ErrStale)
	}},
	{"F26 a person's token wins over an open attempt", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Minute)
		w.is(w.Put(w.ctx, store.Commit{ID: id("crm"), Gen: 0, Sealed: []byte("stale")}), store.ErrStale)
		w.ok(w.Put(w.ctx, store.Commit{ID: id("crm"), Gen: 1, Sealed: []byte("theirs"), Events: []store.Event{{Connection: "crm", Type: "token.imported"}}}))
		equal(w, w.row("crm").Attempt, "")
		w.is(w.Commit(w.ctx, store.Commit{ID: id("crm"), Attempt: "a1", Gen: 1, Sealed: []byte("late")}), store.ErrStale)
		w.is(w.Put(w.ctx, store.Commit{ID: id("none"), Gen: 0, Sealed: []byte("s")}), store.ErrStale)
		equal(w, string(w.row("crm").Sealed), "theirs")
	}},
	{"attempts that nobody works on are found", func(w *world) {
		w.hold(at(0), "lapsed", "mine", "theirs", "none")
		w.claim("lapsed", "a1", time.Second)
		w.claim("mine", "a2", time.Hour)
		w.ok(w.Claim(w.ctx, store.Claim{ID: id("theirs"), Gen: 1, Attempt: "a3", Owner: "you", Lease: time.Hour}))
		names := func(mine string, limit int) map[string]bool {
			rows, err := w.OpenAttempts(w.ctx, mine, limit)
			w.ok(err)
			out := map[string]bool{}
			for _, r := range rows {
				out[r.Name] = true
				if r.Sealed == nil {
					w.t.Error("whoever goes on needs the token")
				}
			}
			return out
		}
		equal(w, names("", 10), map[string]bool{})
		w.pass(time.Second)
		equal(w, names("", 10), map[string]bool{"lapsed": true})
		equal(w, names("me", 10), map[string]bool{"lapsed": true, "mine": true})
		equal(w, len(names("me", 1)), 1)
		// Nobody's name is not everybody's.
		w.ok(w.Claim(w.ctx, store.Claim{ID: id("none"), Gen: 1, Attempt: "a4", Lease: time.Hour}))
		equal(w, names("", 10), map[string]bool{"lapsed": true})
	}},
}

var dues = []test{
	{"what is due is listed, the longest overdue first", func(w *world) {
		w.hold(at(3*time.Minute), "c")
		w.hold(at(time.Minute), "a")
		w.hold(at(2*time.Minute), "b")
		w.hold(time.Time{}, "never")
		names := func(limit int) (out []string) {
			due, err := w.Due(w.ctx, limit)
			w.ok(err)
			for _, d := range due {
				out = append(out, d.Name)
			}
			return out
		}
		equal(w, len(names(10)), 0)
		w.pass(time.Minute - time.Millisecond)
		equal(w, len(names(10)), 0)
		w.pass(time.Millisecond)
		equal(w, names(10), []string{"a"})
		w.pass(time.Hour)
		equal(w, names(10), []string{"a", "b", "c"})
		equal(w, names(2), []string{"a", "b"})
		due, err := w.Due(w.ctx, 1)
		w.ok(err)
		equal(w, due[0], store.Due{ID: id("a"), Name: "a", Client: "client/acme", Provider: "acme", State: freshet.StateOK, NextAt: at(time.Minute)})
	}},
	{"what is leased is not due until the lease ends", func(w *world) {
		w.hold(at(0), "crm")
		w.claim("crm", "a1", time.Minute)
		due, err := w.Due(w.ctx, 10)
		w.ok(err)
		equal(w, len(due), 0)
		w.pass(time.Minute)
		due, err = w.Due(w.ctx, 10)
		w.ok(err)
		equal(w, len(due), 1)
	}},
	{"the next due instant", func(w *world) {
		next, err := w.NextDue(w.ctx)
		w.ok(err)
		if !next.IsZero() {
			w.t.Errorf("an empty store is due at %v", next)
		}
		w.hold(at(time.Hour), "b")
		w.hold(at(time.Minute), "a")
		w.hold(time.Time{}, "never")
		next, err = w.NextDue(w.ctx)
		w.ok(err)
		equal(w, next, at(time.Minute))
	}},
	{"a row is scheduled anew at its generation only", func(w *world) {
		w.hold(at(0), "crm")
		w.ok(w.Reschedule(w.ctx, id("crm"), 1, at(time.Hour)))
		equal(w, w.row("crm").NextAt, at(time.Hour))
		w.is(w.Reschedule(w.ctx, id("crm"), 0, at(0)), store.ErrStale)
		w.ok(w.Reschedule(w.ctx, id("crm"), 1, time.Time{}))
		equal(w, w.row("crm").NextAt, time.Time{})
	}},
}
