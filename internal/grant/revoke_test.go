package grant

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

var both = &freshet.Token{Access: freshet.NewSecret("a t"), Refresh: freshet.NewSecret("r t"), Answer: freshet.NewSecret(`{"stripe_user_id":"acct_1"}`)}

func TestRevokeRequests(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*freshet.Definition)
		tok  *freshet.Token
		want []string
	}{
		{"F85 the refresh token first", nil, both, []string{form("/revoke", "token=r+t&token_type_hint=refresh_token&"+bodyAuth), form("/revoke", "token=a+t&token_type_hint=access_token&"+bodyAuth)}},
		{"F85 no refresh token", nil, &freshet.Token{Access: secret("a")}, []string{form("/revoke", "token=a&token_type_hint=access_token&"+bodyAuth)}},
		{"F85 nothing to revoke", nil, &freshet.Token{}, nil},
		{"basic", func(d *freshet.Definition) { d.Provider.ClientAuth = freshet.AuthBasic }, &freshet.Token{Refresh: secret("r")}, []string{basic("/revoke", "token=r&token_type_hint=refresh_token")}},
		// A letter to a provider holds no DPoP key: the connection may be gone.
		{"a client whose tokens are bound to a key: without a proof", func(d *freshet.Definition) { d.Client.DPoP = true }, &freshet.Token{Refresh: secret("r")},
			[]string{form("/revoke", "token=r&token_type_hint=refresh_token&"+bodyAuth)}},
		{"a request of its own", func(d *freshet.Definition) {
			d.Provider.Revocation = &freshet.TokenRequest{Only: true, Params: freshet.Values{"user": "{{answer.stripe_user_id}}", "token": "{{token}}"}, Headers: freshet.Values{"Authorization": "Bearer {{access_token}}"}}
		}, both, []string{strings.Replace(form("/revoke", "token=r+t&user=acct_1"), "Connection", "Authorization: Bearer a t\nConnection", 1)}},
		{"a grant of the token endpoint", func(d *freshet.Definition) {
			d.Provider.RevocationURL = ""
			d.Provider.Revocation = &freshet.TokenRequest{Only: true, Params: freshet.Values{"grant_type": "delete", "access_token": "{{access_token}}"}}
		}, both, []string{form("/token", "access_token=a+t&grant_type=delete")}},
		{"POST without a body", func(d *freshet.Definition) {
			d.Provider.Revocation = &freshet.TokenRequest{Only: true, Headers: freshet.Values{"Authorization": "Bearer {{access_token}}"}}
		}, both, []string{strings.Replace(bare("POST", "/revoke"), "Connection", "Authorization: Bearer a t\nConnection", 1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, func(http.ResponseWriter, *http.Request) {}) // 200, also for tokens that are not known
			d := define(srv.URL, func(d *freshet.Definition) {
				d.Provider.RevocationURL = srv.URL + "/revoke"
				if c.edit != nil {
					c.edit(d)
				}
			})
			if err := sender().Revoke(t.Context(), d, c.tok); err != nil {
				t.Fatal(err)
			}
			if got := srv.requests(); !slices.Equal(got, c.want) {
				t.Errorf("requests:\n%s\nwant:\n%s", strings.Join(got, "\n---\n"), strings.Join(c.want, "\n---\n"))
			}
		})
	}
}

func TestF85_revocation_answers(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		class  Class // empty: revoked
		code   string
		n      int // requests
	}{
		{"200", 200, "", "", "", 2},
		{"200 with an error in the body is not looked into", 200, `{"error":"x"}`, "", "", 2},
		{"token is not known, said otherwise", 400, `{"error":"invalid_token"}`, "", "", 2},
		{"503", 503, "", Retryable, "http_503", 1},
		{"500 with a code", 500, `{"error":"invalid_client"}`, Retryable, "", 1},
		{"429", 429, "", Retryable, "http_429", 1},
		{"wrong client", 401, `{"error":"invalid_client"}`, Misconfigured, "invalid_client", 1},
		{"unsupported", 400, `{"error":"unsupported_token_type"}`, Misconfigured, "unsupported_token_type", 1},
		{"redirect", 302, "", Misconfigured, "redirect_refused", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			err := sender().Revoke(t.Context(), define(srv.URL, func(d *freshet.Definition) { d.Provider.RevocationURL = srv.URL }), both)
			var e *Error
			switch {
			case c.class == "":
				if err != nil {
					t.Errorf("error %v", err)
				}
			case !errors.As(err, &e) || e.Class != c.class || c.code != "" && e.Code != c.code:
				t.Errorf("error %v, want %s %s", err, c.class, c.code)
			case c.status == 503 && e.RetryAfter != 7*time.Second:
				t.Errorf("retry after %v, want 7s", e.RetryAfter)
			}
			if n := len(srv.requests()); n != c.n {
				t.Errorf("%d requests, want %d", n, c.n)
			}
		})
	}
	t.Run("access tokens are not revoked there", func(t *testing.T) {
		srv := record(t, func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("token_type_hint") == "access_token" {
				w.WriteHeader(400)
				fmt.Fprint(w, `{"error":"unsupported_token_type"}`)
			}
		})
		if err := sender().Revoke(t.Context(), define(srv.URL, func(d *freshet.Definition) { d.Provider.RevocationURL = srv.URL }), both); err != nil {
			t.Errorf("error %v: the grant is gone", err)
		}
	})
	t.Run("no endpoint", func(t *testing.T) {
		if err := sender().Revoke(t.Context(), define("https://as.example", nil), both); !errors.Is(err, ErrNoRevocation) {
			t.Errorf("error %v, want ErrNoRevocation", err)
		}
	})
	t.Run("down", func(t *testing.T) {
		var e *Error
		err := sender().Revoke(t.Context(), define("", func(d *freshet.Definition) { d.Provider.RevocationURL = "http://127.0.0.1:1/r" }), both)
		if !errors.As(err, &e) || e.Class != Retryable {
			t.Errorf("error %v", err)
		}
	})
}
