package e2e

import (
	"net/http"
	"testing"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/emulator"
	"github.com/freshet-dev/freshet/internal/emulator/emulatortest"
)

// descriptorConfig says as resources what a descriptor of a component says: the
// client's id and secret from the environment, two addresses of which one has a
// blank that a field of the credential fills, and scopes.
const descriptorConfig = `
providers:
  described:
    authorization_url: "${EMULATOR}/{{field}}"
    token_url: "${EMULATOR}/token"
    client_auth: body
    variables: { field: { doc: "a field of the credential" } }
clients:
  described: { provider: described, id: "${DESCRIBED_KEY}", secret: "${DESCRIBED_SECRET}" }
connections:
  described:
    client: described
    grant: authorization_code
    scopes: [contacts, offline_access]
    variables: { field: authorize }
    api: { base_url: "${EMULATOR}/api" }
`

func TestDescriptor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.Options{Default: emulator.Profile{Picky: true}},
		setup{config: descriptorConfig, env: []string{"DESCRIBED_KEY=descriptor-app", "DESCRIBED_SECRET=desc&secret=1"}})
	t.Run("cap024 what a descriptor says makes a working connection", func(t *testing.T) {
		f, err := w.client.Connect(t.Context(), "described", api.ConnectRequest{})
		if err != nil {
			t.Fatal(err)
		}
		res, page := newPerson(t).decide(t, f.URL, "allow")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%d: %s", res.StatusCode, page)
		}
		if c := w.connection(t, "described"); c.State != "ok" {
			t.Fatalf("%s (%s)", c.State, c.Reason)
		}
		if _, p := w.refresh(t, "described"); p != nil {
			t.Errorf("refresh: %v", p)
		}
		if r := w.call(t, "GET", "described", "/me", nil); r.status != http.StatusOK {
			t.Error(r)
		}
		if got := w.token(t, "described").Scope; got != "contacts offline_access" {
			t.Errorf("scope = %q", got)
		}
		emulatortest.NoCanary(t, w.em, "the log", w.err.Bytes())
	})
}
