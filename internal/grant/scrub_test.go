package grant_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

var discard = log.New(io.Discard, "", 0)

func TestS70_what_the_provider_says_is_scrubbed(t *testing.T) {
	const canary = "s3cr3t-canary-0123456789-ABCDEF"
	body := func(text string) string {
		b, _ := json.Marshal(map[string]string{"error": "invalid_grant", "error_description": text})
		return string(b)
	}
	token := jwt(`{"sub":"alice","secret":"x"}`)
	for _, tt := range []struct {
		name string
		s    shot
		gone []string
		kept string
	}{
		{"the presented token", shot{status: 400, body: body("token RT-OLD is spent")}, []string{"RT-OLD"}, "is spent"},
		{"the stored access token", shot{status: 400, body: body("AT-OLD")}, []string{"AT-OLD"}, ""},
		{"a secret of the request", shot{status: 401, sent: []freshet.Secret{freshet.NewSecret(canary)}, body: body("secret " + canary + " is wrong")}, []string{canary}, "is wrong"},
		{"its escaped form", shot{status: 401, sent: []freshet.Secret{freshet.NewSecret("a+b/c=d?e&f")}, body: body("got a%2Bb%2Fc%3Dd%3Fe%26f here")}, []string{"a%2Bb", "c%3Dd"}, "here"},
		{"the beginning of it", shot{status: 400, sent: []freshet.Secret{freshet.NewSecret(canary)}, body: body("Refresh token invalid: " + canary[:14] + "...")}, []string{canary[:14]}, "Refresh token invalid"},
		{"a JWT", shot{status: 400, body: body("bad assertion " + token)}, []string{token, token[:20]}, "bad assertion"},
		{"half a JWT", shot{status: 400, body: body("bad assertion " + token[:40])}, []string{token[:20]}, "bad assertion"},
		{"a long opaque word", shot{status: 400, body: body("token 1000.abcdef0123456789abcdef0123456789 unknown")}, []string{"abcdef0123456789"}, "unknown"},
		{"across the cut", shot{status: 400, sent: []freshet.Secret{freshet.NewSecret(canary)}, body: body(strings.Repeat("x ", 120) + canary)}, []string{canary[:8]}, "x x"},
		{"in the code", shot{status: 400, sent: []freshet.Secret{freshet.NewSecret(canary)}, body: `{"error":"bad ` + canary + `"}`}, []string{canary}, ""},
		{"a new token in an error", shot{body: `{"error":"server_error","refresh_token":"` + canary + `","error_description":"issued ` + canary + `"}`}, []string{canary}, "issued"},
		{"a token in a member of a name of its own", shot{body: `{"apiToken":"` + canary + `","error":"no ` + canary + `"}`}, []string{canary}, ""},
		{"the head of a JWT", shot{status: 400, body: body("bad eyJhbGciOiJub25lIn")}, []string{"eyJ"}, "bad"},
		{"cap045 a bare string", shot{body: `"` + canary + `"`}, []string{canary, "canary"}, "begins"},
		{"cap045 a bare string of letters", shot{body: `"supersecret"`}, []string{"super"}, "begins"},
		{"cap045 a bare word of letters", shot{body: "supersecret"}, []string{"super"}, "begins"},
		{"cap045 quoted letters", shot{body: `{access_token: "supersecret"`}, []string{"super"}, "begins"},
		{"cap045 quoted letters that are cut", shot{body: `{access_token: "` + strings.Repeat("supersecret", 40)}, []string{"super"}, "begins"},
		{"cap045 a bare word", shot{body: canary}, []string{canary, "s3cr3t"}, "begins"},
		{"cap045 XML", shot{body: `<r><access_token>` + canary + `</access_token></r>`}, []string{canary, "0123"}, "<r>"},
		{"cap045 a page that says why", shot{body: "<html><h1>Maintenance until noon</h1>" + strings.Repeat("<p>", 400)}, nil, "Maintenance until noon"},
		{"cap045 broken JSON", shot{body: `{access_token:"` + canary + `"}`}, []string{canary}, "begins"},
		{"a redirect's query", shot{status: 302, header: http.Header{"Location": {"https://login.example/sso?token=" + canary}}}, []string{canary}, "https://login.example"},
		{"a redirect's user", shot{status: 302, header: http.Header{"Location": {"https://u:" + canary + "@login.example/"}}}, []string{canary}, "login.example"},
		{"names of members", shot{body: `{"` + canary + `":1,"data":2}`}, []string{canary, "0123456789"}, "data"},
		{"repeated names", shot{body: `{"` + canary + `":1,"` + canary + `":2}`, sent: []freshet.Secret{freshet.NewSecret(canary)}}, []string{canary}, "repeats"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, o := tt.s.err(t)
			var logged strings.Builder
			slog.New(slog.NewTextHandler(&logged, nil)).Error("x", "error", e, "outcome", fmt.Sprintf("%+v", o))
			for _, text := range []string{e.Detail, e.Code, e.Error(), fmt.Sprintf("%v %+v %#v", e, *e, o), logged.String()} {
				for _, secret := range tt.gone {
					if strings.Contains(text, secret) {
						t.Errorf("%q is shown: %s", secret, text)
					}
				}
			}
			if !strings.Contains(e.Detail, tt.kept) {
				t.Errorf("%q is lost: %q", tt.kept, e.Detail)
			}
			if len(e.Detail) > 256 || len(e.Code) > 64 {
				t.Errorf("%d bytes of detail, %d of code", len(e.Detail), len(e.Code))
			}
		})
	}
}

func TestS70_what_helps_is_kept(t *testing.T) {
	e, _ := shot{status: 400, body: `{"error":"invalid_grant","error_description":"AADSTS700082: The refresh token has expired.","error_codes":[700082,7],"timestamp":"2026-01-01 00:00:00Z","correlation_id":"6f1a2b3c-0000-4000-8000-123456789abc","suberror":"bad_token"}`}.err(t)
	for _, want := range []string{"AADSTS700082", "700082 7", "6f1a2b3c-0000-4000-8000-123456789abc", "bad_token", "The refresh token has expired."} {
		if !strings.Contains(e.Detail, want) {
			t.Errorf("%q is not in %q", want, e.Detail)
		}
	}
}

func TestS07_control_characters_are_spelled_out(t *testing.T) {
	for _, text := range []string{"a\r\nb", "a\x00b", "a\x1b[31mb", "a\u202eb", "a\u2028b", "a\u0085b", "a\xffb"} {
		b, _ := json.Marshal(text)
		if !utf8.ValidString(text) {
			b = []byte(`"` + text + `"`)
		}
		for _, body := range []string{`{"error":"oops","error_description":` + string(b) + `}`, `{"error":` + string(b) + `}`} {
			e, _ := shot{status: 400, body: body}.err(t)
			for _, r := range e.Error() {
				if r < ' ' || r == 0x7f || r == 0x85 || r == 0x202e || r == 0x2028 {
					t.Errorf("%q passes %U: %q", text, r, e.Error())
				}
			}
			if !utf8.ValidString(e.Error()) {
				t.Errorf("%q is not valid text", e.Error())
			}
		}
	}
	long, _ := shot{status: 400, body: `{"error":"` + strings.Repeat("é", 500) + `","error_description":"` + strings.Repeat("ü", 500) + `"}`}.err(t)
	if !utf8.ValidString(long.Error()) || len(long.Detail) > 256 || len(long.Code) > 64 {
		t.Errorf("%d bytes of detail, %d of code, valid %v", len(long.Detail), len(long.Code), utf8.ValidString(long.Error()))
	}
}

func TestS33_no_token_that_a_header_must_not_hold(t *testing.T) {
	for c := range 256 {
		if c >= 0x20 && c <= 0x7e {
			continue
		}
		b, _ := json.Marshal("at-" + string(rune(c)) + "1")
		for _, body := range []string{`{"access_token":` + string(b) + `}`, "access_token=at-" + fmt.Sprintf("%%%02x", c) + "1"} {
			if e, _ := (shot{body: body}).err(t); e.Code != "bad_access_token" || e.Class != grant.Misconfigured {
				t.Errorf("%q: %s %s", body, e.Class, e.Code)
			}
		}
	}
}
