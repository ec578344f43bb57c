package outbound

import (
	"net/http"
	"strings"
)

// maxRedirects is how many are followed; the answer after them is the answer.
const maxRedirects = 20

// redirected returns the request that a redirect asks for, or nil where it is
// not followed, so that the redirect itself is the answer.
//
// The platform follows where no https would become http, repeats a POST as GET
// after 300-303, and keeps method and body after 307 and 308. Here, beyond that,
// nothing that the workflow sent in headers goes to another origin but what says
// nothing about who asks, and a body does not go there at all: that of a login
// is the password.
func (r *request) redirected(resp *http.Response) *request {
	switch resp.StatusCode {
	case http.StatusMultipleChoices, http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil
	}
	where := resp.Header.Get("Location")
	if where == "" {
		return nil
	}
	ref, err := r.url.Parse(escape(strings.TrimSpace(where)))
	if err != nil {
		return nil
	}
	to, err := readURL(ref.String())
	if err != nil || r.url.Scheme == "https" && to.Scheme != "https" {
		return nil
	}
	next := &request{method: r.method, url: to, header: r.header.Clone(), body: r.body, dropped: r.dropped}
	switch {
	case resp.StatusCode == http.StatusSeeOther && r.method != http.MethodGet && r.method != http.MethodHead,
		resp.StatusCode < http.StatusSeeOther && r.method == http.MethodPost:
		next.method, next.body = http.MethodGet, nil
		next.header.Del("Content-Type")
		next.header.Del("Content-Encoding")
	}
	if to.Scheme == r.url.Scheme && to.Host == r.url.Host { // both canonical
		return next
	}
	if next.body != nil {
		return nil
	}
	for name := range next.header {
		if !impersonal[name] {
			next.header.Del(name)
		}
	}
	return next
}

// impersonal are headers that may follow a redirect anywhere. What a header of
// another name means only its author knows: X-Api-Key is one.
var impersonal = map[string]bool{"Accept": true, "Accept-Language": true, "Accept-Encoding": true, "User-Agent": true}
