package api

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// A TokenOption says what a token must be like.
type TokenOption struct{ minTTL time.Duration }

// MinTTL asks for a token that lives for at least d.
func MinTTL(d time.Duration) TokenOption { return TokenOption{minTTL: d} }

// A source holds the token of one connection.
type source struct {
	c    *Client
	name string
	cur  atomic.Pointer[held]

	mu     sync.Mutex
	flight *flight
}

// held is a token with its instants on this machine's clock.
type held struct {
	Token
	until  time.Time // it may be handed out until then
	expiry time.Time // zero: unknown
}

type flight struct {
	done chan struct{}
	t    *held
	err  error
}

func (c *Client) source(name string) *source {
	if s := (*c.sources.Load())[name]; s != nil {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := *c.sources.Load()
	if s := old[name]; s != nil {
		return s
	}
	next := make(map[string]*source, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	s := &source{c: c, name: name}
	next[name] = s
	c.sources.Store(&next)
	return s
}

// Token returns a valid access token of a connection, from memory while it is
// fresh. The error is a *Problem when the server has none to give: its State
// and Hint say why and what to do.
func (c *Client) Token(ctx context.Context, name string, options ...TokenOption) (*Token, error) {
	var minTTL time.Duration
	for _, o := range options {
		minTTL = max(minTTL, o.minTTL)
	}
	h, err := c.source(name).token(ctx, minTTL)
	if err != nil {
		return nil, err
	}
	return &h.Token, nil
}

func (s *source) token(ctx context.Context, minTTL time.Duration) (*held, error) {
	if h := s.cur.Load(); h != nil {
		if now := time.Now(); now.Before(h.until) && (minTTL == 0 || h.expiry.IsZero() || h.expiry.Sub(now) >= minTTL) {
			return h, nil
		}
	}
	return s.fetch(ctx, minTTL)
}

// fetch asks the server. Callers who want the same share one request; each
// waits on its own context.
func (s *source) fetch(ctx context.Context, minTTL time.Duration) (*held, error) {
	if minTTL > 0 {
		h, err := s.get(ctx, minTTL)
		if err == nil {
			s.keep(h)
		}
		return h, err
	}
	s.mu.Lock()
	f := s.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.flight = f
		go func() {
			f.t, f.err = s.get(context.WithoutCancel(ctx), 0)
			if f.err == nil {
				s.keep(f.t)
			}
			s.mu.Lock()
			s.flight = nil
			s.mu.Unlock()
			close(f.done)
		}()
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.t, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *source) get(ctx context.Context, minTTL time.Duration) (*held, error) {
	path := connectionPath(s.name) + "/token"
	if minTTL > 0 {
		path += "?min_ttl=" + minTTL.String()
	}
	return s.read(ctx, http.MethodGet, path, nil)
}

func (s *source) read(ctx context.Context, method, path string, in any) (*held, error) {
	sent := time.Now()
	var t Token
	if err := s.c.Do(ctx, method, path, in, &t); err != nil {
		return nil, err
	}
	h := &held{Token: t}
	if t.ExpiresAt != nil {
		h.expiry = *t.ExpiresAt
	}
	if t.CacheUntil != nil && !t.Stale {
		h.until = *t.CacheUntil
	}
	// Another machine's clock may be off; a token without an end is asked for
	// again now and then, so that a reconnect is noticed.
	if most := sent.Add(time.Minute); t.ExpiresAt == nil && h.until.After(most) {
		h.until = most
	}
	return h, nil
}

// keep makes h the token in memory unless a later one is there.
func (s *source) keep(h *held) {
	for {
		old := s.cur.Load()
		if old != nil && old.Generation > h.Generation {
			return
		}
		if s.cur.CompareAndSwap(old, h) {
			return
		}
	}
}

// rejected tells the server that an API refused a generation, and returns the
// token to use instead.
func (s *source) rejected(ctx context.Context, generation int64) (*held, error) {
	if h := s.cur.Load(); h != nil && h.Generation == generation {
		s.cur.CompareAndSwap(h, nil)
	}
	h, err := s.read(ctx, http.MethodPost, connectionPath(s.name)+"/refresh", map[string]int64{"rejected_generation": generation})
	if err == nil && h.AccessToken == "" {
		h, err = s.get(ctx, 0)
	}
	if err == nil {
		s.keep(h)
	}
	return h, err
}

// TokenSource returns the connection's tokens as golang.org/x/oauth2 wants
// them. ctx bounds the requests to the server, for as long as the source is
// used. Do not wrap it into oauth2.ReuseTokenSource: it caches by itself.
func (c *Client) TokenSource(ctx context.Context, name string) oauth2.TokenSource {
	return &tokenSource{ctx: ctx, s: c.source(name)}
}

type tokenSource struct {
	ctx  context.Context
	s    *source
	last atomic.Pointer[converted]
}

type converted struct {
	from *held
	to   *oauth2.Token
}

// Token returns the current token. The *oauth2.Token is shared: read only.
func (t *tokenSource) Token() (*oauth2.Token, error) {
	h, err := t.s.token(t.ctx, 0)
	if err != nil {
		return nil, err
	}
	if c := t.last.Load(); c != nil && c.from == h {
		return c.to, nil
	}
	o := &oauth2.Token{AccessToken: h.AccessToken, TokenType: h.TokenType, Expiry: h.expiry}
	t.last.Store(&converted{from: h, to: o})
	return o, nil
}
