package grant_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/grant/granttest"
	"pgregory.net/rapid"
)

// FuzzParse holds what is true of every answer: it becomes exactly one outcome,
// no new refresh token of a 2xx answer is dropped (G6), and nothing that is
// shown holds a token.
func FuzzParse(f *testing.F) {
	for _, c := range granttest.Load(f) {
		if b := c.Body(); len(b) < 32<<10 {
			f.Add(b, c.Status, false)
		}
	}
	for _, b := range []string{"", "{", `{"refresh_token":"rt-1","a":[{`, `{"a":"\ud83d\u","refresh_token":1`, "refresh_token=a&b=%", "\xef\xbb\xbf{}", `{"a":{"a":{"a":1e}}}`, `{"refresh_token":"\u0072t"}x`} {
		f.Add([]byte(b), 200, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int, torn bool) {
		prior := &freshet.Token{Access: freshet.NewSecret(granttest.OldAccess), Refresh: freshet.NewSecret(granttest.OldRefresh)}
		r := grant.Reply{Grant: freshet.GrantRefreshToken, Refresh: true, Prior: prior, Status: status, Body: body, Truncated: torn, SentAt: granttest.Clock, Now: granttest.Clock, Written: true}
		o := grant.Parse(&freshet.Provider{}, nil, freshet.Policy{}, r)
		if (o.Token == nil) == (o.Err == nil) {
			t.Fatalf("token %v and error %v", o.Token, o.Err)
		}
		if o.Token != nil && !o.Salvaged.IsZero() {
			t.Error("a token and a salvaged refresh token")
		}
		if status/100 != 2 && (o.Token != nil || !o.Salvaged.IsZero()) {
			t.Errorf("status %d brings tokens", status)
		}
		if e := o.Err; e != nil {
			if e.Code == "" || len(e.Code) > 64 || len(e.Detail) > 256 || !utf8.ValidString(e.Error()) {
				t.Errorf("code %q, detail %q", e.Code, e.Detail)
			}
			if status >= 500 && e.Class != grant.Retryable {
				t.Errorf("status %d is %s", status, e.Class)
			}
			if s := o.Salvaged.Reveal(); len(s) >= 6 && strings.ContainsAny(s, "0123456789") && strings.Contains(e.Error(), s) && !strings.Contains(freshet.Redacted, s) {
				t.Errorf("the salvaged token %q is shown: %s", s, e.Error())
			}
		}
		if tok := o.Token; tok != nil {
			if tok.Access.IsZero() || tok.Scheme != "Bearer" && tok.Scheme != "DPoP" && tok.Scheme != "" {
				t.Errorf("access token of %d bytes, scheme %q", tok.Access.Len(), tok.Scheme)
			}
			if !tok.Expiry.IsZero() && !tok.Expiry.After(tok.IssuedAt) {
				t.Errorf("born dead: %v", tok.Lifetime())
			}
		}
		if want, ok := referenceRefresh(body); ok && status/100 == 2 {
			got := o.Salvaged
			if o.Token != nil {
				got = o.Token.Refresh
			}
			if got.Reveal() != want {
				t.Errorf("the refresh token %q became %q (%v)", want, got.Reveal(), o.Err)
			}
		}
	})
}

// referenceRefresh finds the refresh token of an answer in another way: it is
// certain only where encoding/json reads the whole body and nothing is repeated.
func referenceRefresh(body []byte) (string, bool) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return "", false
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return "", false
	}
	found, seen := "", 0
	for n := 0; d.More(); n++ {
		name, err := d.Token()
		if err != nil || n > 4000 {
			return "", false
		}
		var raw json.RawMessage
		if d.Decode(&raw) != nil {
			return "", false
		}
		if strings.Count(string(raw), "{")+strings.Count(string(raw), "[") > 60 {
			return "", false // perhaps too deep
		}
		if name == "refresh_token" {
			if seen++; json.Unmarshal(raw, &found) != nil {
				return "", false
			}
		}
	}
	if seen != 1 || found == granttest.OldRefresh || strings.TrimSpace(found) == "" || found == "null" || found == "undefined" || strings.TrimSpace(found) != found {
		return "", false
	}
	for _, c := range found {
		if c < 0x20 || c > 0x7e {
			return "", false
		}
	}
	return found, true
}

// TestFormAndJSONSayTheSame: an answer means the same in either encoding.
func TestFormAndJSONSayTheSame(t *testing.T) {
	value := rapid.OneOf(rapid.StringMatching(`[ -~]{0,40}`), rapid.String(), rapid.SampledFrom([]string{"3600", "0", "-1", "1e9", "null", "Bearer", "DPoP", "RT-OLD", "invalid_grant", ""}))
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"access_token", "refresh_token", "token_type", "expires_in", "scope", "error", "error_description", "id_token", "x", "expires_at"}), rapid.ID[string]).Draw(t, "names")
		object := map[string]string{}
		form := []string{"first=1"}
		for _, name := range names {
			v := strings.ToValidUTF8(value.Draw(t, name), "?")
			object[name] = v
			form = append(form, name+"="+url.QueryEscape(v))
		}
		object["first"] = "1"
		b, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		a := show(shot{body: string(b)}.parse(t))
		o := show(shot{body: strings.Join(form, "&")}.parse(t))
		if a != o {
			t.Fatalf("as JSON %s\nas a form %s", a, o)
		}
	})
}

// show writes down what an outcome says, but for the answer's own bytes.
func show(o grant.Outcome) string {
	if o.Err != nil {
		return fmt.Sprintf("%s %s uncertain=%v salvaged=%q %q %s", o.Err.Class, o.Err.Code, o.Err.Uncertain, o.Salvaged.Reveal(), o.Flags, shortened(o.Err.Detail))
	}
	t := o.Token
	return fmt.Sprintf("%q %q %q %q %q %v %v %q", t.Access.Reveal(), t.Refresh.Reveal(), t.Type, t.Scheme, t.Scope, t.Expiry, t.RefreshExpiry, o.Flags)
}

// shortened leaves out the list of members, whose order is not the same.
func shortened(s string) string {
	s, _, _ = strings.Cut(s, "; it has ")
	return s
}

// What a body of a torn answer holds whole is found, wherever it is torn.
func TestG6SalvageAtEveryByte(t *testing.T) {
	const body = `{"a":[1,{"b":"}"}],"refresh_token":"rt-\u006eew","access_token":"at-new","expires_in":3600}`
	end := strings.Index(body, `","access`) + 1
	for n := range len(body) {
		o := shot{body: body[:n], cut: true}.parse(t)
		want := ""
		if n >= end {
			want = "rt-new"
		}
		if o.Err == nil || o.Salvaged.Reveal() != want {
			t.Errorf("after %d bytes: %v, salvaged %q, want %q", n, o.Err, o.Salvaged.Reveal(), want)
		}
	}
	if o := (shot{body: body, cut: true}).parse(t); o.Token == nil || o.Token.Refresh.Reveal() != "rt-new" {
		t.Errorf("the whole body: %v", o.Err)
	}
}

func TestF34HostileBodiesAreCheap(t *testing.T) {
	many := make([]byte, 0, grant.MaxBody)
	many = append(many, '{')
	for i := 0; len(many) < grant.MaxBody-64; i++ {
		many = fmt.Appendf(many, `"%d":0,`, i)
	}
	many = append(many, `"x":0}`...)
	for name, body := range map[string]string{
		"members":        string(many),
		"one name":       "{" + strings.Repeat(`"a":1,`, grant.MaxBody/6-2) + `"a":1}`,
		"brackets":       strings.Repeat("[", grant.MaxBody),
		"braces":         strings.Repeat(`{"a":`, grant.MaxBody/5),
		"quotes":         strings.Repeat(`"`, grant.MaxBody),
		"backslashes":    `{"access_token":"` + strings.Repeat(`\\`, grant.MaxBody/2-20) + `"}`,
		"list":           `{"access_token":"at-1","x":[` + strings.Repeat("1,", grant.MaxBody/2-30) + `1]}`,
		"form":           strings.Repeat("a=b&", grant.MaxBody/4),
		"errors":         `{"errors":[` + strings.Repeat(`{"code":"x"},`, grant.MaxBody/13-3) + `1]}`,
		"long text":      strings.Repeat("too many refresh token ", grant.MaxBody/23),
		"error sentence": `{"error":"x","error_description":"` + strings.Repeat("refresh token ", grant.MaxBody/14-10) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			shot{body: body}.parse(t)
			shot{body: body, status: 400}.parse(t)
			runtime.ReadMemStats(&after)
			allocated := after.TotalAlloc - before.TotalAlloc
			// Two readings of one mebibyte each.
			if allocated > 24<<20 {
				t.Errorf("%d bytes are allocated", allocated)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	small := `{"access_token":"` + strings.Repeat("a", 900) + `","token_type":"Bearer","expires_in":3600,"refresh_token":"` + strings.Repeat("r", 64) + `","scope":"read write"}`
	for name, s := range map[string]shot{
		"token":   {body: small},
		"form":    {body: "access_token=" + strings.Repeat("a", 900) + "&token_type=bearer&expires_in=3600&refresh_token=rt-1"},
		"refusal": {status: 400, body: `{"error":"invalid_grant","error_description":"AADSTS700082: The refresh token has expired due to inactivity.","error_codes":[700082],"correlation_id":"c"}`},
		"success": {body: `{"ok":true,` + small[1:], shape: freshet.Response{Success: "ok == true"}},
		"900kB":   {body: small[:len(small)-1] + `,"pad":"` + strings.Repeat("x", 900_000) + `"}`},
		"cut":     {body: small[:len(small)-20], cut: true},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s.body)))
			b.ReportAllocs()
			for b.Loop() {
				s.parse(b)
			}
		})
	}
}
