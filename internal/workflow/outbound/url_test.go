package outbound

import (
	"strings"
	"testing"
)

func TestReadTarget(t *testing.T) {
	for in, want := range map[string]string{
		"": "", " /a b \n": "/a%20b", "a/b?c=d#e": "/a/b?c=d", "?q=1": "?q=1", "#x": "", "https://api.example/x y": "https://api.example/x%20y",
		"a?to=https://x/y": "/a?to=https://x/y", "//x/y": "//x/y", "/a\r\nX: y": "/a%0D%0AX:%20y",
	} {
		if got := readTarget(in); got != want {
			t.Errorf("%q = %q, want %q", in, got, want)
		}
	}
}

// Whatever a script makes of a URL, a request line has three parts and a host
// that says where it goes.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://api.example/a b?c={d}#e", "HTTP://EXAMPLE:080/%", " https://[::1]/\r\nHost: x", "https://u:p@x/", "https://x/\\..\\", "https://x?y#z", "https://x/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := readURL(text)
		if err != nil {
			return
		}
		line := u.RequestURI()
		if i := strings.IndexFunc(line, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 || !strings.HasPrefix(line, "/") && !strings.HasPrefix(line, "?") {
			t.Errorf("%q is asked for as %q", text, line)
		}
		if u.User != nil || u.Fragment != "" || strings.ContainsAny(u.Host, " @/\\?#\r\n") || strings.ToLower(u.Host) != u.Host {
			t.Errorf("%q goes to %q", text, u.Host)
		}
	})
}
