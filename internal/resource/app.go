package resource

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
)

const kindApp = "apps"

// An AppChecker knows what can be wrong with an app beyond its form: JavaScript
// that does not parse, bindings to nothing, cycles.
type AppChecker interface {
	CheckApp(ctx context.Context, a *freshet.App, say func(field, detail string, warn bool)) error
}

func apps() Kind {
	return Define(Spec[freshet.App]{
		Name: kindApp, One: "app",
		Doc: "Apps: HTTP queries, JavaScript objects that use them, and pages that show what they bring, served at /apps/APP/PAGE.",
		Forms: map[reflect.Type]Form{
			reflect.TypeFor[freshet.App]():        {Folder: "dir", Parts: map[string]string{"queries": "yaml", "scripts": "js", "pages": "yaml"}},
			reflect.TypeFor[[]freshet.AppQuery](): {Name: "name"},
			reflect.TypeFor[[]freshet.AppPage]():  {Name: "name"},
		},
		Words: map[reflect.Type]map[string][]string{
			reflect.TypeFor[freshet.AppWidget](): {"type": {"table", "text", "button", "input", "select", "checkbox"}, "input": {"text", "password", "email", "number"}},
		},
		Refs: func(a *freshet.App) []Ref {
			var refs []Ref
			for i := range a.Queries {
				if q := &a.Queries[i]; q.Connection != "" {
					refs = append(refs, Ref{Key{kindConnection, q.Connection}, join("queries", q.Name) + ".connection"})
				}
			}
			return refs
		},
		Check: checkApp,
	})
}

func checkApp(c *Check, name string, a *freshet.App) {
	for i := range a.Pages {
		if p := &a.Pages[i]; !plainName.MatchString(p.Name) {
			c.Fault(join("pages", p.Name), "the name of a page is part of its address: letters, digits, dots, hyphens and underscores, a letter or digit first")
		}
	}
	pinQueries(c, name, a)
	if c.b.o.Apps == nil {
		return
	}
	c.err = c.b.o.Apps.CheckApp(c.ctx, a, func(field, detail string, warn bool) {
		if warn {
			c.Warn(field, "%s", detail)
		} else {
			c.Fault(field, "%s", detail)
		}
	})
}

// pinQueries keeps stored headers and bodies with the places that they were
// entered for: a query that goes elsewhere gives them again.
func pinQueries(c *Check, name string, a *freshet.App) {
	markers := c.it.markers()
	row, stored := c.row(Key{kindApp, name})
	if len(markers) == 0 || !stored {
		return
	}
	was, err := decodeStored[freshet.App](row)
	if err != nil {
		c.err = err
		return
	}
	for i := range a.Queries {
		q := &a.Queries[i]
		at := join("queries", q.Name)
		if !slices.ContainsFunc(markers, func(m string) bool { return strings.HasPrefix(m, at+".") }) {
			continue
		}
		for j := range was.Queries {
			if o := &was.Queries[j]; o.Name == q.Name && placeOfQuery(o) != placeOfQuery(q) {
				c.Fault(at+".url", "goes to another place than before, and what is stored of the query (%s) was entered for the former: give its headers and body again, by their values", freshet.Redacted)
			}
		}
	}
}

// placeOfQuery is where a query goes: scheme and host, or its connection.
func placeOfQuery(q *freshet.AppQuery) string {
	if q.Connection != "" {
		return "as " + q.Connection
	}
	scheme, rest, ok := strings.Cut(q.URL, "://")
	if !ok || strings.Contains(scheme, "{{") {
		return q.URL
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return strings.ToLower(scheme + "://" + rest)
}

// AppRevision returns which app has the name, and which state of it.
func (b *Book) AppRevision(ctx context.Context, name string) (id string, revision int64, err error) {
	row, err := b.row(ctx, Key{kindApp, name})
	return row.ID, row.Revision, err
}

// App returns an app with what is sealed in it, its id and its revision. The
// error wraps freshet.ErrNotFound.
func (b *Book) App(ctx context.Context, name string) (*freshet.App, string, int64, error) {
	row, err := b.row(ctx, Key{kindApp, name})
	if err != nil {
		return nil, "", 0, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, "", 0, err
	}
	return v.(*freshet.App), row.ID, row.Revision, nil
}
