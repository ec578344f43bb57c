package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// A Book knows what connections are; *resource.Book is one.
type Book interface {
	Names(ctx context.Context, kind string) iter.Seq2[string, error]
	Definition(ctx context.Context, name string) (*freshet.Definition, error)
}

// A Store tells where connections stand; *store.Store is one.
type Store interface {
	Tokens(ctx context.Context, after string, state freshet.State, limit int) ([]store.Token, error)
	CountTokens(ctx context.Context) (map[freshet.State]int64, error)
	Clients(ctx context.Context) ([]store.Client, error)
	Lapsing(ctx context.Context, from, to time.Time, limit int) ([]store.Token, error)
	Letters(ctx context.Context, limit int) ([]store.Letter, error)
}

// Options are what Check looks with. Store, Book and Client are required.
type Options struct {
	Store  Store
	Book   Book
	Client *http.Client     // of the guarded dialer
	Now    func() time.Time // nil: time.Now

	// What only a running server knows; nil: it does not run.
	Writable func(ctx context.Context) error // whether the store takes writes
	Paused   func() string                   // why background refresh rests
	Spilled  func() int64                    // answers that the database has not taken

	refused map[string]bool // clients that are in trouble, by ClientKey
}

const (
	shown     = 20   // findings of one kind
	maxLooked = 5000 // definitions that are read for their hosts
)

// Check looks at everything behind the keys. An error is about the looking
// itself: the store could not be read, or ctx ended.
func Check(ctx context.Context, o Options) (Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.refused = map[string]bool{}
	r := Report{}
	if o.Writable != nil {
		if err := o.Writable(ctx); err != nil {
			r = append(r, Finding{"writes", Problem, "the store takes no writes: " + err.Error(), "look at the disk's space and the files' owner; nothing is refreshed until it does, what lives is served"})
		} else {
			r = append(r, Finding{"writes", OK, "the store takes writes", ""})
		}
	}
	if o.Spilled != nil {
		if n := o.Spilled(); n > 0 {
			r = append(r, Finding{"spill file", Warning, fmt.Sprintf("%d answers wait to be stored", n), "keep the spill file; they are stored when the database takes writes again"})
		}
	}
	if o.Paused != nil {
		if why := o.Paused(); why != "" {
			r = append(r, Finding{"background refresh", Problem, "it rests: " + why, "make sure that this is the store to go on with, then: freshet resume"})
		}
	}
	def, err := o.definitions(ctx)
	if err != nil {
		return r, err
	}
	r = append(r, def...)
	for _, part := range []func(context.Context) (Report, error){o.clients, o.connections, o.lapsing, o.letters} {
		more, err := part(ctx)
		if err != nil {
			return r, err
		}
		r = append(r, more...)
	}
	return r, ctx.Err()
}

// definitions reads every connection's definition once: for its hosts and its
// client's certificate.
func (o *Options) definitions(ctx context.Context) (Report, error) {
	r := Report{}
	hosts := map[string]*place{}
	certificates := map[string]bool{}
	n, broken := 0, 0
	for name, err := range o.Book.Names(ctx, "connections") {
		if err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
		if n++; n > maxLooked {
			r = append(r, Finding{"hosts", Warning, fmt.Sprintf("only those of the first %d connections were looked at", maxLooked), ""})
			break
		}
		def, err := o.Book.Definition(ctx, name)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if broken++; broken <= shown {
				r = append(r, Finding{"connection " + name, Problem, err.Error(), "correct it and apply, or delete it: freshet delete connections/" + name})
			}
			continue
		}
		places(def, hosts)
		if key := def.ClientKey(); !certificates[key] {
			certificates[key] = true
			if f, ok := certificate(def, o.Now()); ok {
				r = append(r, f)
			}
		}
	}
	if len(hosts) == 0 {
		return r, nil
	}
	return append(r, look(ctx, o.Client, hosts, o.Now)...), nil
}

// clients tells of registrations in trouble, which is that of all their
// connections.
func (o *Options) clients(ctx context.Context) (Report, error) {
	list, err := o.Store.Clients(ctx)
	if err != nil {
		return nil, fmt.Errorf("list clients: %w", err)
	}
	r := Report{}
	for _, c := range list {
		if c.State != freshet.StateMisconfigured {
			continue
		}
		if len(r) == shown {
			r = append(r, Finding{"clients", Problem, fmt.Sprintf("%d clients are refused by their providers", len(list)), ""})
			break
		}
		o.refused[c.Key] = true
		r = append(r, Finding{strings.Replace(c.Key, "/", " ", 1), Problem, "the provider refuses it: " + said(c.Error, string(c.Reason)), "correct its id, secret or key and apply: it is tried at once, and no connection is lost"})
	}
	return r, nil
}

// connections tells of those that do not stand well.
func (o *Options) connections(ctx context.Context) (Report, error) {
	count, err := o.Store.CountTokens(ctx)
	if err != nil {
		return nil, fmt.Errorf("count connections: %w", err)
	}
	var all int64
	for _, n := range count {
		all += n
	}
	r := Report{}
	for _, s := range []freshet.State{freshet.StateReauth, freshet.StateMisconfigured, freshet.StateAttention, freshet.StateUncertain} {
		rows, err := o.Store.Tokens(ctx, "", s, shown)
		if err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
		for _, row := range rows {
			if s == freshet.StateMisconfigured && o.refused[row.Client] {
				continue // said of the client
			}
			r = append(r, standing(row))
		}
		if more := count[s] - int64(len(rows)); more > 0 {
			r = append(r, Finding{"connections", Problem, fmt.Sprintf("%d more are %s", more, s), "freshet get connections --state " + string(s)})
		}
	}
	if all > 0 && count[freshet.StateOK] == all {
		r = append(r, Finding{"connections", OK, fmt.Sprintf("all %d are ok", all), ""})
	}
	return r, nil
}

func standing(row store.Token) Finding {
	f := Finding{Check: "connection " + row.Name, Level: Problem, Detail: string(row.State)}
	if row.Reason != "" {
		f.Detail += " (" + string(row.Reason) + ")"
	}
	if why := said(row.Error, ""); why != "" {
		f.Detail += ": " + why
	}
	switch row.State {
	case freshet.StateReauth:
		if row.Reason == freshet.ReasonNeverAuthorized {
			f.Level = Warning
		}
		f.Do = "freshet connect " + row.Name
	case freshet.StateMisconfigured:
		f.Do = "correct the client, URL, key or clock and apply; nothing is lost"
	case freshet.StateAttention:
		f.Do = "look at the provider; it is asked again slowly, or now with: freshet refresh " + row.Name
	default:
		f.Level, f.Do = Warning, "an answer may have been lost; the same refresh token is being tried again by itself"
	}
	return f
}

// said is what the last failure was in words.
func said(problem, otherwise string) string {
	var p struct{ Code, Detail string }
	if problem == "" || json.Unmarshal([]byte(problem), &p) != nil {
		if problem == "" {
			return otherwise
		}
		return problem
	}
	switch {
	case p.Detail != "":
		return p.Detail
	case p.Code != "":
		return p.Code
	}
	return otherwise
}

// lapsing tells of refresh tokens whose own end is near, which no refresh moves.
func (o *Options) lapsing(ctx context.Context) (Report, error) {
	now := o.Now()
	rows, err := o.Store.Lapsing(ctx, now, now.Add(days(14)), shown+1)
	if err != nil {
		return nil, fmt.Errorf("list refresh tokens: %w", err)
	}
	r := Report{}
	for i, row := range rows {
		if i == shown {
			r = append(r, Finding{"refresh tokens", Warning, "more of them end within 14 days", ""})
			break
		}
		if row.State == freshet.StateReauth {
			continue // said already
		}
		left := row.RefreshExpiry.Sub(now)
		f := Finding{"connection " + row.Name, Warning, fmt.Sprintf("its refresh token ends in %d days", int(left/days(1))), "have somebody authorize it again before: freshet connect " + row.Name}
		if left < days(1) {
			f.Level, f.Detail = Problem, "its refresh token ends within a day"
		}
		// A refresh token that never lives long gets a new end with each refresh.
		if !row.NextAt.IsZero() && row.NextAt.Before(row.RefreshExpiry) && row.RefreshExpiry.Sub(row.IssuedAt) < days(14) {
			continue
		}
		r = append(r, f)
	}
	return r, nil
}

// letters tells of webhooks and revocations that do not arrive.
func (o *Options) letters(ctx context.Context) (Report, error) {
	list, err := o.Store.Letters(ctx, 1000)
	if err != nil {
		return nil, fmt.Errorf("list letters: %w", err)
	}
	type key struct{ kind, target string }
	late := map[key]int{}
	why := map[key]string{}
	var order []key
	for _, l := range list {
		if l.Attempts < 3 {
			continue
		}
		k := key{l.Kind, l.Target}
		if late[k] == 0 {
			order = append(order, k)
		}
		late[k]++
		why[k] = l.Error
	}
	r := Report{}
	for _, k := range order[:min(len(order), shown)] {
		what := k.kind + " " + k.target
		if k.kind == "revoke" {
			what = "revocation at " + k.target
		}
		detail := fmt.Sprintf("%d did not arrive yet", late[k])
		if why[k] != "" {
			detail += ": " + why[k]
		}
		r = append(r, Finding{what, Warning, detail, "they are sent again by themselves; look at the receiver"})
	}
	return r, nil
}
