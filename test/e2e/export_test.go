package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

const exportConfig = `
providers:
  p: { token_url: "${EMULATOR}/token", client_auth: body }
clients:
  app: { provider: p, id: rotate-app, secret: CANARY-client-secret }
connections:
  crm:    { client: app, grant: refresh_token, api: { base_url: "${EMULATOR}/api" } }
  person: { client: app, grant: password, credentials: { username: alice, password: CANARY-password } }
`

func TestExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{}, setup{config: exportConfig})
	w.issue(t, "crm", "rotate-app", time.Hour)
	clean := func(t *testing.T, where string, text []byte) {
		t.Helper()
		if strings.Contains(string(text), "CANARY") {
			t.Errorf("%s holds a secret", where)
		}
		emulatortest.NoCanary(t, w.em, where, text)
	}
	command := func(t *testing.T, args ...string) string {
		t.Helper()
		p := w.cli(t, args...)
		if code := p.exit(t); code != 0 {
			t.Fatalf("%q: exit %d\n%s", args, code, p.err.String())
		}
		return p.out.String()
	}
	t.Run("S48 an export holds no secret", func(t *testing.T) {
		out := command(t, "export")
		if !strings.Contains(out, "person") || !strings.Contains(out, "rotate-app") {
			t.Errorf("the export is not one: %s", out)
		}
		clean(t, "the export", []byte(out))
	})
	t.Run("S48 revealing is for admin, and audited", func(t *testing.T) {
		var k struct{ Key string }
		if err := json.Unmarshal([]byte(command(t, "keys", "create", "looker", "--scope", "read", "--scope", "token:*", "--scope", "call:*", "--output", "json")), &k); err != nil {
			t.Fatal(err)
		}
		if r := w.ask(t, "GET", "/api/v1/export?reveal=true", nil, "Authorization", "", "Authorization", "Bearer "+k.Key); r.status != http.StatusForbidden {
			t.Errorf("reveal without admin: %s", r)
		}
		if out := command(t, "export", "--reveal"); !strings.Contains(out, "CANARY-client-secret") || !strings.Contains(out, "CANARY-password") {
			t.Error("a reveal reveals nothing")
		}
		r := w.ask(t, "GET", "/api/v1/audit?limit=500", nil)
		if n := strings.Count(string(r.body), `"resource.reveal"`); n != 1 {
			t.Errorf("%d audit rows of the reveal, want 1: %s", n, r)
		}
		clean(t, "the log", w.err.Bytes())
	})
	t.Run("S48 a backup is sealed as the store is", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "backup.db")
		command(t, "backup", file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) < 4096 || !strings.Contains(string(b), "person") {
			t.Error("the backup is not one")
		}
		clean(t, "the backup", b)
		if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
	})
}
