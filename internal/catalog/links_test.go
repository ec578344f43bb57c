package catalog

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

// TestAuthorizationLinks makes each provider's link and holds it against the
// fact: where it leads, what it carries under which name, how scopes are
// joined, and whether there is a PKCE challenge.
func TestAuthorizationLinks(t *testing.T) {
	s := grant.New(grant.Options{})
	for _, f := range facts(t) {
		p, _ := Provider(f.ID)
		if !slices.Contains(p.Grants, freshet.GrantAuthorizationCode) {
			continue
		}
		t.Run(f.ID, func(t *testing.T) {
			d := definition(p)
			link, err := s.AuthorizeURL(t.Context(), d, grant.AuthorizeParams{
				RedirectURI: "https://freshet.example/callback/oauth2", State: strings.Repeat("s", 32), Nonce: "nonce-of-at-least-20-characters", Challenge: strings.Repeat("c", 43),
			})
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(link)
			if err != nil {
				t.Fatal(err)
			}
			want := singleBrace.ReplaceAllStringFunc(*f.AuthorizationU, func(b string) string {
				v, _ := d.Variable(strings.Trim(b, "{}"))
				return v
			})
			if got := u.Scheme + "://" + u.Host + u.Path; got != want {
				t.Errorf("leads to %s, want %s", got, want)
			}
			q := u.Query()
			name := func(standard string) string {
				if n, ok := p.ParameterNames[standard]; ok {
					return n
				}
				return standard
			}
			separator := " "
			if sep := f.ScopeSeparator; sep != nil && !strings.HasPrefix(*sep, " ") {
				separator = *sep
			}
			carries := map[string]string{
				name("client_id"):    "client-1",
				name("redirect_uri"): "https://freshet.example/callback/oauth2",
				name("scope"):        "read" + separator + "write",
				"state":              strings.Repeat("s", 32),
				"response_type":      "code",
			}
			for k, v := range f.AuthorizeParams {
				if v := fmt.Sprint(v); !singleBrace.MatchString(v) {
					carries[k] = v
				} else if q.Get(k) == "" || strings.Contains(q.Get(k), "{") {
					t.Errorf("%s=%q, want %s filled in", k, q.Get(k), v)
				}
			}
			for k, v := range carries {
				if got := q.Get(k); got != v || len(q[k]) != 1 {
					t.Errorf("%s=%q, want %q once", k, q[k], v)
				}
			}
			if pkce := q.Get("code_challenge_method") == "S256"; pkce == strings.Contains(f.PKCE, "unsupported") {
				t.Errorf("PKCE %v, though it is %s", pkce, f.PKCE)
			}
			if f.ID == "datev" && len(q.Get("nonce")) < 20 {
				t.Errorf("nonce %q is shorter than DATEV wants", q.Get("nonce"))
			}
		})
	}
}

// TestRevocations revokes at each provider that can, and looks for the token in
// what goes out.
func TestRevocations(t *testing.T) {
	n := 0
	for _, f := range facts(t) {
		if f.RevokeURL == nil {
			continue
		}
		n++
		t.Run(f.ID, func(t *testing.T) {
			t.Parallel()
			p, _ := Provider(f.ID)
			w := newWire(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) })
			d := definition(p)
			tok := &freshet.Token{Access: freshet.NewSecret("at-old"), Answer: freshet.NewSecret(string(f.Example))}
			if f.Response.Refresh != nil {
				tok.Refresh = freshet.NewSecret("rt-old")
			}
			if err := w.sender.Revoke(t.Context(), d, tok); err != nil {
				t.Fatal(err)
			}
			want := singleBrace.ReplaceAllStringFunc(*f.RevokeURL, func(b string) string {
				v, _ := d.Variable(strings.Trim(b, "{}"))
				return v
			})
			own, isGrant := strings.CutPrefix(want, "token_url with ")
			if isGrant {
				want = f.TokenURL
			}
			s := w.seen[0]
			if s.url != want {
				t.Errorf("goes to %s, want %s", s.url, want)
			}
			if k, v, _ := strings.Cut(own, "="); isGrant && s.params[k] != v {
				t.Errorf("%s=%v, want %s", k, s.params[k], v)
			}
			text := fmt.Sprint(s.params, s.header.Get("Authorization"))
			if !strings.Contains(text, "rt-old") && !strings.Contains(text, "at-old") && f.ID != "stripe-connect" {
				t.Errorf("no token goes out: %s", text)
			}
			if f.ID == "naver" && s.params["access_token"] != "at-old" {
				t.Errorf("access_token=%v, want the access token", s.params["access_token"])
			}
			if f.ID == "stripe-connect" && s.params["stripe_user_id"] != "acct_1" {
				t.Errorf("stripe_user_id=%v, want that of the answer", s.params["stripe_user_id"])
			}
		})
	}
	if n != 27 {
		t.Errorf("%d revocations, want 27", n)
	}
}
