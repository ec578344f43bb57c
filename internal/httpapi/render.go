package httpapi

import (
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/refresh"
)

// A tokenAnswer is what a token read says.
type tokenAnswer struct {
	AccessToken string     `json:"access_token"`
	TokenType   string     `json:"token_type" doc:"What goes before it in an Authorization header: Bearer or DPoP."`
	ExpiresAt   *time.Time `json:"expires_at" doc:"null: the provider did not say."`
	Scope       string     `json:"scope"`
	Generation  int64      `json:"generation" doc:"Counts the connection's tokens. Name it when an API refuses this one."`
	Stale       bool       `json:"stale" doc:"It lives, but a refresh that was due is failing."`
	CacheUntil  *time.Time `json:"cache_until" doc:"It may be used until then without asking again; null: ask each time."`
	Use         use        `json:"use"`
}

type use struct {
	Hosts    []string   `json:"hosts" doc:"scheme://host[:port], all that it may be sent to; empty: the connection names no API."`
	Inject   []injected `json:"inject" doc:"Where it goes in a request, rendered."`
	Rejected rejected   `json:"rejected"`
}

type injected struct {
	In    string `json:"in" enum:"header,query,cookie"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

type rejected struct {
	Status []int  `json:"status" doc:"Statuses that mean: this token is not accepted."`
	Body   string `json:"body,omitempty" doc:"A predicate over the answer that must hold as well."`
}

// A rendering is the answer for one token, ready to be written.
type rendering struct {
	tok   *freshet.Token
	def   *freshet.Definition
	until time.Time
	stale bool

	body   []byte
	length []string // Content-Length
	detail string   // of the audit row
	once   bool     // a value of it differs from call to call
}

// of reports whether the rendering is of this reading.
func (v *rendering) of(def *freshet.Definition, r refresh.Reading) bool {
	return v.tok == r.Token && v.def == def && v.stale == r.Stale && v.until.Equal(r.Until) && !v.once
}

// rendered keeps renderings by connection, a bounded number of bytes of them:
// what was not used since the older half began is dropped with it.
type rendered struct {
	mu    sync.Mutex
	young atomic.Pointer[generation]
	old   atomic.Pointer[generation]
}

type generation struct {
	m     sync.Map // *refresh.Conn → *rendering
	bytes atomic.Int64
}

// renderedMost is how many bytes one generation may hold.
const renderedMost = 16 << 20

func (c *rendered) get(conn *refresh.Conn) *rendering {
	young := c.young.Load()
	if young == nil {
		return nil
	}
	if v, ok := young.m.Load(conn); ok {
		return v.(*rendering)
	}
	if old := c.old.Load(); old != nil {
		if v, ok := old.m.Load(conn); ok {
			c.put(conn, v.(*rendering))
			return v.(*rendering)
		}
	}
	return nil
}

func (c *rendered) put(conn *refresh.Conn, v *rendering) {
	young := c.young.Load()
	if young == nil || young.bytes.Load() > renderedMost {
		c.mu.Lock()
		if young = c.young.Load(); young == nil || young.bytes.Load() > renderedMost {
			c.old.Store(young)
			young = &generation{}
			c.young.Store(young)
		}
		c.mu.Unlock()
	}
	if was, ok := young.m.Swap(conn, v); ok {
		young.bytes.Add(-int64(len(was.(*rendering).body)))
	}
	young.bytes.Add(int64(len(v.body)))
}

// render returns the answer for a reading.
func (a *API) render(conn *refresh.Conn, r refresh.Reading) (*rendering, error) {
	def := conn.Definition()
	if v := a.tokens.get(conn); v != nil && v.of(def, r) {
		return v, nil
	}
	u, err := a.o.Upstream.Use(def, r.Token)
	if err != nil {
		return nil, err
	}
	t := r.Token
	access := t.Access.Reveal()
	ans := tokenAnswer{AccessToken: access, TokenType: t.Scheme, Scope: t.Scope, Generation: t.Generation, Stale: r.Stale,
		Use: use{Hosts: append([]string{}, u.Hosts...), Inject: []injected{}, Rejected: rejected{Status: u.Rejected.Status, Body: u.Rejected.Body}}}
	if ans.TokenType == "" {
		ans.TokenType = "Bearer"
		if t.Type != "" {
			ans.TokenType = t.Type // N_A, RFC 8693 §2.2.1
		}
	}
	ans.ExpiresAt = instant(t.Expiry)
	if !u.Once {
		ans.CacheUntil = cacheUntil(r)
	}
	secrets := []string{access}
	for _, in := range u.Inject {
		ans.Use.Inject = append(ans.Use.Inject, injected{in.In, in.Name, in.Value})
		secrets = append(secrets, in.Value)
	}
	a.o.Values.Add(secrets...)
	b, err := json.Marshal(ans)
	if err != nil {
		return nil, err
	}
	v := &rendering{tok: t, def: def, until: r.Until, stale: r.Stale, once: u.Once, body: b, length: []string{strconv.Itoa(len(b))},
		detail: `{"generation":` + strconv.FormatInt(t.Generation, 10) + `}`}
	a.tokens.put(conn, v)
	return v, nil
}

// cacheUntil is until when an answer may be used without asking again. For a
// token whose end nobody knows that is the year 9999; clients ask again now and
// then all the same, so that they notice a reconnect.
func cacheUntil(r refresh.Reading) *time.Time {
	if r.Stale {
		return nil
	}
	return instant(r.Until)
}

// instant is t as answers show it, nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.Round(0).UTC().Truncate(time.Millisecond)
	return &u
}
