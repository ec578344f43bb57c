package resource_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
)

// TestS11 holds secrets to the hosts that they were entered for: ASVS 10.1.1.
func TestS11(t *testing.T) {
	const before = `
providers:
  acme: {token_url: https://auth.acme.example/token, authorization_url: https://auth.acme.example/authorize, variables: {region: {default: eu}}}
  shops: {token_url: "https://{{shop}}.shops.example/token", authorization_url: "https://{{shop}}.shops.example/authorize", variables: {shop: {}}}
  hosted: {token_url: "https://{{host}}/token", authorization_url: "https://{{host}}/authorize", variables: {host: {}}}
  public: {token_url: https://public.example/token, authorization_url: https://public.example/authorize, client_auth: none}
  short: {token_url: "https://{{name}}.example/token", authorization_url: "https://{{name}}.example/authorize", variables: {name: {}}}
  login: {token_url: https://login.example/auth, client_auth: none, request: {body: '{"p":{{password | json}}}'}}
clients:
  acme: {provider: acme, id: app, secret: s3cret}
  shops: {provider: shops, id: app, secret: s3cret}
  hosted: {provider: hosted, id: app, secret: s3cret, variables: {host: idp.acme.example}}
  public: {provider: public, id: app}
  short: {provider: short, id: app, secret: s3cret}
connections:
  name: {client: short, variables: {name: acme}}
  crm: {client: acme}
  shop1: {client: shops, variables: {shop: one}}
  sso: {client: hosted}
  pub: {client: public}
  old: {provider: login, grant: request, credentials: {password: p}}
  place: {provider: acme, id: x, secret: y}
`
	const held = "sends the secret"
	for _, tt := range []struct {
		name, file string
		fault      string // part of the text; "" is accepted
	}{
		{"a token URL alone", `providers: {acme: {token_url: https://evil.example/token, authorization_url: https://auth.acme.example/authorize}}`, "sends the secret of client acme, which was entered for https://auth.acme.example, to https://evil.example: give the secret again in the same apply"},
		{"another path on the host", `providers: {acme: {token_url: https://auth.acme.example/v2/token, authorization_url: https://auth.acme.example/authorize}}`, ""},
		{"another port", `providers: {acme: {token_url: https://auth.acme.example:8443/token, authorization_url: https://auth.acme.example/authorize}}`, held},
		{"the default port spelt out", `providers: {acme: {token_url: https://AUTH.acme.example:443/token, authorization_url: https://auth.acme.example/authorize}}`, ""},
		{"a refresh URL", `providers: {acme: {token_url: https://auth.acme.example/token, authorization_url: https://auth.acme.example/authorize, refresh_url: https://evil.example/}}`, held},
		{"a request's own URL", `providers: {acme: {token_url: https://auth.acme.example/token, authorization_url: https://auth.acme.example/authorize, request: {url: https://evil.example/}}}`, held},
		{"an issuer, whose metadata names URLs", `providers: {acme: {issuer: https://evil.example, authorization_url: https://auth.acme.example/authorize}}`, held},
		{"a revocation URL", `providers: {acme: {token_url: https://auth.acme.example/token, authorization_url: https://auth.acme.example/authorize, revocation_url: https://evil.example/}}`, held},
		{"both, secrets given again", `
providers: {acme: {token_url: https://auth2.acme.example/token, authorization_url: https://auth.acme.example/authorize}}
clients: {acme: {provider: acme, id: app, secret: s3cret}}
connections: {place: {provider: acme, id: x, secret: y}}`, ""},
		{"both, but the secret only by its marker", `
providers: {acme: {token_url: https://auth2.acme.example/token, authorization_url: https://auth.acme.example/authorize}}
clients: {acme: {provider: acme, id: app, secret: "[secret]"}}
connections: {place: {provider: acme, id: x, secret: y}}`, held},
		{"a client's secret in place is held too", `
providers: {acme: {token_url: https://auth2.acme.example/token, authorization_url: https://auth.acme.example/authorize}}
clients: {acme: {provider: acme, id: app, secret: s3cret}}`, "sends the secrets of connection place"},
		{"the client turns to another provider", `
providers: {evil: {token_url: https://evil.example/token, authorization_url: https://auth.acme.example/authorize}}
clients: {acme: {provider: evil, id: app, secret: "[secret]"}}`, held},
		{"a connection's token URL", `connections: {crm: {client: acme, token_url: https://evil.example/token}}`, "sends the secret of client acme to https://evil.example"},
		{"a new connection's token URL", `connections: {new: {client: acme, token_url: https://evil.example/token}}`, "sends the secret of client acme to https://evil.example"},
		{"a new connection's token URL on the client's host", `connections: {new: {client: acme, token_url: https://auth.acme.example/other}}`, ""},
		{"a new shop", `connections: {shop2: {client: shops, variables: {shop: two}}}`, ""},
		{"a variable that is the whole host", `connections: {sso2: {client: hosted, variables: {host: evil.example}}}`, "sends the secret of client hosted to https://evil.example"},
		{"a variable before a single label", `connections: {name2: {client: short, variables: {name: evil}}}`, "sends the secret of client short to https://evil.example"},
		{"the client's own variable", `clients: {hosted: {provider: hosted, id: app, secret: "[secret]", variables: {host: evil.example}}}`, "sends the secret of client hosted"},
		{"a pattern that is another's", `providers: {shops: {token_url: "https://{{shop}}.evil.example/token", authorization_url: "https://{{shop}}.shops.example/authorize", variables: {shop: {}}}}`, "sends the secret of client shops"},
		{"a pattern without a fixed end", `providers: {shops: {token_url: "https://x.{{shop}}/token", authorization_url: "https://{{shop}}.shops.example/authorize", variables: {shop: {}}}}`, "sends the secret of client shops"},
		{"credentials of a connection", `providers: {login: {token_url: https://evil.example/auth, client_auth: none, request: {body: '{"p":{{password | json}}}'}}}`, "sends the secrets of connection old, which were entered for https://login.example, to https://evil.example: give them again in the same apply"},
		{"credentials given again", `
providers: {login: {token_url: https://login2.example/auth, client_auth: none, request: {body: '{"p":{{password | json}}}'}}}
connections: {old: {provider: login, grant: request, credentials: {password: p}}}`, ""},
		{"the token of a public client", `providers: {public: {token_url: https://evil.example/token, authorization_url: https://public.example/authorize, client_auth: none}}`, "sends the token of connection pub, which came from https://public.example, to https://evil.example: forget the token first (freshet revoke pub)"},
		{"an override of the catalogue", `providers: {google: {token_url: https://evil.example/token}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pub := freshet.ConnectionID("")
			b, _ := newBook(t, resource.Options{HoldsToken: func(_ context.Context, id freshet.ConnectionID) (bool, error) { return id == pub, nil }})
			must(t, b, before, nil)
			d, err := b.Definition(t.Context(), "pub")
			if err != nil {
				t.Fatal(err)
			}
			pub = d.ID
			_, err = apply(t, b, tt.file, nil)
			if tt.fault == "" {
				if err != nil {
					t.Errorf("apply = %v, want it accepted", err)
				}
				return
			}
			if !errors.Is(err, resource.ErrPinned) || !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("apply = %v, want ErrPinned with %q", err, tt.fault)
			}
		})
	}
}

func TestS11_catalogue_override_is_held(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, `clients: {g: {provider: google, id: a, secret: b}}`, nil)
	_, err := apply(t, b, `providers: {google: {token_url: https://evil.example/token}}`, nil)
	if !errors.Is(err, resource.ErrPinned) {
		t.Errorf("override = %v, want ErrPinned", err)
	}
	if err == nil || !strings.HasPrefix(err.Error(), "test.yaml:1:13: providers.google: sends the secret of client g, ") {
		t.Errorf("fault: %v", err)
	}
}
