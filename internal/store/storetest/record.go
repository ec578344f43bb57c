package storetest

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

func seqs[T any](rows []T, seq func(T) int64) (out []int64) {
	for _, r := range rows {
		out = append(out, seq(r))
	}
	return out
}

// What happened: events, the audit, answers that came too late.
var records = []test{
	{"events are read in both directions", func(w *world) {
		w.ok(w.AppendEvents(w.ctx, store.Event{Connection: "a", Type: "one", Detail: map[string]any{"n": 1.5, "s": "x"}}, store.Event{Connection: "b", Type: "two"}))
		w.pass(time.Minute)
		w.ok(w.AppendEvents(w.ctx, store.Event{Connection: "a", Type: "three", At: at(time.Second)}, store.Event{Connection: "b", Type: "four"}))
		all, err := w.Events(w.ctx, "", 0, 10)
		w.ok(err)
		if len(all) != 4 {
			w.t.Fatalf("%+v", all)
		}
		equal(w, all[0], store.Event{Seq: all[0].Seq, At: begin, Connection: "a", Type: "one", Detail: map[string]any{"n": 1.5, "s": "x"}})
		equal(w, all[1].Detail, map[string]any{})
		equal(w, all[2].At, at(time.Second)) // its own instant
		equal(w, all[3].At, w.now())
		s := seqs(all, func(e store.Event) int64 { return e.Seq })
		for i := 1; i < len(s); i++ {
			if s[i] <= s[i-1] {
				w.t.Errorf("not in order: %v", s)
			}
		}
		list := func(events []store.Event, err error) []int64 {
			w.t.Helper()
			w.ok(err)
			return seqs(events, func(e store.Event) int64 { return e.Seq })
		}
		equal(w, list(w.Events(w.ctx, "", s[0], 2)), []int64{s[1], s[2]})
		equal(w, list(w.Events(w.ctx, "b", 0, 10)), []int64{s[1], s[3]})
		equal(w, list(w.Events(w.ctx, "b", s[1], 10)), []int64{s[3]})
		equal(w, list(w.EventsBefore(w.ctx, "", s[3], 2)), []int64{s[2], s[1]})
		equal(w, list(w.EventsBefore(w.ctx, "a", s[2], 10)), []int64{s[0]})
		equal(w, list(w.LastEvents(w.ctx, "", 3)), []int64{s[3], s[2], s[1]})
		equal(w, list(w.LastEvents(w.ctx, "b", 1)), []int64{s[3]})
		equal(w, list(w.LastEvents(w.ctx, "none", 1)), nil)
	}},
	{"old events are trimmed", func(w *world) {
		add := func(n int) {
			events := make([]store.Event, n)
			for i := range events {
				events[i] = store.Event{Connection: "a", Type: "x"}
			}
			w.ok(w.AppendEvents(w.ctx, events...))
		}
		left := func() int {
			all, err := w.Events(w.ctx, "", 0, 10000)
			w.ok(err)
			return len(all)
		}
		w.ok(w.TrimEvents(w.ctx, begin))
		add(2100) // more than go at once
		w.ok(w.TrimEvents(w.ctx, begin))
		equal(w, left(), 2100)
		w.pass(time.Millisecond)
		add(3)
		w.ok(w.TrimEvents(w.ctx, w.now()))
		equal(w, left(), 3)
		w.ok(w.TrimEvents(w.ctx, w.pass(time.Millisecond)))
		equal(w, left(), 0)
		// A number is given once, whatever was deleted.
		add(1)
		all, err := w.Events(w.ctx, "", 2103, 10)
		w.ok(err)
		equal(w, len(all), 1)
	}},
	{"S72 audit rows are chained in the order of writing", func(w *world) {
		_, err := w.LastAudit(w.ctx)
		w.is(err, store.ErrNotFound)
		n := 0
		for _, size := range []int{1, 7, 8, 9, 0, 30, 600} { // a page holds 256
			rows := make([]store.AuditRow, size)
			for i := range rows {
				n++
				rows[i] = store.AuditRow{At: at(time.Duration(n) * time.Second), Actor: fmt.Sprint("actor", n%3), Action: fmt.Sprint("action", n%2), Subject: "s", Detail: fmt.Sprint(n)}
			}
			// Text that JSON has to escape, and bytes that are no text.
			for i := range min(len(rows), 2) {
				rows[i].Subject = []string{"\"\\/\x00\n<é\u2028>", "a\xffb"}[i]
			}
			w.ok(w.AppendAudit(w.ctx, rows, chain))
		}
		all, err := w.Audit(w.ctx, 0, 1000)
		w.ok(err)
		equal(w, len(all), n)
		equal(w, all[0].Subject+all[2].Subject, "\"\\/\x00\n<é\u2028>a\uFFFDb")
		for i, r := range all {
			if r.Detail != fmt.Sprint(i+1) || binary.BigEndian.Uint64(r.Hash) != uint64(i+1) || !r.At.Equal(at(time.Duration(i+1)*time.Second)) || i > 0 && r.Seq != all[i-1].Seq+1 {
				w.t.Fatalf("row %d: %+v", i, r)
			}
		}
		last, err := w.LastAudit(w.ctx)
		w.ok(err)
		equal(w, last, all[n-1])
		page, err := w.Audit(w.ctx, all[9].Seq, 2)
		w.ok(err)
		equal(w, page, all[10:12])
		page, err = w.AuditBefore(w.ctx, math.MaxInt64, store.AuditFilter{}, 2)
		w.ok(err)
		equal(w, page, []store.AuditRow{all[n-1], all[n-2]})
		page, err = w.AuditBefore(w.ctx, all[12].Seq, store.AuditFilter{Actor: "actor0", Action: "action0", Subject: "s"}, 10)
		w.ok(err)
		equal(w, page, []store.AuditRow{all[11], all[5]})
		page, err = w.AuditBefore(w.ctx, math.MaxInt64, store.AuditFilter{}, 1000)
		w.ok(err)
		slices.Reverse(page)
		equal(w, page, all)
		for _, after := range []int64{all[0].Seq, all[54].Seq, all[55].Seq, all[310].Seq, all[311].Seq, all[n-1].Seq} {
			page, err = w.Audit(w.ctx, after, 1000)
			w.ok(err)
			equal(w, len(page), n-int(after-all[0].Seq)-1)
		}
		page, err = w.AuditBefore(w.ctx, math.MaxInt64, store.AuditFilter{Subject: "none"}, 10)
		w.ok(err)
		equal(w, len(page), 0)
	}},
	{"F08 an orphan is kept once", func(w *world) {
		o := store.Orphan{ID: "a1", Connection: id("crm"), Gen: 4, Sealed: []byte("sealed"), Reason: "late"}
		w.ok(w.KeepOrphan(w.ctx, o, store.Event{Connection: "crm", Type: "x"}))
		w.pass(time.Hour)
		w.ok(w.KeepOrphan(w.ctx, store.Orphan{ID: "a1", Connection: id("crm"), Gen: 4, Sealed: []byte("other")}))
		w.ok(w.KeepOrphan(w.ctx, store.Orphan{ID: "a2", Connection: id("crm"), Gen: 5, Sealed: []byte("s2")}))
		w.ok(w.KeepOrphan(w.ctx, store.Orphan{ID: "a3", Connection: id("erp"), Gen: 5, Sealed: []byte("s3")}))
		o.CreatedAt = begin
		got, err := w.Orphans(w.ctx, id("crm"))
		w.ok(err)
		equal(w, got, []store.Orphan{{ID: "a2", Connection: id("crm"), Gen: 5, Sealed: []byte("s2"), CreatedAt: w.now()}, o})
		for i, before := range []time.Time{begin, at(time.Millisecond)} {
			w.ok(w.TrimOrphans(w.ctx, before))
			got, err = w.Orphans(w.ctx, id("crm"))
			w.ok(err)
			equal(w, len(got), 2-i)
		}
	}},
}
