package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/flow"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/web"
)

const (
	callback = "/callback/oauth2"
	done     = callback + "/done"
)

func (a *API) callbackEndpoints() {
	a.mux.HandleFunc("GET "+callback+"/start/{ticket}", a.openLink)
	a.mux.HandleFunc("GET "+callback, a.landing)
	a.mux.HandleFunc("GET "+callback+"/{client}", a.landing) // a redirect URI of a client's own, RFC 9700 §4.4
	a.mux.HandleFunc("GET "+done, a.ended)
}

// openLink is the link that a person opens: the browser gets its cookie and goes
// on to the provider.
func (a *API) openLink(w http.ResponseWriter, r *http.Request) {
	page(w)
	if prefetched(r) {
		// Whoever only looks ahead, or shows a preview of the link to others,
		// must not use it up.
		w.WriteHeader(http.StatusNoContent)
		return
	}
	o, err := a.o.Flows.Open(r.Context(), r.PathValue("ticket"), cookieOf(r))
	switch {
	case errors.Is(err, flow.ErrBrowser):
		show(w, http.StatusConflict, result{Title: "This link was opened in another browser", Text: "It belongs to the first browser that opens it, so that nobody else can finish what was begun there.",
			Next: "Finish it in that browser, or make a new link."})
		return
	case errors.Is(err, flow.ErrUnknown):
		show(w, http.StatusNotFound, result{Title: "This link is not good any more", Text: "It was used already, or its ten minutes are over.", Next: "Make a new one, for example with freshet connect NAME."})
		return
	case err != nil:
		a.broken(w, r, err)
		return
	}
	http.SetCookie(w, a.cookie(o.Flow, o.Cookie, o.ExpiresAt))
	// Header.Set, not http.Redirect: that would put the link into a body, too.
	w.Header().Set("Location", o.URL)
	w.WriteHeader(http.StatusSeeOther)
}

// prefetched reports whether nobody has opened the link yet.
func prefetched(r *http.Request) bool {
	for _, h := range []string{"Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"} {
		if v := strings.ToLower(r.Header.Get(h)); strings.Contains(v, "prefetch") || strings.Contains(v, "preview") || strings.Contains(v, "prerender") {
			return true
		}
	}
	return r.Method == http.MethodHead
}

// secure reports whether browsers reach this server over TLS.
func (a *API) secure() bool { return strings.HasPrefix(a.o.BaseURL, "https://") }

// hostPrefix makes a browser refuse the cookie from anybody but this very host
// over TLS. It takes that for granted where there is TLS.
const hostPrefix = "__Host-"

func (a *API) cookie(flowID, value string, expires time.Time) *http.Cookie {
	name := flow.CookieName(flowID)
	if a.secure() {
		name = hostPrefix + name
	}
	// Lax, because the browser comes back from another site, by a link.
	return &http.Cookie{Name: name, Value: value, Path: "/", Expires: expires, HttpOnly: true, Secure: a.secure(), SameSite: http.SameSiteLaxMode}
}

func cookieOf(r *http.Request) func(string) string {
	return func(name string) string {
		for _, n := range []string{hostPrefix + name, name} {
			if list := r.CookiesNamed(n); len(list) == 1 {
				return list[0].Value
			}
		}
		return ""
	}
}

// landing is where a provider sends the browser back to. It never shows
// anything at this address, which has the code in it, if there is a flow that
// the browser may see.
func (a *API) landing(w http.ResponseWriter, r *http.Request) {
	page(w)
	l, err := a.o.Flows.Callback(r.Context(), r.URL.Path, r.URL.Query(), cookieOf(r))
	switch {
	case errors.Is(err, flow.ErrUnknown):
		show(w, http.StatusBadRequest, result{Title: "This authorization is not known", Text: "It was finished already, its ten minutes are over, or it was not begun here. Nothing was sent.", Next: "Start again, for example with freshet connect NAME."})
		return
	case errors.Is(err, flow.ErrBrowser):
		show(w, http.StatusForbidden, result{Title: "This authorization was begun in another browser", Text: "To be safe, it is finished only in the browser that opened the link. Nothing was sent.", Next: "Start again, and open the link in the browser that you go on with."})
		return
	case errors.Is(err, flow.ErrChanged), errors.Is(err, grant.ErrMixUp):
		show(w, http.StatusBadRequest, result{Title: "This authorization cannot be finished", Text: l.Detail + "."})
		return
	case err != nil:
		a.broken(w, r, err)
		return
	}
	to := done + "?" + url.Values{"flow": {l.Flow}}.Encode()
	if l.Done && l.ReturnTo != "" {
		to = l.ReturnTo // checked when the flow began
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// ended says how an authorization ended, at an address that tells nothing.
func (a *API) ended(w http.ResponseWriter, r *http.Request) {
	page(w)
	id := r.URL.Query().Get("flow")
	st, err := a.o.Flows.Status(r.Context(), id)
	if errors.Is(err, flow.ErrUnknown) || err == nil && cookieOf(r)(flow.CookieName(id)) == "" {
		// Somebody else's browser learns nothing.
		show(w, http.StatusOK, result{Good: true, Title: "You can close this page", Text: "Whoever began the authorization is told how it ended."})
		return
	}
	if err != nil {
		a.broken(w, r, err)
		return
	}
	switch st.State {
	case flow.Done:
		show(w, http.StatusOK, result{Good: true, Title: "Connected", Text: "Connection " + st.Connection + " is authorized, and its tokens are kept fresh from now on.", Next: "You can close this page."})
	case flow.Pending:
		show(w, http.StatusOK, result{Good: true, Title: "Not finished yet", Text: "Connection " + st.Connection + " is still waiting.", Next: "Reload this page in a moment."})
	default:
		show(w, http.StatusOK, result{Title: "Not connected", Text: "Connection " + st.Connection + " was not authorized.", Said: st.Detail, Next: "Nothing was changed. To try again: freshet connect " + st.Connection})
	}
}

// broken shows that something went wrong inside.
func (a *API) broken(w http.ResponseWriter, r *http.Request, err error) {
	p := a.problemOf(err)
	a.note(w, r, p)
	if p.Status == problem.ClientGone {
		panic(http.ErrAbortHandler)
	}
	status := p.Status
	if status < 400 {
		status = http.StatusInternalServerError
	}
	show(w, status, result{Title: "Something went wrong", Text: p.Title + ".", Next: "Request " + w.Header().Get(web.HeaderRequestID) + " in the server's log says more."})
}
