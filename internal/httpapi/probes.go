package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/freshet-dev/freshet"
)

// A probe remembers for a moment whether the store takes writes: whoever asks
// often shall not write often.
type probe struct {
	mu   sync.Mutex
	at   time.Time
	last error
	has  bool
}

const (
	probeFor     = time.Second
	probePatient = 3 * time.Second
)

func (p *probe) look(now time.Time, fn func(ctx context.Context) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.has && now.Sub(p.at) < probeFor && !now.Before(p.at) {
		return p.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), probePatient)
	defer cancel()
	p.last, p.at, p.has = fn(ctx), now, true
	return p.last
}

// readiness says in a word each what a server needs to do its work.
func (a *API) readiness() (checks map[string]string, good bool) {
	checks, good = map[string]string{"store": "ok", "key": "ok", "config": "ok"}, true
	fail := func(check, word string) { checks[check], good = word, false }
	if err := a.probe.look(a.o.Now(), a.o.Store.Writable); err != nil {
		fail("store", "takes no writes")
		a.log.Warn("not ready: the store takes no writes", "error", err)
	}
	if err := a.sealsAndOpens(); err != nil {
		fail("key", "does not seal")
		a.log.Warn("not ready: the vault does not seal", "error", err)
	}
	if !a.ready.Load() {
		fail("config", "not applied yet")
	}
	select {
	case <-a.closing:
		fail("server", "is stopping")
	default:
	}
	return checks, good
}

func (a *API) sealsAndOpens() error {
	b := freshet.Binding{Table: "probe", Row: "probe", Column: "probe"}
	sealed, err := a.o.Vault.Seal(b, []byte("probe"))
	if err != nil {
		return err
	}
	plain, err := a.o.Vault.Open(b, sealed)
	if err == nil && !bytes.Equal(plain, []byte("probe")) {
		err = errProbe
	}
	return err
}

func (a *API) probeEndpoints() {
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		serve(w, "application/json", []byte(`{"status":"ok"}`))
	})
	a.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		checks, good := a.readiness()
		status := "ready"
		if !good {
			status = "not ready"
		}
		b, err := json.Marshal(map[string]any{"status": status, "checks": checks})
		if err != nil {
			a.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if !good {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Write(b)
	})
}
