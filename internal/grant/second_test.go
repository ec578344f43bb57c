package grant

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

// bullhorn is a provider whose access token only buys a session.
func bullhorn(server string) *freshet.Definition {
	return define(server, func(d *freshet.Definition) {
		d.Provider.SecondStep = &freshet.SecondStep{
			Request:  freshet.TokenRequest{URL: server + "/login", Body: "query", Only: true, Params: freshet.Values{"version": "*", "access_token": "{{access_token}}", "user": "{{answer.user.id}}"}},
			Response: freshet.Response{AccessToken: "BhRestToken", Expires: freshet.Expiry{Fixed: freshet.Duration(time.Minute)}},
		}
	})
}

func twoSteps(t *testing.T, status int, second string) *recorder {
	return record(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			w.WriteHeader(status)
			io.WriteString(w, second)
			return
		}
		io.WriteString(w, `{"access_token":"at/1","token_type":"Bearer","expires_in":3600,"refresh_token":"rt-2","user":{"id":7}}`)
	})
}

func TestSecondStep(t *testing.T) {
	srv := twoSteps(t, 200, `{"BhRestToken":"bh-1","restUrl":"https://rest9.example/x/","n":5,"ok":true,"o":{}}`)
	d := bullhorn(srv.URL)
	for name, ask := range map[string]Ask{"code": {Code: secret("c")}, "refresh": spend} {
		t.Run(name, func(t *testing.T) {
			before := len(srv.requests())
			tok := mustToken(t, sender().Ask(t.Context(), d, ask))
			if tok.Access.Reveal() != "bh-1" || tok.Refresh.Reveal() != "rt-2" || !tok.Expiry.Equal(testNow.Add(time.Minute)) {
				t.Errorf("token %s, refresh token %s, expiry %v", tok.Access.Reveal(), tok.Refresh.Reveal(), tok.Expiry)
			}
			if tok.Session["restUrl"].Reveal() != "https://rest9.example/x/" || tok.Session["n"].Reveal() != "5" || tok.Session["ok"].Reveal() != "true" || len(tok.Session) != 4 {
				t.Errorf("session of %d members", len(tok.Session))
			}
			if !strings.Contains(tok.Answer.Reveal(), `"user":{"id":7}`) {
				t.Error("the first answer is not kept")
			}
			got := srv.requests()[before:]
			if len(got) != 2 || got[1] != bare("POST", "/login?access_token=at%2F1&user=7&version=%2A") {
				t.Errorf("requests:\n%s", strings.Join(got, "\n---\n"))
			}
		})
	}
	t.Run("first only", func(t *testing.T) {
		d := bullhorn(srv.URL)
		d.Provider.SecondStep.FirstOnly = true
		before := len(srv.requests())
		if tok := mustToken(t, sender().Ask(t.Context(), d, spend)); tok.Access.Reveal() != "at/1" || len(srv.requests()) != before+1 {
			t.Error("a refresh went through the second step")
		}
		if tok := mustToken(t, sender().Ask(t.Context(), d, Ask{Code: secret("c")})); tok.Access.Reveal() != "bh-1" {
			t.Error("a code did not")
		}
	})
	t.Run("lifetime of the first where the second has none", func(t *testing.T) {
		d := bullhorn(srv.URL)
		d.Provider.SecondStep.Response.Expires = freshet.Expiry{}
		if tok := mustToken(t, sender().Ask(t.Context(), d, spend)); !tok.Expiry.Equal(testNow.Add(time.Hour)) {
			t.Errorf("expiry %v", tok.Expiry)
		}
	})
	t.Run("a refresh token of its own", func(t *testing.T) {
		srv := twoSteps(t, 200, `{"BhRestToken":"bh-1","refresh_token":"rt-3"}`)
		d := bullhorn(srv.URL)
		d.Provider.SecondStep.Response.RefreshToken = "refresh_token"
		if tok := mustToken(t, sender().Ask(t.Context(), d, spend)); tok.Refresh.Reveal() != "rt-3" {
			t.Error("the second answer's refresh token is lost")
		}
	})
}

// Whatever the second step says, the refresh token of the first is safe.
func TestSecondStepFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		class  Class
		code   string
	}{
		{"down", 503, "", Retryable, "http_503"},
		{"no session", 200, `{}`, Retryable, "missing_access_token"},
		{"dead grant, which it cannot know", 400, `{"error":"invalid_grant"}`, Misconfigured, "invalid_grant"},
		{"redirect", 302, "", Misconfigured, "redirect_refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := twoSteps(t, c.status, c.body)
			out := sender().Ask(t.Context(), bullhorn(srv.URL), spend)
			e := mustFail(t, out, c.class, c.code)
			if out.Salvaged.Reveal() != "rt-2" || e.Uncertain || !strings.HasPrefix(e.Detail, "second step: ") {
				t.Errorf("salvaged %q, %+v", out.Salvaged.Reveal(), e)
			}
			if n := len(srv.requests()); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
		})
	}
}
