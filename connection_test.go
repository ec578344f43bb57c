package freshet_test

import (
	"testing"

	"github.com/freshet-dev/freshet"
)

func TestDefinitionAuth(t *testing.T) {
	const basic, body, key, none = freshet.AuthBasic, freshet.AuthBody, freshet.AuthPrivateKeyJWT, freshet.AuthNone
	for _, c := range []struct {
		connection, client, provider, providerRefresh freshet.ClientAuth
		obtain, refresh                               freshet.ClientAuth
	}{
		{"", "", "", "", basic, basic},
		{"", "", body, "", body, body},
		{"", "", body, basic, body, basic}, // Keap
		{"", none, body, basic, none, none},
		{key, none, body, basic, key, key},
	} {
		d := freshet.Definition{
			Connection: freshet.Connection{Auth: c.connection},
			Client:     freshet.Client{Auth: c.client},
			Provider:   freshet.Provider{ClientAuth: c.provider, RefreshClientAuth: c.providerRefresh},
		}
		if got := d.Auth(false); got != c.obtain {
			t.Errorf("%+v: Auth(false) = %s, want %s", c, got, c.obtain)
		}
		if got := d.Auth(true); got != c.refresh {
			t.Errorf("%+v: Auth(true) = %s, want %s", c, got, c.refresh)
		}
	}
}
