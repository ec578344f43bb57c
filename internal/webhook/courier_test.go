package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
)

var secret = freshet.NewSecret("0123456789abcdef0123456789abcdef")

const (
	reauth    = "connection.needs_reauthorization"
	recovered = "connection.recovered"
	refreshed = "token.refreshed"
)

// book is what is declared, and since when.
type book struct {
	mu sync.Mutex
	m  map[string]*freshet.Webhook
	at map[string]time.Time
}

func (b *book) set(name string, w *freshet.Webhook) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m, b.at = map[string]*freshet.Webhook{}, map[string]time.Time{}
	}
	delete(b.m, name)
	if w != nil {
		b.m[name], b.at[name] = w, time.Now()
	}
}

func (b *book) Names(context.Context, string) iter.Seq2[string, error] {
	b.mu.Lock()
	names := slices.Sorted(maps.Keys(b.m))
	b.mu.Unlock()
	return func(yield func(string, error) bool) {
		for _, n := range names {
			if !yield(n, nil) {
				return
			}
		}
	}
}

func (b *book) Webhook(_ context.Context, name string) (*freshet.Webhook, time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.m[name]; w != nil {
		return w, b.at[name], nil
	}
	return nil, time.Time{}, freshet.ErrNotFound
}

// A request is what a receiver saw.
type request struct {
	at     time.Time
	url    string
	header http.Header
	body   []byte
}

// A world is a Courier over a real database, and receivers that misbehave.
type world struct {
	*Courier
	t     *testing.T
	store *store.Store
	book  book

	mu     sync.Mutex
	seen   []request
	answer func(n int, r *http.Request) (int, error) // n counts from 1
}

func inWorld(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := sqlite.Open(context.Background(), dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, store: st, answer: func(int, *http.Request) (int, error) { return 204, nil }}
		w.book.set("ops", &freshet.Webhook{URL: "https://ops.example/hook", Secret: secret})
		w.start()
		defer func() {
			w.Close()
			st.Close()
		}()
		time.Sleep(2 * time.Second)
		fn(t, w)
	})
}

func (w *world) start() {
	w.Courier = Start(Options{Store: w.store, Book: &w.book, Client: &http.Client{Transport: w}, Jitter: func() float64 { return 0 },
		Scrub: func(s string) string { return strings.ReplaceAll(s, "CANARY", "[secret]") }})
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.seen = append(w.seen, request{time.Now(), r.URL.String(), r.Header.Clone(), b})
	n, answer := len(w.seen), w.answer
	w.mu.Unlock()
	status, err := answer(n, r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}, nil
}

func (w *world) requests() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

func (w *world) answers(fn func(n int, r *http.Request) (int, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = fn
}

func (w *world) happens(typ string, detail map[string]any) {
	w.t.Helper()
	if err := w.store.AppendEvents(context.Background(), store.Event{Connection: "crm", Type: typ, Detail: detail}); err != nil {
		w.t.Fatal(err)
	}
	w.Nudge()
}

func (w *world) queued() int {
	w.t.Helper()
	l, err := w.store.Letters(context.Background(), 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(l)
}

func TestEventsAreTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.book.set("few", &freshet.Webhook{URL: "https://few.example/", Secret: secret, Events: []string{recovered}})
		w.happens(reauth, map[string]any{"reason": "invalid_grant", "generation": 7})
		w.happens("refresh.failed", nil) // nobody is told of these
		w.happens(recovered, nil)
		time.Sleep(5 * time.Second)
		told := map[string]int{}
		for _, g := range w.requests() {
			told[g.url+" "+g.header.Get(HeaderEvent)]++
			var m Message
			if err := json.Unmarshal(g.body, &m); err != nil || m.Type != g.header.Get(HeaderEvent) || g.header.Get(HeaderDelivery) == "" || m.Connection != "crm" || m.At.IsZero() {
				t.Errorf("body %s: %v", g.body, err)
			}
			if m.Type == reauth && m.Detail["reason"] != "invalid_grant" {
				t.Errorf("body %s", g.body)
			}
			if err := Check(g.header, secret, g.body, g.at); err != nil {
				t.Errorf("%s: %v", g.url, err)
			}
		}
		want := map[string]int{"https://ops.example/hook " + reauth: 1, "https://ops.example/hook " + recovered: 1, "https://few.example/ " + recovered: 1}
		if !maps.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
		if n := w.queued(); n != 0 {
			t.Errorf("%d letters are left", n)
		}
	})
}

func TestAReceiverThatFailsIsAskedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		begin := time.Now()
		w.answers(func(n int, r *http.Request) (int, error) {
			switch n {
			case 1:
				return 0, errors.New("connection refused")
			case 2:
				return 500, nil
			case 3:
				return 302, nil
			}
			return 200, nil
		})
		w.happens(reauth, nil)
		w.happens(recovered, nil)
		time.Sleep(10 * time.Minute)
		seen := w.requests()
		if len(seen) != 5 {
			t.Fatalf("%d requests, want 4 of the first and 1 of the second", len(seen))
		}
		for i, want := range []time.Duration{0, 5 * time.Second, 15 * time.Second, 35 * time.Second} {
			if after := seen[i].at.Sub(begin); after < want || after > want+4*time.Second {
				t.Errorf("attempt %d came after %v, want %v", i+1, after, want)
			}
			if seen[i].header.Get(HeaderDelivery) != seen[0].header.Get(HeaderDelivery) || seen[i].header.Get(HeaderEvent) != reauth {
				t.Errorf("attempt %d is another letter", i+1)
			}
		}
		if seen[4].header.Get(HeaderEvent) != recovered {
			t.Error("the second letter is not the last")
		}
	})
}

func TestADeadReceiverStopsNobody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.book.set("dead", &freshet.Webhook{URL: "https://dead.example/", Secret: secret})
		w.answers(func(_ int, r *http.Request) (int, error) {
			if r.URL.Host == "dead.example" {
				<-r.Context().Done()
				return 0, r.Context().Err()
			}
			return 200, nil
		})
		for range 3 {
			w.happens(refreshed, nil)
		}
		time.Sleep(3 * time.Second)
		n := 0
		for _, g := range w.requests() {
			if strings.Contains(g.url, "ops") {
				n++
			}
		}
		if n != 3 {
			t.Errorf("the living one was told %d of 3", n)
		}
		time.Sleep(time.Hour)
		if n := len(w.requests()) - 3; n < 6 || n > 15 {
			t.Errorf("%d requests to a dead receiver in an hour", n)
		}
		// In the end its letters are given up.
		if err := w.store.DB().Tx(t.Context(), func(tx store.Querier) error {
			_, err := tx.Exec(t.Context(), `UPDATE outbox SET created_at = created_at - $1`, tellFor.Milliseconds())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Hour)
		if n := w.queued(); n != 0 {
			t.Errorf("%d letters are still queued after three days", n)
		}
	})
}

func TestNothingIsLostWithTheProcess(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.happens(refreshed, nil)
		time.Sleep(2 * time.Second)
		w.Close()
		if err := w.store.AppendEvents(t.Context(), store.Event{Connection: "crm", Type: reauth}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // down
		w.start()
		time.Sleep(2 * time.Second)
		if seen := w.requests(); len(seen) != 2 || seen[1].header.Get(HeaderEvent) != reauth {
			t.Errorf("%d requests after the restart", len(seen))
		}
	})
}

func TestNewReceiversHearNoOldStories(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.book.set("ops", nil)
		w.happens(reauth, nil)
		time.Sleep(3 * time.Second)
		w.book.set("late", &freshet.Webhook{URL: "https://late.example/", Secret: secret})
		time.Sleep(3 * time.Second)
		if n := len(w.requests()); n != 0 {
			t.Errorf("it was told %d old events", n)
		}
		w.happens(recovered, nil)
		time.Sleep(3 * time.Second)
		if n := len(w.requests()); n != 1 {
			t.Errorf("it was told %d new events", n)
		}
		// A receiver that goes takes its letters with it.
		w.answers(func(int, *http.Request) (int, error) { return 500, nil })
		w.happens(reauth, nil)
		time.Sleep(3 * time.Second)
		w.book.set("late", nil)
		time.Sleep(time.Hour)
		if n := w.queued(); n != 0 {
			t.Errorf("%d letters are left", n)
		}
	})
}

func TestS75_outgoing_webhooks_hold_no_secret(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.happens(reauth, map[string]any{"detail": "it said CANARY", "reason": "invalid_grant"})
		time.Sleep(2 * time.Second)
		seen := w.requests()
		if len(seen) != 1 {
			t.Fatalf("%d requests", len(seen))
		}
		all := string(seen[0].body) + fmt.Sprint(seen[0].header)
		if strings.Contains(all, "CANARY") || strings.Contains(all, secret.Reveal()) || !strings.Contains(all, "it said [secret]") {
			t.Errorf("what goes out: %s", all)
		}
	})
}

func TestS75_forged_signatures(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	body := []byte(`{"type":"token.refreshed"}`)
	good := http.Header{}
	Sign(good, secret, body, now)
	with := func(name, value string) http.Header {
		h := good.Clone()
		if value == "" {
			h.Del(name)
		} else {
			h.Set(name, value)
		}
		return h
	}
	sig := good.Get(HeaderSignature)
	for name, c := range map[string]struct {
		h      http.Header
		body   []byte
		secret freshet.Secret
		at     time.Time
		ok     bool
	}{
		"as it is":                  {good, body, secret, now, true},
		"among others":              {with(HeaderSignature, "v2=ab, "+sig), body, secret, now, true},
		"at the edge of the window": {good, body, secret, now.Add(Window), true},
		"before, at the edge":       {good, body, secret, now.Add(-Window), true},
		"too old":                   {good, body, secret, now.Add(Window + time.Second), false},
		"from the future":           {good, body, secret, now.Add(-Window - time.Second), false},
		"another body":              {good, []byte(`{"type":"token.refreshes"}`), secret, now, false},
		"another secret":            {good, body, freshet.NewSecret("other"), now, false},
		"no secret":                 {good, body, freshet.Secret{}, now, false},
		"another timestamp":         {with(HeaderTimestamp, strconv.FormatInt(now.Unix()+1, 10)), body, secret, now, false},
		"no timestamp":              {with(HeaderTimestamp, ""), body, secret, now, false},
		"two timestamps":            {http.Header{HeaderTimestamp: {"1800000000", "1"}, HeaderSignature: {sig}}, body, secret, now, false},
		"no signature":              {with(HeaderSignature, ""), body, secret, now, false},
		"no header at all":          {http.Header{}, body, secret, now, false},
		"a cut signature":           {with(HeaderSignature, sig[:20]), body, secret, now, false},
		"another version":           {with(HeaderSignature, "v0="+sig[3:]), body, secret, now, false},
		"the dot is in the body":    {good, append([]byte("."), body...), secret, now, false},
	} {
		if err := Check(c.h, c.secret, c.body, c.at); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Letters go through the guarded dialer: what is not public is not reached.
func TestS17_webhooks_reach_no_internal_address(t *testing.T) {
	hits := make(chan struct{}, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits <- struct{}{} }))
	defer srv.Close()
	for _, allow := range [][]string{nil, {"127.0.0.0/8"}} {
		g, err := dial.New(dial.Options{Allow: allow})
		if err != nil {
			t.Fatal(err)
		}
		c := &Courier{o: Options{Client: g.Client(dial.Upstream), Now: time.Now}}
		err = c.send(t.Context(), &freshet.Webhook{URL: srv.URL, Secret: secret}, &store.Letter{Payload: `{"type":"b"}`})
		if (err == nil) != (allow != nil) || allow == nil && !errors.Is(err, dial.ErrDenied) {
			t.Errorf("allow %v: %v", allow, err)
		}
		if (len(hits) > 0) != (allow != nil) {
			t.Errorf("allow %v: %d requests arrived", allow, len(hits))
		}
	}
}
