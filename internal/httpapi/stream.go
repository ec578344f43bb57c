package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/run"
	"github.com/freshet-dev/freshet/internal/store"
)

// A hub reads events from the store once for all streams. It works while
// somebody listens.
type hub struct {
	st  *store.Store
	log *slog.Logger

	wake chan struct{}
	stop context.CancelFunc
	done sync.WaitGroup

	mu        sync.Mutex
	listeners int
	begin     bool          // recent is in use
	recent    []store.Event // the newest, oldest first
	last      int64         // Seq of the newest that was read
	news      chan struct{} // closed when there are more
}

const (
	recentMost = 1024
	readBatch  = 256
	// lookEvery finds events of other processes, and those whose nudge was
	// missed.
	lookEvery = time.Second
	heartbeat = 15 * time.Second
	// slowListener is how long a listener may take for one batch.
	slowListener = 30 * time.Second
)

func newHub(st *store.Store, log *slog.Logger) *hub {
	h := &hub{st: st, log: log, wake: make(chan struct{}, 1), news: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.done.Add(1)
	go h.loop(ctx)
	return h
}

func (h *hub) close() {
	h.stop()
	h.done.Wait()
}

func (h *hub) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// join counts a listener in and returns where the events end now.
func (h *hub) join(ctx context.Context) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == 0 {
		last, err := h.st.LastEvents(ctx, "", 1)
		if err != nil {
			return 0, err
		}
		h.recent, h.last = nil, 0
		if len(last) > 0 {
			h.last = last[0].Seq
		}
	}
	h.listeners++
	return h.last, nil
}

func (h *hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners--; h.listeners == 0 {
		h.recent = nil
	}
}

func (h *hub) loop(ctx context.Context) {
	defer h.done.Done()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-h.wake:
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if err := h.read(ctx); err != nil && ctx.Err() == nil {
			h.log.Warn("events not read for streams", "error", err)
		}
	}
}

// read fetches what is new. It is called from the loop alone.
func (h *hub) read(ctx context.Context) error {
	for {
		h.mu.Lock()
		last, listeners := h.last, h.listeners
		h.mu.Unlock()
		if listeners == 0 {
			return nil
		}
		events, err := h.st.Events(ctx, "", last, readBatch)
		if err != nil || len(events) == 0 {
			return err
		}
		h.mu.Lock()
		if h.last == last && h.listeners > 0 { // nobody began anew meanwhile
			h.recent = append(h.recent, events...)
			if n := len(h.recent) - recentMost; n > 0 {
				h.recent = append([]store.Event(nil), h.recent[n:]...)
			}
			h.last = events[len(events)-1].Seq
			close(h.news)
			h.news = make(chan struct{})
		}
		h.mu.Unlock()
	}
}

// after returns events of a connection ("": of all) after seq, and a channel
// that is closed when there are more than these.
func (h *hub) after(ctx context.Context, connection string, seq int64) (events []store.Event, upTo int64, more <-chan struct{}, err error) {
	h.mu.Lock()
	news, last := h.news, h.last
	if len(h.recent) > 0 && h.recent[0].Seq <= seq+1 || seq >= last {
		for _, e := range h.recent {
			if e.Seq > seq && (connection == "" || e.Connection == connection) {
				events = append(events, e)
			}
		}
		h.mu.Unlock()
		return events, max(seq, last), news, nil
	}
	h.mu.Unlock()
	// Too far back for memory.
	events, err = h.st.Events(ctx, connection, seq, readBatch)
	if err != nil {
		return nil, seq, nil, err
	}
	if len(events) < readBatch {
		upTo = max(seq, last)
		if len(events) > 0 {
			upTo = max(upTo, events[len(events)-1].Seq)
		}
		return events, upTo, news, nil
	}
	now := make(chan struct{})
	close(now)
	return events, events[len(events)-1].Seq, now, nil
}

// wantsStream reports whether a request asks for server-sent events.
func wantsStream(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// orStream answers a list's request for a stream with one. It comes after the
// caller is known.
func (a *API) orStream(connection func(r *http.Request) string) func(ctx huma.Context, next func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if !wantsStream(r) {
			next(ctx)
			return
		}
		name := connection(r)
		if name != "" {
			if _, err := a.o.Source.Status(r.Context(), name); err != nil {
				a.fail(w, r, err)
				return
			}
		}
		a.stream(w, r, callOf(ctx.Context()), name)
	}
}

// stream sends events as they happen, until the client leaves, its key is no
// longer good, or the server stops. It goes on after Last-Event-ID.
func (a *API) stream(w http.ResponseWriter, r *http.Request, c *call, connection string) {
	ctx := r.Context()
	seq, err := a.hub.join(ctx)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	defer a.hub.leave()
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n < 0 {
			problem.Write(w, http.StatusBadRequest, "bad-event-id", "Last-Event-ID is no event of this server", "leave it out to begin with what happens now", nil)
			return
		}
		seq = min(seq, n)
	}
	var runs *runSub
	var happened <-chan run.Event
	if connection == "" {
		runs = a.runs.join()
		defer a.runs.leave(runs)
		happened = runs.c
	}
	rc := streaming(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	// What is written first tells the client that it is heard.
	if !send(w, rc, "retry: 2000\n\n") {
		return
	}
	for {
		events, upTo, more, err := a.hub.after(ctx, connection, seq)
		if err != nil {
			if ctx.Err() == nil {
				a.log.Warn("stream of events ends", "error", err)
			}
			return
		}
		var b strings.Builder
		for i := range events {
			writeEvent(&b, &events[i])
		}
		if b.Len() > 0 && !send(w, rc, b.String()) {
			return
		}
		seq = upTo
		select {
		case <-more:
		case e := <-happened:
			b.Reset()
			runs.events(&b, e, false)
			if b.Len() > 0 && !send(w, rc, b.String()) {
				return
			}
		case <-beat.C:
			if !send(w, rc, ": still here\n\n") {
				return
			}
		case <-c.caller.Revoked():
			send(w, rc, keyGone)
			return
		case <-a.closing:
			return
		case <-ctx.Done():
			return
		}
	}
}

// keyGone is the last event of a stream whose key was revoked.
const keyGone = "event: end\ndata: {\"reason\":\"the API key is no longer good\"}\n\n"

func send(w http.ResponseWriter, rc *http.ResponseController, s string) bool {
	rc.SetWriteDeadline(time.Now().Add(slowListener))
	if _, err := w.Write([]byte(s)); err != nil {
		return false
	}
	return rc.Flush() == nil
}

// writeEvent writes e as one server-sent event. JSON has no line ends.
func writeEvent(b *strings.Builder, e *store.Event) {
	j, err := json.Marshal(eventOf(e))
	if err != nil {
		return
	}
	fmt.Fprintf(b, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Type, j)
}
