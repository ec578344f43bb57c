package outbound

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

// readURL reads the text of a Url field. White space around it goes: texts of
// scripts and templates end in newlines. Characters that cannot stand in a URL
// are percent-encoded, line breaks among them, so that they end neither the
// request line nor the path; what is percent-encoded already stays. A fragment
// is for browsers and is cut off.
func readURL(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, errors.New("it is blank")
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errors.New("it is no whole URL (https://host/path): name a Connection to call a path below its base URL")
	}
	host, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		host, tail = rest[:i], rest[i:]
	}
	u, err := dial.ParseURL(strings.ToLower(scheme) + "://" + host)
	if err != nil {
		return nil, err // ParseURL repeats nothing that could be a secret but host names
	}
	whole, err := url.Parse(u.Scheme + "://" + u.Host + escape(tail))
	if err != nil {
		return nil, errors.New("its path cannot be read")
	}
	if len(whole.RequestURI()) > maxURL {
		return nil, fmt.Errorf("it is longer than %d bytes", maxURL)
	}
	return whole, nil
}

// maxURL bounds a request line; servers commonly take half of it.
const maxURL = 64 << 10

// readTarget reads the Url of a request that names a connection: a whole URL, or
// a path and query below the connection's base URL.
func readTarget(text string) string {
	text = strings.TrimSpace(text)
	if scheme, rest, ok := strings.Cut(text, "://"); ok && !strings.ContainsAny(scheme, "/?#") {
		host, tail := rest, ""
		if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
			host, tail = rest[:i], rest[i:]
		}
		return scheme + "://" + host + escape(tail)
	}
	if text != "" && text[0] != '/' && text[0] != '?' && text[0] != '#' {
		text = "/" + text
	}
	return escape(text)
}

// escape makes a path and query fit to be sent and cuts the fragment off.
func escape(s string) string {
	s, _, _ = strings.Cut(s, "#")
	return content.EscapeURL(s)
}
