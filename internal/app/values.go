package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

// kept is appsmith.store as it is sealed.
type kept struct {
	Values map[string]json.RawMessage `json:"values"`
	Secret map[string]bool            `json:"secret,omitempty"` // keys whose values were known to be secret
}

// maxKept bounds what an app keeps, in bytes of JSON.
const maxKept = 1 << 20

func binding(app string, revision int64) freshet.Binding {
	return freshet.Binding{Table: "app_stores", Row: app, Column: "values", Generation: revision}
}

// keep is the store of one app during one job.
type keep struct {
	a       *Apps
	app     string
	now     kept
	at      int64 // revision of what was read
	cleared bool  // since the last flush
	changed map[string]bool
	passing map[string]json.RawMessage // shared with the resident
}

func (a *Apps) open(ctx context.Context, r *resident) (*keep, error) {
	k := &keep{a: a, app: r.id, changed: map[string]bool{}, passing: r.passing}
	var err error
	k.now, k.at, err = a.read(ctx, r.id)
	return k, err
}

func (a *Apps) read(ctx context.Context, app string) (kept, int64, error) {
	out := kept{Values: map[string]json.RawMessage{}, Secret: map[string]bool{}}
	row, err := a.o.Store.AppStore(ctx, app)
	if errors.Is(err, store.ErrNotFound) {
		return out, 0, nil
	}
	if err != nil {
		return out, 0, fmt.Errorf("read the app's store: %w", err)
	}
	b, err := a.o.Sealer.Open(binding(app, row.Revision), row.Sealed)
	if err != nil {
		return out, 0, fmt.Errorf("open the app's store: %w", err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, 0, errors.New("the app's store does not read")
	}
	if out.Secret == nil {
		out.Secret = map[string]bool{}
	}
	return out, row.Revision, nil
}

// all is what scripts see: what is kept, and over it what lasts for the session
// only.
func (k *keep) all() map[string]json.RawMessage {
	out := maps.Clone(k.now.Values)
	maps.Copy(out, k.passing)
	return out
}

// set takes a value, nil for none. What is newer is what scripts see, wherever
// it is kept.
func (k *keep) set(key string, v json.RawMessage, persist, secret bool) {
	switch {
	case v == nil:
		delete(k.passing, key)
		if _, ok := k.now.Values[key]; !ok {
			return
		}
		delete(k.now.Values, key)
	case !persist:
		k.passing[key] = v
		return
	default:
		delete(k.passing, key)
		if string(k.now.Values[key]) == string(v) && k.now.Secret[key] == secret {
			return
		}
		k.now.Values[key] = v
	}
	delete(k.now.Secret, key)
	if secret && v != nil {
		k.now.Secret[key] = true
	}
	k.changed[key] = true
}

func (k *keep) clear() {
	clear(k.passing)
	clear(k.now.Values)
	clear(k.now.Secret)
	clear(k.changed)
	k.cleared = true
}

// flush makes what was set durable. Another process may have written
// meanwhile: then what changed here goes over what is there.
func (k *keep) flush(ctx context.Context) error {
	if len(k.changed) == 0 && !k.cleared {
		return nil
	}
	// Whoever asked may be gone: a refresh token that was rotated must stay.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for range 8 {
		b, err := json.Marshal(k.now)
		if err != nil {
			return fmt.Errorf("appsmith.store: %w", err)
		}
		if len(b) > maxKept {
			return fmt.Errorf("appsmith.store holds more than %d KiB: keep less, or use a table", maxKept>>10)
		}
		sealed, err := k.a.o.Sealer.Seal(binding(k.app, k.at+1), b)
		if err != nil {
			return fmt.Errorf("seal the app's store: %w", err)
		}
		err = k.a.o.Store.PutAppStore(ctx, store.AppStore{App: k.app, Sealed: sealed, Revision: k.at + 1}, time.Now())
		if err == nil {
			k.at++
			k.cleared = false
			clear(k.changed)
			return nil
		}
		if !errors.Is(err, store.ErrStale) {
			return fmt.Errorf("appsmith.store could not be written: %w", err)
		}
		there, at, err := k.a.read(ctx, k.app)
		if err != nil {
			return err
		}
		if !k.cleared {
			for key := range k.changed {
				delete(there.Secret, key)
				if v, ok := k.now.Values[key]; ok {
					there.Values[key] = v
					if k.now.Secret[key] {
						there.Secret[key] = true
					}
				} else {
					delete(there.Values, key)
				}
			}
			k.now = there
		}
		k.at = at
	}
	return errors.New("appsmith.store is being written by others: try again")
}

// secrets lists the texts in the store that must not be shown: by the names of
// their keys, or because they were known to be when they were stored.
func (k *keep) secrets() []string {
	var out []string
	for key, v := range k.all() {
		out = append(out, secretsOf(key, v, k.now.Secret[key])...)
	}
	return out
}

func secretsOf(key string, v json.RawMessage, known bool) []string {
	var x any
	if len(v) == 0 || json.Unmarshal(v, &x) != nil {
		return nil
	}
	if s, ok := x.(string); ok {
		if (known || content.SecretName(key) || looksSecret(s)) && len(s) >= 6 {
			return []string{s}
		}
		return content.Secrets(s)
	}
	return content.Secrets(map[string]any{key: x})
}
