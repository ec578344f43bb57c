package storetest

import (
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

var keys = []test{
	{"a key is stored but for the key", func(w *world) {
		k := store.Key{ID: "k1", Name: "ci", Hash: []byte("hash"), Scopes: []string{"read", "token:crm*"}, Addresses: []string{"10.0.0.0/8"}, ExpiresAt: at(time.Hour)}
		w.ok(w.AddKey(w.ctx, k))
		k.CreatedAt = begin
		got, err := w.Key(w.ctx, "k1")
		w.ok(err)
		equal(w, got, k)
		_, err = w.Key(w.ctx, "ci")
		w.is(err, store.ErrNotFound)
		w.ok(w.AddKey(w.ctx, store.Key{ID: "k2", Name: "a", Hash: []byte("h"), Scopes: []string{"admin"}}))
		got, err = w.Key(w.ctx, "k2")
		w.ok(err)
		if len(got.Addresses) != 0 || !got.ExpiresAt.IsZero() || !got.LastUsed.IsZero() || !got.RevokedAt.IsZero() {
			w.t.Errorf("%+v", got)
		}
		w.is(w.AddKey(w.ctx, store.Key{ID: "k3", Name: "ci", Hash: []byte("h")}), store.ErrExists)
		all, err := w.Keys(w.ctx)
		w.ok(err)
		if len(all) != 2 || all[0].Name != "a" || all[1].Name != "ci" {
			w.t.Errorf("%+v", all)
		}
	}},
	{"a revoked key stays, and its name is free", func(w *world) {
		w.ok(w.AddKey(w.ctx, store.Key{ID: "k1", Name: "ci", Hash: []byte("h")}))
		w.pass(time.Minute)
		revoked, err := w.RevokeKey(w.ctx, "ci")
		w.ok(err)
		equal(w, revoked, "k1")
		_, err = w.RevokeKey(w.ctx, "ci")
		w.is(err, store.ErrNotFound)
		k, err := w.Key(w.ctx, "k1")
		w.ok(err)
		equal(w, k.RevokedAt, w.now())
		w.ok(w.AddKey(w.ctx, store.Key{ID: "k2", Name: "ci", Hash: []byte("h")}))
		revoked, err = w.RevokeKey(w.ctx, "ci")
		w.ok(err)
		equal(w, revoked, "k2")
	}},
	{"the last use only moves on", func(w *world) {
		w.ok(w.TouchKeys(w.ctx, nil))
		w.ok(w.AddKey(w.ctx, store.Key{ID: "k1", Name: "a", Hash: []byte("h")}))
		w.ok(w.AddKey(w.ctx, store.Key{ID: "k2", Name: "b", Hash: []byte("h")}))
		w.ok(w.TouchKeys(w.ctx, map[string]time.Time{"k1": at(time.Hour), "gone": at(0)}))
		w.ok(w.TouchKeys(w.ctx, map[string]time.Time{"k1": at(time.Minute), "k2": at(time.Minute)}))
		all, err := w.Keys(w.ctx)
		w.ok(err)
		equal(w, all[0].LastUsed, at(time.Hour))
		equal(w, all[1].LastUsed, at(time.Minute))
	}},
}

var flows = []test{
	{"S01 a flow is taken once, before it ends", func(w *world) {
		f := store.Flow{ID: "f1", Connection: "crm", Kind: "authorization_code", Sealed: []byte("verifier"), ExpiresAt: at(10 * time.Minute)}
		w.ok(w.StartFlow(w.ctx, f))
		want := f
		want.Status, want.CreatedAt = "pending", begin
		got, err := w.Flow(w.ctx, "f1")
		w.ok(err)
		equal(w, got, want)
		got, err = w.TakeFlow(w.ctx, "f1")
		w.ok(err)
		want.Status = "taken"
		equal(w, got, want)
		_, err = w.TakeFlow(w.ctx, "f1")
		w.is(err, store.ErrNotFound)
		_, err = w.TakeFlow(w.ctx, "none")
		w.is(err, store.ErrNotFound)
		_, err = w.Flow(w.ctx, "none")
		w.is(err, store.ErrNotFound)

		f.ID, f.ExpiresAt = "f2", at(time.Minute)
		w.ok(w.StartFlow(w.ctx, f))
		w.pass(time.Minute)
		_, err = w.TakeFlow(w.ctx, "f2")
		w.is(err, store.ErrNotFound)
	}},
	{"S01 a flow is bound to what it was", func(w *world) {
		w.ok(w.StartFlow(w.ctx, store.Flow{ID: "f1", Connection: "crm", Kind: "authorization_code", Sealed: []byte("one"), ExpiresAt: at(time.Hour)}))
		w.ok(w.BindFlow(w.ctx, "f1", []byte("one"), []byte("two")))
		w.is(w.BindFlow(w.ctx, "f1", []byte("one"), []byte("three")), store.ErrStale)
		_, err := w.TakeFlow(w.ctx, "f1")
		w.ok(err)
		w.is(w.BindFlow(w.ctx, "f1", []byte("two"), []byte("three")), store.ErrStale)
	}},
	{"a flow that has ended keeps no secret", func(w *world) {
		w.ok(w.StartFlow(w.ctx, store.Flow{ID: "f1", Connection: "crm", Kind: "device_code", Sealed: []byte("code"), ExpiresAt: at(time.Hour), PollAt: at(time.Second)}))
		w.ok(w.EndFlow(w.ctx, "f1", "failed", "you said no"))
		f, err := w.Flow(w.ctx, "f1")
		w.ok(err)
		if f.Status != "failed" || f.Detail != "you said no" || len(f.Sealed) != 0 || !f.PollAt.IsZero() {
			w.t.Errorf("%+v", f)
		}
		_, err = w.TakeFlow(w.ctx, "f1")
		w.is(err, store.ErrNotFound)
	}},
	{"F42 device flows are polled when they are due", func(w *world) {
		start := func(id string, poll time.Time) {
			w.ok(w.StartFlow(w.ctx, store.Flow{ID: id, Connection: "crm", Kind: "device_code", Sealed: []byte("code"), ExpiresAt: at(time.Hour), PollAt: poll}))
		}
		start("b", at(2*time.Second))
		start("a", at(time.Second))
		start("browser", time.Time{})
		due := func() (ids []string) {
			flows, err := w.DueFlows(w.ctx, 10)
			w.ok(err)
			for _, f := range flows {
				ids = append(ids, f.ID)
			}
			return ids
		}
		equal(w, due(), nil)
		w.pass(2 * time.Second)
		equal(w, due(), []string{"a", "b"})
		w.ok(w.PollFlow(w.ctx, "a", []byte("slower"), at(time.Minute)))
		w.ok(w.ClaimPoll(w.ctx, "b", at(2*time.Second), at(2*time.Minute)))
		w.is(w.ClaimPoll(w.ctx, "b", at(2*time.Second), at(3*time.Minute)), store.ErrStale)
		equal(w, due(), nil)
		w.pass(time.Hour)
		equal(w, due(), []string{"a", "b"})
		w.ok(w.EndFlow(w.ctx, "a", "done", ""))
		w.is(w.PollFlow(w.ctx, "a", []byte("x"), at(0)), store.ErrStale)
		w.is(w.ClaimPoll(w.ctx, "a", at(time.Minute), at(time.Hour)), store.ErrStale)
		equal(w, due(), []string{"b"})
	}},
	{"flows of the day before are swept", func(w *world) {
		start := func(id string, expires time.Time) {
			w.ok(w.StartFlow(w.ctx, store.Flow{ID: id, Connection: "crm", Kind: "authorization_code", Sealed: []byte("v"), ExpiresAt: expires}))
		}
		start("old", at(time.Minute))
		start("young", at(2*time.Minute))
		w.pass(24*time.Hour + 90*time.Second)
		start("new", at(48*time.Hour))
		_, err := w.Flow(w.ctx, "old")
		w.is(err, store.ErrNotFound)
		_, err = w.Flow(w.ctx, "young")
		w.ok(err)
	}},
}
