package grant

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
)

var state = strings.Repeat("s", 43)

func TestAuthorizeURL(t *testing.T) {
	const pkce = "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
	verifier := secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") // RFC 7636 appendix B
	for _, c := range []struct {
		name string
		edit func(*freshet.Definition)
		want string
	}{
		{"S02 PKCE with S256", nil, "https://as.example/authorize?response_type=code&client_id=the+id&redirect_uri=https%3A%2F%2Ff.example%2Fcb&state=" + state + pkce},
		{"S02 PKCE is not asked for by name", func(d *freshet.Definition) { d.Provider.PKCE = "S256" }, "https://as.example/authorize?response_type=code&client_id=the+id&redirect_uri=https%3A%2F%2Ff.example%2Fcb&state=" + state + pkce},
		{"S03 without PKCE there is still a state", func(d *freshet.Definition) { d.Provider.PKCE = "off" }, "https://as.example/authorize?response_type=code&client_id=the+id&redirect_uri=https%3A%2F%2Ff.example%2Fcb&state=" + state},
		{"S16 the requested scope is what is configured", func(d *freshet.Definition) { d.Connection.Scopes = []string{"a", "b:c"} }, "https://as.example/authorize?response_type=code&client_id=the+id&redirect_uri=https%3A%2F%2Ff.example%2Fcb&scope=a+b%3Ac&state=" + state + pkce},
		{"separator, names, extra parameters, own query", func(d *freshet.Definition) {
			d.Provider.AuthorizationURL = "https://{{sub}}.example/authorize?keep=%2f&a;b"
			d.Connection.Variables = map[string]string{"sub": "eu"}
			d.Connection.Scopes = []string{"a", "b"}
			d.Provider.ScopeSeparator = sep(",")
			d.Provider.ParameterNames = freshet.Values{"client_id": "client_key", "redirect_uri": "redirect_url"}
			d.Provider.AuthorizeParams = freshet.Values{"access_type": "offline", "prompt": "consent", "cb": "{{redirect_uri}}"}
		}, "https://eu.example/authorize?keep=%2f&a;b&response_type=code&client_key=the+id&redirect_url=https%3A%2F%2Ff.example%2Fcb&scope=a%2Cb&state=" + state + pkce + "&access_type=offline&cb=https%3A%2F%2Ff.example%2Fcb&prompt=consent"},
		{"nonce where OpenID Connect is asked for", func(d *freshet.Definition) { d.Connection.Scopes = []string{"openid"} }, "https://as.example/authorize?response_type=code&client_id=the+id&redirect_uri=https%3A%2F%2Ff.example%2Fcb&scope=openid&state=" + state + pkce + "&nonce=n-1"},
		{"nonce where the provider wants one", func(d *freshet.Definition) {
			d.Provider.AuthorizeParams = freshet.Values{"response_type": "code id_token", "nonce": "{{nonce}}"}
		}, "https://as.example/authorize?response_type=code+id_token&client_id=the+id&redirect_uri=https%3A%2F%2Ff.example%2Fcb&state=" + state + pkce + "&nonce=n-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := define("", func(d *freshet.Definition) { d.Provider.AuthorizationURL = "https://as.example/authorize" })
			if c.edit != nil {
				c.edit(d)
			}
			got, err := sender().AuthorizeURL(t.Context(), d, AuthorizeParams{State: state, Verifier: verifier, RedirectURI: "https://f.example/cb", Nonce: "n-1"})
			if err != nil || got != c.want {
				t.Errorf("got  %s\nwant %s\n%v", got, c.want, err)
			}
		})
	}
	for _, c := range []struct {
		name string
		edit func(*freshet.Definition, *AuthorizeParams)
		code string
	}{
		{"S03 no state", func(_ *freshet.Definition, a *AuthorizeParams) { a.State = "" }, "weak_state"},
		{"S01 a state that can be guessed", func(_ *freshet.Definition, a *AuthorizeParams) { a.State = "12345" }, "weak_state"},
		{"S03 neither PKCE nor state", func(d *freshet.Definition, a *AuthorizeParams) { d.Provider.PKCE, a.State = "off", "" }, "weak_state"},
		{"S02 no verifier", func(_ *freshet.Definition, a *AuthorizeParams) { a.Verifier = freshet.Secret{} }, "no_pkce"},
		{"S02 plain by a parameter", func(d *freshet.Definition, _ *AuthorizeParams) {
			d.Provider.AuthorizeParams = freshet.Values{"code_challenge_method": "plain"}
		}, "bad_authorize_param"},
		{"S03 state by a parameter", func(d *freshet.Definition, _ *AuthorizeParams) {
			d.Provider.AuthorizeParams = freshet.Values{"state": "x"}
		}, "bad_authorize_param"},
		{"no authorization URL", func(d *freshet.Definition, _ *AuthorizeParams) { d.Provider.AuthorizationURL = "" }, "no_authorization_url"},
		{"no client", func(d *freshet.Definition, _ *AuthorizeParams) { d.Client.ID = "" }, "no_client_id"},
		{"cap040 unfilled variable", func(d *freshet.Definition, _ *AuthorizeParams) {
			d.Provider.AuthorizationURL = "https://{{shop}}.example/a"
		}, "missing_value"},
		{"javascript", func(d *freshet.Definition, _ *AuthorizeParams) { d.Provider.AuthorizationURL = "javascript:alert(1)" }, "bad_url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := define("", func(d *freshet.Definition) { d.Provider.AuthorizationURL = "https://as.example/authorize" })
			a := AuthorizeParams{State: state, Verifier: verifier}
			c.edit(d, &a)
			var e *Error
			if got, err := sender().AuthorizeURL(t.Context(), d, a); !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("got %q, %v, want the error %s", got, err, c.code)
			}
		})
	}
	t.Run("S02 verifiers", func(t *testing.T) {
		a, b := NewVerifier(), NewVerifier()
		if a.Equal(b) || a.Len() != 43 {
			t.Errorf("verifiers of %d bytes", a.Len())
		}
		d := define("", func(d *freshet.Definition) { d.Provider.AuthorizationURL = "https://as.example/authorize" })
		link, err := sender().AuthorizeURL(t.Context(), d, AuthorizeParams{State: state, Challenge: Challenge(a)})
		if err != nil || strings.Contains(link, a.Reveal()) || !strings.Contains(link, Challenge(a)) {
			t.Errorf("link %s, %v", link, err)
		}
	})
}

func TestCheckCallback(t *testing.T) {
	p := publish(t)
	silent := publish(t)
	delete(silent.meta, "authorization_response_iss_parameter_supported")
	down := publish(t)
	down.status = 503
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name  string
		at    *issuerServer
		query string
		names map[string]string
		code  string
		err   string
	}{
		{"code", nil, "code=c%2F1&state=s", nil, "c/1", ""},
		{"own names", nil, "spapi_oauth_code=c1&state=s", map[string]string{"code": "spapi_oauth_code"}, "c1", ""},
		{"S04 right issuer", p, "code=c1&iss=" + url.QueryEscape(p.URL), nil, "c1", ""},
		{"S04 InvalidAuthorizationResponseIss", p, "code=c1&iss=https%3A%2F%2Fevil.example", nil, "", ErrMixUp.Error()},
		{"S04 issuer differs by a slash", p, "code=c1&iss=" + url.QueryEscape(p.URL+"/"), nil, "", ErrMixUp.Error()},
		{"S04 issuer missing although promised", p, "code=c1", nil, "", ErrMixUp.Error()},
		{"S04 wrong issuer where none was promised", silent, "code=c1&iss=https%3A%2F%2Fevil.example", nil, "", ErrMixUp.Error()},
		{"S04 no issuer where none was promised", silent, "code=c1", nil, "c1", ""},
		{"S04 metadata are down", down, "code=c1", nil, "c1", ""},
		{"S04 wrong issuer on an error", p, "error=access_denied&iss=x", nil, "", ErrMixUp.Error()},
		{"cap023 denied", nil, "error=access_denied&error_description=The+user+said+no", nil, "", "the provider refused the authorization: access_denied: The user said no"},
		{"S07 control characters and length", nil, "error=a%0ab&error_description=" + long + "%0d%0aEvil", nil, "", "the provider refused the authorization: a b: " + strings.Repeat("x", 200) + "…"},
		{"S07 bidi and separators", nil, "error=x&error_description=%E2%80%AEabc%E2%80%A8d%00", nil, "", "the provider refused the authorization: x:  abc d "},
		{"no code", nil, "state=s", nil, "", "the answer holds no code"},
		{"two codes", nil, "code=a&code=b", nil, "", "the answer repeats the parameter code"},
		{"two issuers", p, "code=a&iss=a&iss=b", nil, "", "the answer repeats the parameter iss"},
		{"code with control characters", nil, "code=a%0d%0ab", nil, "", "the answer holds a code with characters that none may have"},
		{"endless code", nil, "code=" + strings.Repeat("x", 9000), nil, "", "the answer holds no code"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, s := define("https://as.example", nil), sender()
			if c.at != nil {
				d, s = c.at.of(), c.at.sender()
			}
			d.Provider.CallbackNames = c.names
			q, err := url.ParseQuery(c.query)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.CheckCallback(t.Context(), d, q)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if got.Reveal() != c.code || text != c.err {
				t.Errorf("code %q, error %q; want %q, %q", got.Reveal(), text, c.code, c.err)
			}
		})
	}
}

// Two providers that both answer: the code of one goes to its own token URL.
func TestS04_code_goes_to_the_flows_own_provider(t *testing.T) {
	honest, evil := publish(t), publish(t)
	s := honest.sender()
	q := url.Values{"code": {"stolen"}, "iss": {evil.URL}}
	if _, err := s.CheckCallback(t.Context(), honest.of(), q); !errors.Is(err, ErrMixUp) {
		t.Fatalf("error %v, want ErrMixUp", err)
	}
	mustToken(t, s.Ask(t.Context(), honest.of(), Ask{Code: secret("c")}))
	if evil.asked("POST") != 0 || honest.asked("POST") != 1 {
		t.Error("the code went astray")
	}
}
