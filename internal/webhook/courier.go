package webhook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Book knows the receivers; *resource.Book is one.
type Book interface {
	Names(ctx context.Context, kind string) iter.Seq2[string, error]
	Webhook(ctx context.Context, name string) (w *freshet.Webhook, declared time.Time, err error)
}

// Options are what a Courier is made of. Store, Book and Client are required.
type Options struct {
	Store  *store.Store
	Book   Book
	Client *http.Client // of the guarded dialer; it must follow no redirects

	Scrub  func(string) string // takes secrets out of texts; nil: they stay as they are
	Now    func() time.Time    // nil: time.Now
	Jitter func() float64      // uniform in [0,1); nil: math/rand
	Log    *slog.Logger        // nil: silence
}

const (
	kind       = "webhook"  // of letters
	receivers  = "webhooks" // of resources
	cursorKey  = "webhook_cursor"
	batch      = 200
	lookEvery  = time.Second
	lease      = time.Minute // how long a letter belongs to whoever sends it
	patience   = 10 * time.Second
	firstRetry = 5 * time.Second
	maxRetry   = time.Hour
	// Older events are not told to a receiver, and older letters are given up.
	tellFor = 72 * time.Hour
)

// A Courier delivers events until it is closed.
type Courier struct {
	o    Options
	wake chan struct{}
	stop context.CancelFunc
	wg   sync.WaitGroup

	cursor   int64 // the last event that was looked at; of the loop
	revision int64 // of the cursor's row
	loaded   bool

	mu    sync.Mutex
	rests map[string]rest // receivers that fail
	busy  map[string]bool // receivers that are being written to
}

// A rest is how long a receiver that fails is left alone.
type rest struct {
	until    time.Time
	failures int
}

// Start returns a Courier that has begun.
func Start(o Options) *Courier {
	if o.Scrub == nil {
		o.Scrub = func(s string) string { return s }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = mathrand.Float64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Courier{o: o, wake: make(chan struct{}, 1), rests: map[string]rest{}, busy: map[string]bool{}}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.wg.Add(1)
	go c.loop(ctx)
	return c
}

// Nudge makes it look at once: there are events. It never blocks.
func (c *Courier) Nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Close stops delivering. What is queued stays queued, and what is on its way
// is sent again by the next start.
func (c *Courier) Close() error {
	c.stop()
	c.wg.Wait()
	return nil
}

func (c *Courier) loop(ctx context.Context) {
	defer c.wg.Done()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		if err := c.collect(ctx); err != nil && ctx.Err() == nil {
			c.o.Log.Warn("webhooks not queued", "error", err)
		}
		if err := c.deliver(ctx); err != nil && ctx.Err() == nil {
			c.o.Log.Warn("webhooks not sent", "error", err)
		}
		select {
		case <-t.C:
		case <-c.wake:
		case <-ctx.Done():
			return
		}
	}
}

// A receiver is a webhook that is declared.
type receiver struct {
	name     string
	hook     *freshet.Webhook
	declared time.Time
}

func (r *receiver) wants(e *store.Event) bool {
	return slices.Contains(freshet.WebhookEvents, e.Type) && (len(r.hook.Events) == 0 || slices.Contains(r.hook.Events, e.Type)) && !e.At.Before(r.declared)
}

func (c *Courier) receivers(ctx context.Context) ([]receiver, error) {
	var out []receiver
	for name, err := range c.o.Book.Names(ctx, receivers) {
		if err != nil {
			return nil, err
		}
		hook, declared, err := c.o.Book.Webhook(ctx, name)
		if errors.Is(err, freshet.ErrNotFound) {
			continue
		} else if err != nil {
			// One that does not open must not silence the others.
			c.o.Log.Warn("webhook left out", "webhook", name, "error", err)
			continue
		}
		out = append(out, receiver{name, hook, declared})
	}
	return out, nil
}

// collect queues a letter for each event and each receiver that wants it, and
// moves the cursor in the same transaction.
func (c *Courier) collect(ctx context.Context) error {
	to, err := c.receivers(ctx)
	if err != nil {
		return err
	}
	if !c.loaded {
		if err := c.load(ctx); err != nil {
			return err
		}
	}
	if len(to) == 0 {
		// Nobody listens: nothing is written, and who is declared later hears
		// of what comes then.
		last, err := c.o.Store.LastEvents(ctx, "", 1)
		if err == nil && len(last) > 0 {
			c.cursor = max(c.cursor, last[0].Seq)
		}
		return err
	}
	for {
		events, err := c.o.Store.Events(ctx, "", c.cursor, batch)
		if err != nil || len(events) == 0 {
			return err
		}
		letters, err := c.letters(to, events)
		if err != nil {
			return err
		}
		next := events[len(events)-1].Seq
		err = c.o.Store.Change(ctx, func(ch *store.Change) error {
			if err := ch.PutMeta(cursorKey, strconv.AppendInt(nil, next, 10), c.revision); err != nil {
				return err
			}
			return ch.Post(letters...)
		})
		if errors.Is(err, store.ErrStale) {
			c.loaded = false // another process was here; what it queued is queued
			return nil
		} else if err != nil {
			return err
		}
		c.cursor, c.revision = next, c.revision+1
	}
}

// load reads where the process before was. The first process of all begins with
// what comes.
func (c *Courier) load(ctx context.Context) error {
	b, revision, err := c.o.Store.Meta(ctx, cursorKey)
	if errors.Is(err, store.ErrNotFound) {
		last, err := c.o.Store.LastEvents(ctx, "", 1)
		if err != nil {
			return err
		}
		if len(last) > 0 {
			c.cursor = max(c.cursor, last[0].Seq)
		}
		c.revision, c.loaded = 0, true
		return nil
	} else if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", cursorKey, err)
	}
	c.cursor, c.revision, c.loaded = max(c.cursor, n), revision, true
	return nil
}

// A Message is what a receiver gets. It holds no secret.
type Message struct {
	Type       string         `json:"type"`
	At         time.Time      `json:"at"`
	Connection string         `json:"connection,omitempty"`
	Detail     map[string]any `json:"detail,omitempty"`
}

func (c *Courier) letters(to []receiver, events []store.Event) ([]store.Letter, error) {
	var out []store.Letter
	oldest := c.o.Now().Add(-tellFor)
	for i := range events {
		e := &events[i]
		for j := range to {
			if !to[j].wants(e) || e.At.Before(oldest) {
				continue
			}
			detail := make(map[string]any, len(e.Detail))
			for name, v := range e.Detail {
				if s, ok := v.(string); ok {
					v = c.o.Scrub(s)
				}
				detail[name] = v
			}
			b, err := json.Marshal(Message{Type: e.Type, At: e.At.UTC(), Connection: e.Connection, Detail: detail})
			if err != nil {
				return nil, fmt.Errorf("event %d: %w", e.Seq, err)
			}
			out = append(out, store.Letter{ID: "webhook-" + to[j].name + "-" + strconv.FormatInt(e.Seq, 10), Kind: kind, Target: to[j].name, Payload: string(b)})
		}
	}
	return out, nil
}

// deliver starts a writer for each receiver that has letters due: one that is
// slow or dead holds up nobody else.
func (c *Courier) deliver(ctx context.Context) error {
	due, err := c.o.Store.DueLetters(ctx, kind, batch)
	if err != nil || len(due) == 0 {
		return err
	}
	byTarget := map[string][]store.Letter{}
	for _, l := range due {
		byTarget[l.Target] = append(byTarget[l.Target], l)
	}
	now := c.o.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, letters := range byTarget {
		// In the order of the events, as far as they wait together.
		slices.SortFunc(letters, func(a, b store.Letter) int {
			return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
		})
		if c.busy[name] || now.Before(c.rests[name].until) {
			continue
		}
		c.busy[name] = true
		c.wg.Go(func() {
			more := c.write(ctx, name, letters)
			c.mu.Lock()
			delete(c.busy, name)
			c.mu.Unlock()
			if more {
				c.Nudge()
			}
		})
	}
	return nil
}

// write sends letters to one receiver until one fails. It reports whether all
// went out.
func (c *Courier) write(ctx context.Context, name string, letters []store.Letter) bool {
	hook, _, err := c.o.Book.Webhook(ctx, name)
	if errors.Is(err, freshet.ErrNotFound) {
		for _, l := range letters { // nobody wants them any more
			c.done(ctx, &l)
		}
		return true
	}
	for _, l := range letters {
		if err == nil {
			err = c.o.Store.ClaimLetter(ctx, l.ID, l.NextAt, c.o.Now().Add(lease))
			if errors.Is(err, store.ErrStale) {
				err = nil
				continue
			}
		}
		if err == nil {
			err = c.send(ctx, hook, &l)
		}
		if ctx.Err() != nil {
			return false // the lease runs out, and the next process sends it
		}
		if err != nil {
			c.failed(ctx, name, &l, err)
			return false
		}
		c.mu.Lock()
		delete(c.rests, name)
		c.mu.Unlock()
		c.done(ctx, &l)
	}
	return true
}

// done removes a letter. One that stays is sent again, which receivers expect.
func (c *Courier) done(ctx context.Context, l *store.Letter) {
	if err := c.o.Store.Delivered(context.WithoutCancel(ctx), l.ID); err != nil {
		c.o.Log.Warn("webhook letter not removed", "webhook", l.Target, "letter", l.ID, "error", err)
	}
}

// send sends one letter once.
func (c *Courier) send(ctx context.Context, w *freshet.Webhook, l *store.Letter) error {
	var head struct{ Type string }
	if err := json.Unmarshal([]byte(l.Payload), &head); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body := []byte(l.Payload)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "freshet-webhook")
	req.Header.Set(HeaderEvent, head.Type)
	req.Header.Set(HeaderDelivery, l.ID)
	Sign(req.Header, w.Secret, body, c.o.Now())
	res, err := c.o.Client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	io.CopyN(io.Discard, res.Body, 64<<10)
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("it answered %d", res.StatusCode)
	}
	return nil
}

// failed plans the next attempt, for the letter and for its receiver.
func (c *Courier) failed(ctx context.Context, name string, l *store.Letter, cause error) {
	now := c.o.Now()
	c.mu.Lock()
	r := c.rests[name]
	r.failures = max(r.failures, l.Attempts) + 1
	r.until = now.Add(backoff(r.failures, c.o.Jitter()))
	c.rests[name] = r
	c.mu.Unlock()
	text := c.o.Scrub(cause.Error())
	if now.Sub(l.CreatedAt) > tellFor {
		c.o.Log.Error("webhook given up", "webhook", name, "letter", l.ID, "attempts", l.Attempts+1, "error", text)
		c.done(ctx, l)
		return
	}
	c.o.Log.Warn("webhook not delivered", "webhook", name, "letter", l.ID, "attempts", l.Attempts+1, "next", r.until, "error", text)
	if err := c.o.Store.Returned(context.WithoutCancel(ctx), l.ID, text, r.until); err != nil {
		c.o.Log.Warn("webhook attempt not noted", "webhook", name, "error", err)
	}
}

// backoff doubles with each failure and is up to a fifth longer, so that those
// who failed together do not come back together.
func backoff(failures int, jitter float64) time.Duration {
	d := firstRetry
	for i := 1; i < failures && d < maxRetry; i++ {
		d *= 2
	}
	d = min(d, maxRetry)
	return d + time.Duration(jitter*0.2*float64(d))
}
