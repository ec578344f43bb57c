package httpapi

import (
	"errors"
	"net/http"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/problem"
)

var errProbe = errors.New("what was sealed opens as something else")

// later are the front doors of later versions, with the scope that looking at
// them takes.
var later = []struct {
	path string
	verb access.Verb
	what string
}{
	{"/api/v1/console", access.Read, "the console"},
}

// laterEndpoints say so, to those who have a key.
func (a *API) laterEndpoints() {
	for _, l := range later {
		a.laterEndpoint(l.path, l.what)
	}
}

// laterEndpoint says of everything under a path that it comes later.
func (a *API) laterEndpoint(path, what string) {
	h := func(w http.ResponseWriter, r *http.Request) {
		if _, err := a.gate.identify(r); err != nil {
			a.fail(w, r, err)
			return
		}
		problem.Write(w, http.StatusNotImplemented, "not-in-this-version", "Not in this version", what+" are not in this version of Freshet; /api/docs lists what is", nil)
	}
	a.mux.HandleFunc(path, h)
	a.mux.HandleFunc(path+"/", h)
}
