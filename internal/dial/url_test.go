package dial

import (
	"errors"
	"net/http"
	"testing"
)

// The table of S21, and S20's schemes and ports: what each spelling of a URL
// comes to. An empty want is a refusal.
var spellings = []struct{ raw, want string }{
	{"https://api.example/v1", "https://api.example/v1"},
	{"https://API.Example/V1", "https://api.example/V1"},
	{"HTTPS://api.example", "https://api.example"},
	{"https://api.example:443/", "https://api.example/"},
	{"https://api.example:8443/", "https://api.example:8443/"},
	{"http://api.example:80/", "http://api.example/"},
	{"https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"},
	{"https://93.184.216.34/", "https://93.184.216.34/"},
	{"https://[2606:4700:0:0::1111]/", "https://[2606:4700::1111]/"},
	{"https://[2606:4700::1111]:8443/", "https://[2606:4700::1111]:8443/"},
	{"https://a_b.example/", "https://a_b.example/"},
	{"https://api.example/a%2Fb//c;d?x=1;y=%zz", "https://api.example/a%2Fb//c;d?x=1;y=%zz"},
	{"https://api.example/@user", "https://api.example/@user"},
	{"https://api.example?q=@evil.example", "https://api.example?q=@evil.example"},

	// user information
	{"https://user@api.example/", ""},
	{"https://user:pw@api.example/", ""},
	{"https://api.example@evil.example/", ""},
	{"https://api.example%40evil.example/", ""},
	{"https://:@api.example/", ""},
	{"https://@api.example/", ""},
	{"https://api.example:443@evil.example/", ""},
	// fragments
	{"https://api.example/#", ""},
	{"https://api.example/#@evil.example", ""},
	{"https://api.example#.evil.example/", ""},
	// control characters, spaces, backslashes, other bytes
	{"https://api.example/\r\nHost: evil.example", ""},
	{"https://api.example/a\nb", ""},
	{"https://api.example\x00.evil.example/", ""},
	{"https://api.example/\x7f", ""},
	{"https://api.example/a b", ""},
	{" https://api.example/", ""},
	{"https://api.example/\t", ""},
	{`https:\\api.example\`, ""},
	{`https://api.example\@evil.example/`, ""},
	{`https://evil.example\.api.example/`, ""},
	// international names and look-alikes
	{"https://bücher.example/", ""},
	{"https://xn--bücher.example/", ""},
	{"https://１２７.0.0.1/", ""},
	{"https://api。example/", ""},
	{"https://b%C3%BCcher.example/", ""},
	// dots
	{"https://api.example./", ""},
	{"https://.api.example/", ""},
	{"https://api..example/", ""},
	{"https://localhost./", ""},
	{"https://./", ""},
	// numbers that are addresses to some
	{"https://2130706433/", ""},
	{"https://0x7f.1/", ""},
	{"https://0x7f000001/", ""},
	{"https://127.1/", ""},
	{"https://0177.0.0.1/", ""},
	{"https://127.0.0.01/", ""},
	{"https://127.0.0.1.1/", ""},
	{"https://256.0.0.1/", ""},
	{"https://api.1/", ""},
	{"https://0x/", ""},
	// ports
	{"https://api.example:/", ""},
	{"https://api.example:0/", ""},
	{"https://api.example:0443/", ""},
	{"https://api.example:65536/", ""},
	{"https://api.example:+443/", ""},
	{"https://api.example:443:443/", ""},
	{"https://api.example:https/", ""},
	// IPv6
	{"https://[fe80::1%25eth0]/", ""},
	{"https://[::1/", ""},
	{"https://::1/", ""},
	{"https://[127.0.0.1]/", ""},
	{"https://[::ffff:127.0.0.1%25lo]/", ""},
	// schemes
	{"file:///etc/passwd", ""},
	{"gopher://api.example/", ""},
	{"unix:///run/docker.sock", ""},
	{"ftp://api.example/", ""},
	{"https:api.example", ""},
	{"https:///path", ""},
	{"//api.example/", ""},
	{"api.example/v1", ""},
	{"javascript:alert(1)", ""},
	{"", ""},
	// parts of a name
	{"https://-api.example/", ""},
	{"https://api-.example/", ""},
	{"https://a*b.example/", ""},
	{"https://api,example/", ""},
	{"https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example/", ""},
}

func TestS21_one_spelling_of_each_URL(t *testing.T) {
	if len(spellings) < 60 {
		t.Fatalf("%d spellings, want at least 60", len(spellings))
	}
	for _, tt := range spellings {
		u, err := ParseURL(tt.raw)
		got := ""
		if err == nil {
			got = u.String()
		}
		if got != tt.want {
			t.Errorf("ParseURL(%q) = %q, %v; want %q", tt.raw, got, err, tt.want)
		}
	}
}

// A URL that net/url takes but ParseURL would not have let through is refused
// at the request too.
func TestS21_request_is_checked_again(t *testing.T) {
	g, err := New(Options{Allow: []string{"127.0.0.0/8", "localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"http://user@127.0.0.1/", "http://127.1/", "http://0177.0.0.1/", "http://2130706433/", "http://localhost./", "ftp://127.0.0.1/"} {
		r, err := http.NewRequest("GET", raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Transport(Upstream).RoundTrip(r); !errors.Is(err, ErrDenied) {
			t.Errorf("RoundTrip to %s = %v, want ErrDenied", raw, err)
		}
	}
}
