package upstream

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
)

func TestCap007_bytes_of_path_and_query(t *testing.T) {
	raw := newRawAPI(t, emptyOK)
	tr := newTransport(t)
	for _, tt := range []struct{ base, target, want string }{
		{"", "/api/rows/?user_field_names=true", "/api/rows/?user_field_names=true"},
		{"", "/a%2Fb//c;d?x=1;y=2", "/a%2Fb//c;d?x=1;y=2"},
		{"/v1", "/a%2Fb//c;d?x=1;y=2", "/v1/a%2Fb//c;d?x=1;y=2"},
		{"/v1/", "/users", "/v1/users"},
		{"/v1/", "/", "/v1/"},
		{"/v1", "", "/v1"},
		{"/v1", "?a=1", "/v1?a=1"},
		{"", "", "/"},
		{"", "?a=1", "/?a=1"},
		{"/a%2Fb", "/c%2fd", "/a%2Fb/c%2fd"},
		{"", "/?", "/?"},
		{"", "/?a=1&a=2&b&=c&&", "/?a=1&a=2&b&=c&&"},
		{"", "/?q=%zz+%20&r=a+b&s={}|\"<>^`\\", "/?q=%zz+%20&r=a+b&s={}|\"<>^`\\"},
		{"", "/%41%7e%C3%a9", "/%41%7e%C3%a9"},
		{"", "/a/./b/../c", "/a/./b/../c"},
		{"", "/a/%2e%2e/b", "/a/%2e%2e/b"},
		{"", "//evil.example/x", "//evil.example/x"},
		{"", "///x%2F", "///x%2F"},
		{"/v1", "//evil.example/x", "/v1//evil.example/x"},
		{"", "/a|b{c}\"d\"^`\\e", "/a|b{c}\"d\"^`\\e"},
		{"", "/bücher?ü=ß", "/bücher?ü=ß"},
		{"", "/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;="},
		{"", "/http://evil.example/", "/http://evil.example/"},
		{"", "/%", "/%"},
		{"", "/*", "/*"},
	} {
		t.Run("cap007 "+tt.base+" "+tt.target, func(t *testing.T) {
			acc := newAccount(&freshet.API{BaseURL: raw.url() + tt.base})
			do(t, tr, acc, &Call{Target: tt.target})
			line, rest, _ := strings.Cut(<-raw.heads, "\r\n")
			if want := "GET " + tt.want + " HTTP/1.1"; line != want {
				t.Errorf("sent %q, want %q", line, want)
			}
			if !strings.Contains(rest, "Host: "+raw.Addr().String()+"\r\n") {
				t.Errorf("Host is not the target:\n%s", rest)
			}
		})
	}
	for _, bad := range []string{"/a b", "/a\r\nX: 1", "/a#b", "/\x00", "/a\x7f", "//a|b", "/?a\nb", "users", "http:/x"} {
		if got := refusal(t, tr, newAccount(&freshet.API{BaseURL: raw.url()}), &Call{Target: bad}); got != BadTarget {
			t.Errorf("target %q: %q, want bad-target", bad, got)
		}
	}
	select {
	case head := <-raw.heads:
		t.Errorf("a refused target was sent: %s", head)
	default:
	}
}

// The head as a whole: nothing there that nobody asked for.
func TestNothingIsAdded(t *testing.T) {
	raw := newRawAPI(t, emptyOK)
	do(t, newTransport(t), newAccount(&freshet.API{BaseURL: raw.url()}), &Call{Target: "/"})
	want := "GET / HTTP/1.1\r\nHost: " + raw.Addr().String() + "\r\nAuthorization: Bearer token-1\r\n\r\n"
	if got := <-raw.heads; got != want {
		t.Errorf("sent\n%q, want\n%q", got, want)
	}
}

func TestS27_destination_binding(t *testing.T) {
	base, other, stray := newAPI(t, nil), newAPI(t, nil), newAPI(t, nil)
	tr := newTransport(t)
	acc := newAccount(&freshet.API{BaseURL: base.URL + "/v1", Hosts: []string{strings.TrimPrefix(other.URL, "http://"), "http://127.0.0.1:1/only/", "https://127.0.0.1:2", "*.files.example"}})
	for _, tt := range []struct {
		target string
		want   Refusal
	}{
		{base.URL + "/v1/x", ""},
		{base.URL + "/other/x?y=1", ""},
		{strings.ToUpper(base.URL[:4]) + base.URL[4:] + "/v1", ""},
		{other.URL + "/x", ""},
		{other.URL, ""},
		{stray.URL + "/x", HostRefused},
		{strings.Replace(other.URL, "http:", "https:", 1), HostRefused},
		{"http://127.0.0.1:1/elsewhere", HostRefused},
		{"http://127.0.0.1:1/only/../elsewhere", HostRefused},
		{"http://127.0.0.1:1/onlyish", HostRefused},
		{"http://127.0.0.1:2/", HostRefused},
		{"http://files.example/", HostRefused},
		{"http://evilfiles.example/", HostRefused},
		{"http://a.files.example.evil.example/", HostRefused},
		{"https://a.files.example/", HostRefused},
		{base.URL + "@" + strings.TrimPrefix(stray.URL, "http://"), BadTarget},
		{"http://user@" + strings.TrimPrefix(base.URL, "http://"), BadTarget},
		{"ftp://127.0.0.1/", BadTarget},
	} {
		acc.def.Connection.API.Methods = nil
		if got := refusal(t, tr, acc, &Call{Target: tt.target}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.target, got, tt.want)
		}
	}
	if n := stray.calls(); n != 0 || stray.wires != 0 {
		t.Errorf("%d calls over %d connections reached a host that the token is not for", n, stray.wires)
	}
	if base.calls() != 3 || other.calls() != 2 {
		t.Errorf("%d and %d calls, want 3 and 2", base.calls(), other.calls())
	}
	t.Run("S27 hosts without a base URL take whole URLs only", func(t *testing.T) {
		acc := newAccount(&freshet.API{Hosts: []string{other.URL}})
		acc.def.ID = "c3"
		if got := refusal(t, tr, acc, &Call{Target: "/x"}); got != NoAPI {
			t.Errorf("a path: %q", got)
		}
		if got := refusal(t, tr, acc, &Call{Target: other.URL + "/x"}); got != "" {
			t.Errorf("a whole URL: %q", got)
		}
	})
	t.Run("S27 Host is the target's", func(t *testing.T) {
		do(t, tr, acc, &Call{Target: "/x", Header: http.Header{"Host": {"evil.example"}}})
		if r, _ := base.call(base.calls() - 1); r.Host != strings.TrimPrefix(base.URL, "http://") {
			t.Errorf("Host %q", r.Host)
		}
	})
	t.Run("S27 a base that the answer names must be among the hosts", func(t *testing.T) {
		acc := newAccount(&freshet.API{BaseURL: "{{answer.instance_url}}/services", Hosts: []string{other.URL}})
		acc.tok.Answer = freshet.NewSecret(`{"instance_url":"` + stray.URL + `"}`)
		if got := refusal(t, tr, acc, &Call{Target: "/x"}); got != HostRefused {
			t.Errorf("foreign instance: %q", got)
		}
		acc.def = &freshet.Definition{ID: "c2", Connection: acc.def.Connection}
		acc.tok = acc.issue(2)
		acc.tok.Answer = freshet.NewSecret(`{"instance_url":"` + other.URL + `"}`)
		do(t, tr, acc, &Call{Target: "/x"})
		if r, _ := other.call(other.calls() - 1); r.RequestURI != "/services/x" {
			t.Errorf("sent to %s", r.RequestURI)
		}
	})
}

// The paths of appendix C and more, each against a route that allows /public
// and /v1/users.
func TestS28_restricted_paths(t *testing.T) {
	api := newAPI(t, nil)
	tr := newTransport(t)
	acc := newAccount(&freshet.API{BaseURL: api.URL, Paths: []string{"/public", "/v1/users", "/files/"}})
	for path, want := range map[string]Refusal{
		"/public": "", "/public/": "", "/public/a.b/c-d_e~f": "", "/public?x=/../admin": "", "/v1/users/7": "", "/v1/users?a=;b": "",
		"/public/caf%C3%A9": "", "/public/caf%c3%a9": "", "/public/a%20b": "", "/public/a:b@c": "", "/files/a": "", "/public/%E4%B8%AD": "",

		"/": PathRefused, "": PathRefused, "/admin": PathRefused, "/publicity": PathRefused, "/PUBLIC": PathRefused, "/v1": PathRefused, "/v1/user": PathRefused,
		"/files": PathRefused, "?x=/public": PathRefused, "/v1/users2": PathRefused,

		// appendix C
		"//evil/x": BadTarget, "/a/../../admin": BadTarget, "/a/%2e%2e/..": BadTarget, "/a%2f..%2fadmin": BadTarget, `/a\..\admin`: BadTarget,
		// and more
		"/public/../admin": BadTarget, "/public/..": BadTarget, "/public/.": BadTarget, "/public/./x": BadTarget,
		"/public/%2e%2e/admin": BadTarget, "/public/%2E%2E/admin": BadTarget, "/public/.%2e/admin": BadTarget, "/public/%2e./admin": BadTarget,
		"/public/%252e%252e/admin": BadTarget, "/public/%25252e%25252e/admin": BadTarget, "/public%2f..%2fadmin": BadTarget, "/public%2F..%2Fadmin": BadTarget,
		"/public/..%2fadmin": BadTarget, "/public/..%5cadmin": BadTarget, `/public/..\admin`: BadTarget, "/public%5c..%5cadmin": BadTarget,
		"/public//../admin": BadTarget, "/public//x": BadTarget, "//public": BadTarget, "/public/;/admin": BadTarget, "/public;x=1/../admin": BadTarget,
		"/public/..;/admin": BadTarget, "/public%3b/../admin": BadTarget, "/public/..%3b/admin": BadTarget, "/public/%00/admin": BadTarget,
		"/public/%0d%0aX:1": BadTarget, "/public/%c0%ae%c0%ae/admin": BadTarget, "/public/%e0%80%ae": BadTarget, "/public/%ef%bc%8f": BadTarget,
		"/public/%ef%bc%8e%ef%bc%8e/admin": BadTarget, "/public/%e2%80%a5/admin": BadTarget, "/public/%u002e%u002e": BadTarget, "/public/%": BadTarget,
		"/public/%2": BadTarget, "/public/%zz": BadTarget, "/%70ublic": BadTarget, "/public/%3f": BadTarget, "/public/%23": BadTarget, "/public/a|b": BadTarget,
		"/public/é": BadTarget, "/public/%7Fx": BadTarget, "/public/a\"b": BadTarget, "/public/%ff": BadTarget,
	} {
		if got := refusal(t, tr, acc, &Call{Target: path}); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
	if n := api.calls(); n != 12 {
		t.Errorf("%d calls arrived, want the 12 that are allowed", n)
	}
	t.Run("S28 whole URLs", func(t *testing.T) {
		for target, want := range map[string]Refusal{
			api.URL + "/public/x": "", api.URL + "/admin": PathRefused, api.URL + "/public/../admin": BadTarget, api.URL: PathRefused,
		} {
			if got := refusal(t, tr, acc, &Call{Target: target}); got != want {
				t.Errorf("%s: %q, want %q", target, got, want)
			}
		}
	})
}

// A base URL with a path is a fence even where paths are free.
func TestS28_no_way_out_of_the_base(t *testing.T) {
	api := newAPI(t, nil)
	tr := newTransport(t)
	acc := newAccount(&freshet.API{BaseURL: api.URL + "/v1/acme"})
	for i, path := range []string{
		"/..", "/../", "/../admin", "/a/../../admin", "/%2e%2e/admin", "/.%2E/admin", "/a%2f..%2f..%2fadmin", `/..\admin`, `/a\..\..\admin`, "/%5c..%5cadmin",
		"/%252e%252e/admin", "/..;/admin", "/..;x=1/admin", "//../admin", "/./../admin", "/%2e%2e%2fadmin", "/%25%32%65%25%32%65/admin",
	} {
		if got := refusal(t, tr, acc, &Call{Target: path}); got != PathRefused {
			t.Errorf("%d: %q: %q, want a refusal", i, path, got)
		}
	}
	for _, path := range []string{"/a/../b", "/...", "/a..b", "/..a", "/a;b", "//a", "/a%2Fb"} {
		if got := refusal(t, tr, acc, &Call{Target: path}); got != "" {
			t.Errorf("%q: %q, want it sent", path, got)
		}
	}
	if n := api.calls(); n != 7 {
		t.Errorf("%d calls arrived, want 7", n)
	}
}

func TestMethods(t *testing.T) {
	api := newAPI(t, nil)
	tr := newTransport(t)
	open := newAccount(&freshet.API{BaseURL: api.URL})
	some := newAccount(&freshet.API{BaseURL: api.URL, Methods: []string{"GET", "POST"}})
	some.def.ID = "c2"
	for _, tt := range []struct {
		acc    *account
		method string
		want   Refusal
	}{
		{open, "GET", ""}, {open, "PROPFIND", ""}, {open, "CONNECT", MethodRefused}, {open, "TRACE", MethodRefused},
		{some, "GET", ""}, {some, "POST", ""}, {some, "DELETE", MethodRefused}, {some, "get", MethodRefused}, {some, "HEAD", MethodRefused},
	} {
		if got := refusal(t, tr, tt.acc, &Call{Method: tt.method, Target: "/"}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.method, got, tt.want)
		}
	}
	if n := api.calls(); n != 4 {
		t.Errorf("%d calls, want 4", n)
	}
}

func TestPlansAreBounded(t *testing.T) {
	tr := newTransport(t)
	for i := range 64*plansPerShard + 5000 {
		tr.plan(&freshet.Definition{ID: freshet.ConnectionID(fmt.Sprint(i))})
	}
	n := 0
	for i := range tr.plans.shards {
		n += len(tr.plans.shards[i].m)
	}
	if n > 64*plansPerShard {
		t.Errorf("%d plans are kept, want at most %d", n, 64*plansPerShard)
	}
}
