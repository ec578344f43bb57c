//go:build unix

package torture

import (
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/freshet-dev/freshet/api"
)

// call is one caller: he asks any replica for any token, in every way there is,
// until the run ends.
func (w *world) call(n int) {
	dice := w.random(fmt.Sprint("caller ", n))
	names := w.names()
	for w.ctx.Err() == nil {
		r := w.replicas[dice.IntN(len(w.replicas))]
		name := names[dice.IntN(len(names))]
		c := r.client.Load()
		if c == nil {
			w.rest(dice)
			continue
		}
		ctx, cancel := context.WithTimeout(w.ctx, 40*time.Second)
		var err error
		switch k := dice.IntN(10); {
		case k < 6:
			err = w.read(ctx, c, name, time.Duration(dice.IntN(4))*time.Second)
		case k < 8:
			err = w.proxied(ctx, c, name)
		default:
			err = c.Do(ctx, "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, nil)
		}
		cancel()
		w.judge(r, name, err)
		w.rest(dice)
	}
}

// rest is a caller's own pace.
func (w *world) rest(dice *mrand.Rand) {
	select {
	case <-time.After(time.Duration(1+dice.IntN(30)) * time.Millisecond):
	case <-w.ctx.Done():
	}
}

// read takes a token and, with O5, asks the provider whether it is good.
func (w *world) read(ctx context.Context, c *api.Client, name string, minTTL time.Duration) error {
	var tok api.Token
	began := time.Now()
	if err := c.Do(ctx, "GET", fmt.Sprintf("/api/v1/connections/%s/token?min_ttl=%s", name, minTTL), nil, &tok); err != nil {
		return err
	}
	took := time.Since(began)
	bad := w.em.Valid(tok.AccessToken)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	w.seen[name] = max(w.seen[name], tok.Generation)
	// The answer may have lain in a stopped process or on a slow link while the
	// token grew old, and one that is marked stale may end as it is looked at.
	if took > 300*time.Millisecond || tok.Stale || w.model[name].loses {
		return nil // a lost answer may have had the whole family revoked
	}
	w.checked++
	if bad != nil && len(w.breaches) < 50 {
		w.breaches = append(w.breaches, fmt.Sprintf("O5: %s, generation %d, read in %s with min_ttl=%s: %v", name, tok.Generation, took, minTTL, bad))
	}
	return nil
}

// proxied makes a call as the connection.
func (w *world) proxied(ctx context.Context, c *api.Client, name string) error {
	res, err := c.Call(ctx, name, api.Call{Method: "GET", Target: "/me"})
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode == http.StatusUnauthorized && res.Header.Get("Freshet-Refreshed") == "" && !w.model[name].loses {
		w.count("calls that an API refused")
	}
	return nil
}

// judge looks at what a caller was told instead of a token.
func (w *world) judge(r *replica, name string, err error) {
	if err == nil || w.ctx.Err() != nil {
		return
	}
	var p *api.Problem
	if !errors.As(err, &p) {
		w.mu.Lock()
		w.refused["no answer"]++
		w.mu.Unlock()
		return
	}
	w.mu.Lock()
	w.refused[fmt.Sprint(p.Status)]++
	w.mu.Unlock()
	switch p.Status {
	case http.StatusConflict: // reauth, or somebody else changed it
		w.condemned(r, name)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
	default:
		w.breach("%s at replica %d: %v", name, r.n, err)
	}
}

// condemned looks at a connection that is said to need a person. Where no client
// could have kept the grant, that is how it ends, by that name, and somebody
// consents again.
func (w *world) condemned(r *replica, name string) {
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	var c api.Connection
	if err := r.get(ctx, "/api/v1/connections/"+name, &c); err != nil || c.State != "reauth" {
		return
	}
	m := w.model[name]
	if !m.loses || c.Reason != "lost_in_flight" {
		w.breach("G5: %s is condemned: %s (%s), last error %+v", name, c.State, c.Reason, c.LastError)
		return
	}
	if err := w.grant(ctx, r, name); err != nil {
		return // another caller will come by
	}
	w.mu.Lock()
	w.named[string(m.name)]++
	w.mu.Unlock()
}
