package store

import (
	"context"
	"sync"
	"time"
)

// Where transactions run side by side, an event's number is taken before its
// transaction ends: a reader that goes on after the highest number it has seen
// would never see one that was slower. So a list of events ends before a gap
// until whoever may fill it has ended. Most gaps are those of transactions that
// were undone, and of a server that was killed.

// A Settler is a DB whose transactions run side by side.
type Settler interface {
	// Settled returns a mark that all transactions under way lie before, and the
	// mark before which all have ended.
	Settled(ctx context.Context) (now, ended int64, err error)
}

const (
	// gapLongest is how long a gap is waited at: longer than any transaction.
	gapLongest = time.Minute
	// gapAncient is the age of an event whose neighbours are not waited for,
	// whatever the clocks of those who wrote them said.
	gapAncient = time.Hour
)

// gaps remembers gaps that were seen, by the number that follows each.
type gaps struct {
	mu   sync.Mutex
	seen map[int64]gap
}

type gap struct {
	mark int64
	at   time.Time
}

// closed reports whether the gap before the event of number seq stays one. Only
// a list that was read after it returned true has all that ever comes before.
func (g *gaps) closed(ctx context.Context, db Settler, seq int64) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, ended, err := db.Settled(ctx)
	if err != nil {
		return false, err
	}
	was, known := g.seen[seq]
	if !known {
		if g.seen == nil || len(g.seen) > 10_000 {
			g.seen = map[int64]gap{}
		}
		was = gap{mark: now, at: time.Now()}
		g.seen[seq] = was
	}
	return ended >= was.mark || time.Since(was.at) > gapLongest, nil
}

// whole cuts a list of all events, read after the number given, before the
// first gap that may still be filled. again says that the list has to be read
// anew, because one has just been found to stay.
func (s *Store) whole(ctx context.Context, after int64, events []Event, passed map[int64]bool) (list []Event, again bool, err error) {
	db, ok := s.db.(Settler)
	if !ok || len(events) == 0 {
		return events, false, nil
	}
	for i, e := range events {
		gapped := e.Seq != after+1 && !passed[e.Seq]
		after = e.Seq
		if !gapped || time.Since(e.At) > gapAncient {
			continue
		}
		closed, err := s.gaps.closed(ctx, db, e.Seq)
		if err != nil {
			return nil, false, err
		}
		if !closed {
			return events[:i], false, nil
		}
		passed[e.Seq] = true
		again = true
	}
	return events, again, nil
}
