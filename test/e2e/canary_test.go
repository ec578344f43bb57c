package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// TestCanary plays a scenario with every grant, against the example files as
// they are, at the debug level and with a strict audit. Then it searches
// everything that the server wrote, kept or answers for the tokens of the
// provider and for the secrets of the files: there must be none but where a
// token is read on purpose.
func TestCanary(t *testing.T) {
	t.Parallel()
	// A receiver of webhooks is told everything that it may be told.
	var told struct {
		sync.Mutex
		bytes.Buffer
	}
	ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		told.Lock()
		defer told.Unlock()
		fmt.Fprintf(&told, "%v\n%s\n", r.Header, b)
	}))
	t.Cleanup(ops.Close)
	private, public := keyPair(t)
	em, base := emulatortest.Start(t, emulator.Options{
		Default: emulator.Profile{Lifetime: freshet.Duration(time.Minute), Format: "jwt", Odd: true},
		Clients: []emulator.Client{{ID: "example-service-account", PublicKey: public}, {ID: "grace-example", Profile: emulator.Profile{AutoConsent: true}}},
	})
	secrets := map[string]string{
		"EXAMPLE_SECRET": "canary-client-secret-1", "EXAMPLE_PASSWORD": "canary-password-1", "EXAMPLE_KEY": private,
		"HOOK_SECRET": "canary-hook-secret-0123456789abcdef",
	}
	env := []string{"EMULATOR=" + base, "OPS=" + ops.URL}
	for k, v := range secrets {
		env = append(env, k+"="+v)
	}
	w := &world{em: em, base: base, server: start(t, setup{
		config: `webhooks: { ops: { url: "${OPS}/hook", secret: "${HOOK_SECRET}" } }`,
		args:   []string{"--config", filepath.Join("..", "..", "examples", "connections"), "--audit", "strict", "--metrics-listen", free(t)},
		env:    env,
	})}

	names := w.names(t, "/api/v1/connections")
	if len(names) < 8 {
		t.Fatalf("the examples hold %d connections: %v", len(names), names)
	}
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, "authorization-code"):
			f, err := w.client.Connect(t.Context(), name, api.ConnectRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if res, page := newPerson(t).page(t, f.URL, nil); res.StatusCode != http.StatusOK || !strings.Contains(page, "Connected") {
				t.Fatalf("%s: %d: %s", name, res.StatusCode, page)
			}
		case strings.HasSuffix(name, "device-code"):
			f, err := w.client.Connect(t.Context(), name, api.ConnectRequest{Device: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := em.ApproveDevice(f.UserCode); err != nil {
				t.Fatal(err)
			}
			eventually(t, name, func() error {
				now, err := w.client.Flow(t.Context(), f.Flow, 10*time.Second)
				if err == nil && now.State != api.FlowDone {
					err = fmt.Errorf("the authorization is %s (%s)", now.State, now.Detail)
				}
				return err
			})
		case strings.HasSuffix(name, "refresh-token"):
			w.issue(t, name, "example-refresh-token", 0)
		}
		tok := w.token(t, name)
		if err := em.Valid(tok.AccessToken); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r := w.call(t, "GET", name, "/me?x="+name, nil); r.status != http.StatusOK {
			t.Errorf("%s: %s", name, r)
		}
		w.trouble(t, name, tok)
	}
	// Readers without the right to, and with none.
	w.ask(t, "GET", "/api/v1/connections/"+names[0]+"/token", nil, "Authorization", "")
	w.ask(t, "GET", "/api/v1/connections/"+names[0]+"/token", nil, "Sec-Fetch-Site", "same-origin")
	if _, err := w.client.CreateKey(t.Context(), api.KeyRequest{Name: "reader", Scopes: []string{"read"}}); err != nil {
		t.Fatal(err)
	}

	master, err := os.ReadFile(filepath.Join(w.dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	secrets["the master key"] = strings.TrimSpace(string(master))
	secrets["the admin key"] = w.key
	secrets["EXAMPLE_KEY"] = strings.Split(private, "\n")[1]
	visit := func(where string, text []byte) {
		emulatortest.NoCanary(t, em, where, text)
		for what, s := range secrets {
			if bytes.Contains(text, []byte(s)) && where != "file master.key" && where != "file admin.key" {
				t.Errorf("%s shows %s", where, what)
			}
		}
	}
	t.Run("O6 the search finds a token where one is", func(t *testing.T) {
		r := w.ask(t, "GET", "/api/v1/connections/"+names[0]+"/token", nil)
		for _, core := range em.Canaries() {
			if bytes.Contains(r.body, []byte(core)) {
				return
			}
		}
		t.Errorf("%d", r.status)
	})
	t.Run("O6 S70 S40 no token is outside its place", func(t *testing.T) {
		w.places(t, visit)
		for _, args := range [][]string{{"get", "connections"}, {"get", "connections", "--output", "json"}, {"get", "clients", "--output", "json"}, {"events"}, {"export"}, {"keys", "list"}, {"doctor"}, {"master-key", "status"}} {
			p := w.cli(t, args...)
			p.exit(t)
			if p.out.String() == "" {
				t.Errorf("freshet %s printed nothing: %s", strings.Join(args, " "), p.err.String())
			}
			visit("freshet "+strings.Join(args, " "), append(p.out.Bytes(), p.err.Bytes()...))
		}
		// Only now: an event is told once it is stored.
		eventually(t, "webhooks are told", func() error {
			told.Lock()
			defer told.Unlock()
			if !strings.Contains(told.String(), "connection.needs_reauthorization") {
				return fmt.Errorf("the receiver heard %d bytes", told.Len())
			}
			return nil
		})
		told.Lock()
		defer told.Unlock()
		visit("the webhooks", told.Bytes())
	})
	t.Run("O6 S46 nor in an answer that only the spill file holds", func(t *testing.T) {
		w.stop(t)
		visit("the standard error", w.err.Bytes()) // all of it, now
		w.server = w.again(t, func(s *setup) {
			s.build = points
			s.env = append(s.env, "FRESHET_FAILPOINTS=commit.before=error")
		})
		name := names[len(names)-1]
		for _, n := range names {
			if strings.HasSuffix(n, "login-jwt") {
				name = n
			}
		}
		w.refresh(t, name) // or the background has been there before
		eventually(t, "an answer is spilled", func() error {
			spilled := false
			files(t, w.dir, func(file string, b []byte) {
				visit("file "+file, b)
				spilled = spilled || strings.HasPrefix(file, "spill-") && len(bytes.Trim(b, "\x00")) > 200
			})
			if !spilled {
				return errors.New("the spill file is empty")
			}
			return nil
		})
		visit("the standard error", w.err.Bytes())
	})
}

// trouble has the connection meet answers that quote its own tokens back.
func (w *world) trouble(t *testing.T, name string, tok api.Token) {
	t.Helper()
	quote := func(code string) string {
		b, err := json.Marshal(map[string]string{"error": code, "error_description": "the token " + tok.AccessToken + " of Bearer " + tok.AccessToken, "error_uri": "https://as.example/?access_token=" + tok.AccessToken})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, status := range []int{503, 200} {
		w.next(t, emulator.Fault{At: "", Mode: emulator.Modes{"answer"}, Status: status, Headers: map[string]string{"Content-Type": "application/json"}, Body: quote("server_error")})
		w.refresh(t, name)
	}
	if strings.HasSuffix(name, "authorization-code") {
		w.next(t, emulator.Fault{At: "refresh", Mode: emulator.Modes{"answer"}, Status: 400, Headers: map[string]string{"Content-Type": "application/json"}, Body: quote("invalid_grant")})
		w.refresh(t, name)
	}
	// One in the middle of the answer, and one that the connection does not wait for.
	w.next(t, emulator.Fault{Mode: emulator.Modes{"cut:40"}}, emulator.Fault{At: "api", Mode: emulator.Modes{"truncate:20"}})
	w.refresh(t, name)
	w.call(t, "GET", name, "/me", nil)
	req, err := http.NewRequest(http.MethodDelete, w.base+"/_next", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := raw.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}

func keyPair(t testing.TB) (private, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}))
}
