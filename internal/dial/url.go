package dial

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ParseURL reads an absolute http or https URL in its one canonical form and
// refuses every other spelling: user information, fragments, control
// characters, spaces and backslashes, hosts beyond ASCII (write xn--…), trailing
// dots, numbers that some resolvers take for an address (127.1, 0x7f.1,
// 2130706433), zones, empty or padded ports. The host is in lower case; a port
// that is the scheme's own is cut. Whether the place may be dialled is another
// question: [Guard.Check].
func ParseURL(raw string) (*url.URL, error) {
	if len(raw) > 8192 {
		return nil, fmt.Errorf("URL of %d bytes: at most 8192", len(raw))
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return nil, fmt.Errorf("URL holds the character %q: percent-encode it", c)
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error repeats the URL, which may hold a password.
		return nil, fmt.Errorf("not a URL that can be read")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("URL scheme %q: use https", u.Scheme)
	case u.Opaque != "" || u.Host == "":
		return nil, fmt.Errorf("URL without a host: write %s://host/path", u.Scheme)
	case u.User != nil:
		return nil, fmt.Errorf("URL with user information: put credentials into the client or the connection")
	case strings.Contains(raw, "#"):
		return nil, fmt.Errorf("URL with a fragment: cut it off at #")
	}
	host, port, err := authority(u)
	if err != nil {
		return nil, err
	}
	u.Host = joined(u.Scheme, host, port)
	return u, nil
}

// authority takes u's host and port apart, canonical, the port filled in.
func authority(u *url.URL) (host string, port int, err error) {
	host = u.Hostname()
	if strings.HasPrefix(u.Host, "[") {
		a, err := netip.ParseAddr(host)
		if err != nil || !a.Is6() || a.Zone() != "" {
			return "", 0, fmt.Errorf("host %q is not an IPv6 address without a zone", host)
		}
		host = a.String()
	} else if host, err = hostname(host); err != nil {
		return "", 0, err
	}
	p := u.Port()
	if p == "" {
		if strings.HasSuffix(u.Host, ":") {
			return "", 0, fmt.Errorf("host %q ends with a colon and no port", u.Host)
		}
		return host, ownPort(u.Scheme), nil
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 1 || port > 65535 || p[0] == '0' {
		return "", 0, fmt.Errorf("port %q is not a number from 1 to 65535", p)
	}
	return host, port, nil
}

// hostname checks a name or an IPv4 address and returns it in lower case.
func hostname(s string) (string, error) {
	s = strings.ToLower(s)
	if len(s) > 253 {
		return "", fmt.Errorf("host name of %d bytes: at most 253", len(s))
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return "", fmt.Errorf("host %q has an empty part: write it without leading, doubled or trailing dots", s)
		}
		if len(label) > 63 {
			return "", fmt.Errorf("host %q has a part of more than 63 bytes", s)
		}
		for i := range len(label) {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' && i > 0 && i < len(label)-1) {
				return "", fmt.Errorf("host %q holds %q: use the ASCII form (xn--…) of an international name", s, c)
			}
		}
		last = label
	}
	// As browsers do: a name whose last part is a number is an address or
	// nothing. The C library would take 127.1, 0x7f.1 and 0177.0.0.1 for one.
	if numeric(last) {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() {
			return "", fmt.Errorf("host %q is no IPv4 address in four decimal parts", s)
		}
	}
	return s, nil
}

func numeric(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func ownPort(scheme string) int {
	if scheme == "http" {
		return 80
	}
	return 443
}

func joined(scheme, host string, port int) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == ownPort(scheme) {
		return host
	}
	return host + ":" + strconv.Itoa(port)
}
