package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/store"
)

// An Entry is one thing that somebody did. It holds no secret.
type Entry struct {
	At      time.Time // zero: when it is recorded
	Actor   string    // key:NAME#ID, or system, browser, config
	Action  string    // an Action
	Subject string    // the connection, KIND/NAME, or key
	Detail  string    // a JSON object, or "" for none
	From    string    // remote address, if there is one
	Request string    // id of the request, if there is one
}

// The actions.
const (
	TokenRead      = "token.read"    // a token was handed out
	TokenInject    = "token.inject"  // a call was made as the connection
	TokenRefresh   = "token.refresh" // somebody forced a refresh
	TokenImport    = "token.import"  // a token set was brought
	Connect        = "connection.connect"
	Connected      = "connection.connected" // an authorization was finished
	Verify         = "connection.verify"
	Revoke         = "connection.revoke"
	ResourceApply  = "resource.apply"
	ResourcePut    = "resource.put"
	ResourceDelete = "resource.delete"
	Export         = "resource.export"
	Reveal         = "resource.reveal" // an export with its secrets
	RunCancel      = "run.cancel"
	RunRetry       = "run.retry"
	RowInsert      = "row.insert" // one row or many
	RowUpdate      = "row.update"
	RowDelete      = "row.delete"
	KeyCreate      = "key.create"
	KeyRevoke      = "key.revoke"
	KeyUse         = "key.use"     // a look at anything that is recorded as nothing else
	KeyRefused     = "key.refused" // a key without the scope
	Gap            = "audit.gap"   // entries that were lost, and how many
)

// A Store keeps the rows; *store.Store is one.
type Store interface {
	AppendAudit(ctx context.Context, rows []store.AuditRow, link func(last store.AuditRow, rows []store.AuditRow)) error
	Audit(ctx context.Context, after int64, limit int) ([]store.AuditRow, error)
}

// Options are what a Log is made of. Store and Hasher are required.
type Options struct {
	Store  Store
	Hasher Hasher
	Strict bool
	Queue  int              // entries that may wait; 0: 16,384
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: silence
}

const (
	// groupWait is how long the first entry of a group waits for more, in the
	// default mode: one fsync then serves them all.
	groupWait  = 50 * time.Millisecond
	groupSize  = 4096
	firstRetry = 100 * time.Millisecond
	maxRetry   = 5 * time.Second
)

// A Log records entries. It is safe for concurrent use.
type Log struct {
	o     Options
	full  int           // entries that are not kept waiting for more
	chain *chain        // the writer's
	work  chan struct{} // there is something to write, or to stop for
	abort chan struct{} // closed when what waits is given up
	done  chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	group   *group        // takes entries
	writing *group        // nil: none
	room    chan struct{} // closed when the group is taken away
	failing bool          // the last write failed
	lost    int64         // entries that found no room and are in no row yet
	closed  bool
	total   Stats
}

// A group is written at once.
type group struct {
	entries []Entry
	done    chan struct{} // closed when it is durable, or has failed
	err     error
}

// Stats are the figures of a Log.
type Stats struct {
	Written int64 // rows
	Lost    int64 // entries without a row
	Waiting int   // entries on their way
	Failing bool  // the database takes no rows just now
}

// New returns a Log that writes until Close.
func New(o Options) *Log {
	if o.Queue <= 0 {
		o.Queue = 16384
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{o: o, full: min(groupSize, o.Queue), chain: newChain(o.Hasher), work: make(chan struct{}, 1), abort: make(chan struct{}), done: make(chan struct{}),
		group: newGroup(), room: make(chan struct{})}
	go l.write()
	return l
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// Strict reports whether Record waits for the row.
func (l *Log) Strict() bool { return l.o.Strict }

// Stats returns the present figures.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.total
	s.Failing, s.Waiting = l.failing, len(l.group.entries)
	s.Lost += l.lost
	if l.writing != nil {
		s.Waiting += len(l.writing.entries)
	}
	return s
}

// Record records e. In strict mode it returns when the row is durable, or
// ErrUnrecorded. Otherwise it returns as soon as there is room for e, nil unless
// ctx ends before.
func (l *Log) Record(ctx context.Context, e Entry) error {
	if e.At.IsZero() {
		e.At = l.o.Now()
	}
	g, err := l.add(ctx, e)
	if g == nil || !l.o.Strict {
		return err
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("record %s: %w", e.Action, ctx.Err())
	}
}

// add puts e into a group, which is nil if e found no room.
func (l *Log) add(ctx context.Context, e Entry) (*group, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.group.entries) >= l.o.Queue && !l.closed {
		if l.failing && !l.o.Strict {
			// G12: a token that lives is served whatever else is down. What is
			// lost of the record is said in the record.
			l.lost++
			return nil, nil
		}
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
			l.mu.Lock()
		case <-ctx.Done():
			l.mu.Lock()
			return nil, fmt.Errorf("record %s: %w", e.Action, ctx.Err())
		}
	}
	if l.closed {
		return nil, fmt.Errorf("record %s: this server is stopping: %w", e.Action, ErrUnrecorded)
	}
	g := l.group
	g.entries = append(g.entries, e)
	if n := len(g.entries); n == 1 || n == l.full {
		l.nudge()
	}
	return g, nil
}

func (l *Log) nudge() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// Flush returns when everything that was recorded before is durable, or when
// ctx ends.
func (l *Log) Flush(ctx context.Context) error {
	l.mu.Lock()
	g := l.writing
	if len(l.group.entries) > 0 {
		g = l.group
	}
	l.mu.Unlock()
	if g == nil {
		return nil
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return fmt.Errorf("flush the audit: %w", ctx.Err())
	}
}

// Close takes no more entries, writes what waits, and returns when it is
// durable. When ctx ends before, the rest is given up, and the error says how
// much that is.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	close(l.room)
	l.room = make(chan struct{})
	l.mu.Unlock()
	if again {
		<-l.done
		return nil
	}
	l.nudge()
	select {
	case <-l.done:
	case <-ctx.Done():
		close(l.abort)
		<-l.done
	}
	if s := l.Stats(); s.Waiting > 0 {
		return fmt.Errorf("close the audit: %d entries are not written: %w", s.Waiting, ctx.Err())
	}
	return nil
}

// write is the one writer.
func (l *Log) write() {
	defer close(l.done)
	for {
		l.mu.Lock()
		n, closed := len(l.group.entries), l.closed
		l.mu.Unlock()
		switch {
		case n == 0 && closed:
			return
		case n == 0:
			<-l.work
			continue
		case n < l.full && !closed && !l.o.Strict:
			// More will come. Strict callers wait for us: those who arrive while
			// a group is written are the next one.
			l.pause(groupWait)
		}
		if !l.put(l.take()) {
			return
		}
	}
}

// pause waits for d, for a full group or for the end.
func (l *Log) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return
		case <-l.work:
			l.mu.Lock()
			now := l.closed || len(l.group.entries) >= l.full
			l.mu.Unlock()
			if now {
				return
			}
		}
	}
}

// take makes the group the one that is written.
func (l *Log) take() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.group
	if l.lost > 0 {
		g.entries = append(g.entries, Entry{At: l.o.Now(), Actor: "system", Action: Gap, Detail: fmt.Sprintf(`{"lost":%d}`, l.lost)})
		l.total.Lost += l.lost
		l.lost = 0
	}
	l.writing, l.group = g, newGroup()
	close(l.room)
	l.room = make(chan struct{})
	return g
}

// put writes g, in the default mode until it is written. It returns false when
// it was told to give up.
func (l *Log) put(g *group) bool {
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		err := l.append(g)
		l.mu.Lock()
		l.failing = err != nil
		if len(g.entries) == 0 || l.o.Strict {
			l.writing = nil
		}
		l.mu.Unlock()
		switch {
		case err == nil:
			close(g.done)
			return true
		case l.o.Strict:
			l.o.Log.Error("audit not written: answers are refused", "entries", len(g.entries), "error", err)
			g.err = fmt.Errorf("%w: %w", ErrUnrecorded, err)
			close(g.done)
			return true
		}
		l.o.Log.Error("audit not written: it is tried again", "entries", len(g.entries), "error", err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-l.abort:
			t.Stop()
			g.err = err
			close(g.done)
			return false
		}
	}
}

// append writes the entries of g and takes out those that are durable.
func (l *Log) append(g *group) error {
	for len(g.entries) > 0 {
		part := g.entries[:min(len(g.entries), groupSize)]
		rows := make([]store.AuditRow, len(part))
		for i := range part {
			rows[i] = part[i].row()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		err := l.o.Store.AppendAudit(ctx, rows, l.chain.link)
		cancel()
		if err != nil {
			return err
		}
		l.mu.Lock()
		g.entries = g.entries[len(part):]
		l.total.Written += int64(len(part))
		l.mu.Unlock()
	}
	return nil
}

// link chains rows to the last one there is.
func (c *chain) link(last store.AuditRow, rows []store.AuditRow) {
	prev := last.Hash
	for i := range rows {
		rows[i].Hash = c.hash(prev, &rows[i])
		prev = rows[i].Hash
	}
}

// row is e as it is kept.
func (e *Entry) row() store.AuditRow {
	return store.AuditRow{At: e.At, Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: e.detail()}
}

// detail joins what the entry says with where it came from.
func (e *Entry) detail() string {
	if e.From == "" && e.Request == "" {
		if e.Detail == "" {
			return "{}"
		}
		return e.Detail
	}
	b := make([]byte, 0, len(e.Detail)+len(e.From)+len(e.Request)+24)
	if n := len(e.Detail); n > 2 && e.Detail[n-1] == '}' {
		b = append(append(b, e.Detail[:n-1]...), ',')
	} else {
		b = append(b, '{')
	}
	if e.From != "" {
		b = append(appendJSON(append(b, `"from":`...), e.From), ',')
	}
	if e.Request != "" {
		b = append(appendJSON(append(b, `"request":`...), e.Request), ',')
	}
	b[len(b)-1] = '}'
	return string(b)
}

func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			q, err := json.Marshal(s)
			if err != nil {
				return append(b, `""`...)
			}
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// Detail is the text of Entry.Detail for members in pairs of name and value.
func Detail(pairs ...any) string {
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "{}"
	}
	return string(b)
}

// Strings is Detail for texts alone, at less cost.
func Strings(pairs ...string) string {
	b := []byte{'{'}
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(b, pairs[i])
		b = append(b, ':')
		b = appendJSON(b, pairs[i+1])
	}
	return string(append(b, '}'))
}
