package httpapi

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/problem"
)

// values are the parameters of a plain endpoint.
type values struct{ url.Values }

// query reads a query strictly: a parameter that is not known is refused, or a
// mistyped dry_run would apply.
func query(r *http.Request, known ...string) (values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return values{}, problem.New(http.StatusBadRequest, "bad-query", "The query does not read", "")
	}
	for name, list := range q {
		if !slices.Contains(known, name) {
			return values{}, invalid("query."+name, "unknown query parameter: known are "+strings.Join(known, ", "))
		}
		if len(list) > 1 {
			return values{}, invalid("query."+name, "is given twice")
		}
	}
	return values{q}, nil
}

func (v values) truth(name string) (bool, error) {
	switch v.Get(name) {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, invalid("query."+name, "is true or false")
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
