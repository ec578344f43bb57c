package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Keys are the token set of a connection as actions see it: the provider's
// whole answer, with the refresh token that is in force if the answer had none.
type Keys struct {
	Set     map[string]any
	Secrets []string // in it
}

// Credentials are the token sets of connections.
type Credentials interface {
	// Keys returns a connection's token set; fresh: refreshed first if its policy
	// says so, else as it is stored.
	Keys(ctx context.Context, connection string, fresh bool) (Keys, error)
	// Update stores a token set, a JSON object as a provider answers it, and
	// returns what is stored then. It is durable when Update returns. What set
	// does not repeat is kept, unless replace is set.
	Update(ctx context.Context, connection string, set []byte, replace bool) (Keys, error)
}

// Held is the Credentials of a refresher.
type Held struct {
	Source *refresh.Source
	Now    func() time.Time // nil: time.Now
	// Admit is told before an action gets a token set or stores one, for the
	// audit; an error keeps it from that. nil: nothing is recorded.
	Admit func(ctx context.Context, connection, what string) error
}

// Keys returns a connection's token set.
func (h Held) Keys(ctx context.Context, connection string, fresh bool) (Keys, error) {
	c, err := h.Source.Connection(ctx, connection)
	if err != nil {
		return Keys{}, err
	}
	if h.Admit != nil {
		if err := h.Admit(ctx, connection, "read"); err != nil {
			return Keys{}, err
		}
	}
	var t *freshet.Token
	if fresh {
		t, err = c.Token(ctx, 0)
	} else {
		t, err = c.Stored(ctx)
	}
	if se := (*freshet.StateError)(nil); errors.As(err, &se) && se.State == freshet.StateReauth {
		detail := se.Detail
		if detail == "" {
			detail = "only a person can help"
		}
		return Keys{}, fmt.Errorf("%w: %s; to authorize it: freshet connect %s, or freshet tokens import %s", err, detail, connection, connection)
	}
	if err != nil {
		return Keys{}, err
	}
	return keysOf(t), nil
}

// Update stores a token set.
func (h Held) Update(ctx context.Context, connection string, set []byte, replace bool) (Keys, error) {
	c, err := h.Source.Connection(ctx, connection)
	if err != nil {
		return Keys{}, err
	}
	now := time.Now
	if h.Now != nil {
		now = h.Now
	}
	prior, err := c.Stored(ctx)
	if se := (*freshet.StateError)(nil); err != nil && !errors.As(err, &se) {
		return Keys{}, err
	}
	at := now()
	out := grant.Set(c.Definition(), set, prior, at, at)
	if out.Token == nil {
		return Keys{}, fmt.Errorf("connection %s: the token set is not one that can be stored: %w", connection, out.Err)
	}
	if h.Admit != nil {
		if err := h.Admit(ctx, connection, "import"); err != nil {
			return Keys{}, err
		}
	}
	t, err := h.Source.Update(ctx, connection, *out.Token, replace)
	if err != nil {
		return Keys{}, err
	}
	return keysOf(t), nil
}

func keysOf(t *freshet.Token) Keys {
	k := Keys{Set: map[string]any{}}
	if json.Unmarshal([]byte(t.Answer.Reveal()), &k.Set) != nil || k.Set == nil {
		k.Set = map[string]any{}
	}
	for name, s := range map[string]freshet.Secret{"access_token": t.Access, "refresh_token": t.Refresh, "id_token": t.ID} {
		if s.IsZero() {
			continue
		}
		k.Set[name] = s.Reveal()
		k.Secrets = append(k.Secrets, s.Reveal())
	}
	for name, v := range map[string]string{"token_type": t.Type, "scope": t.Scope} {
		if _, there := k.Set[name]; !there && v != "" {
			k.Set[name] = v
		}
	}
	return k
}

// tokenSet finds the token set in what an action emits: under the field, or by
// itself, as some components do.
func tokenSet(v any, field string) ([]byte, error) {
	m, ok := model.Plain(v).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("updateKeys takes {%s: the provider's whole answer}", field)
	}
	if inner, ok := m[field].(map[string]any); ok {
		m = inner
	} else if _, ok := m["access_token"].(string); !ok {
		return nil, fmt.Errorf("updateKeys takes {%s: the provider's whole answer}; there is no %s in it", field, field)
	}
	return json.Marshal(m)
}
