package httpapi

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/store"
)

// An event is one thing that happened.
type event struct {
	Seq        int64          `json:"seq" doc:"Grows; the id of the event in streams."`
	At         time.Time      `json:"at"`
	Connection string         `json:"connection,omitempty"`
	Type       string         `json:"type" doc:"Such as token.refreshed or connection.needs_reauthorization."`
	Detail     map[string]any `json:"detail,omitempty"`
}

func eventOf(e *store.Event) event {
	return event{Seq: e.Seq, At: e.At.UTC(), Connection: e.Connection, Type: e.Type, Detail: e.Detail}
}

// Paging are the parameters of every list.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many at most."`
	Cursor string `query:"cursor" maxLength:"512" doc:"next_cursor of the page before."`
}

// before reads the cursor of a list that goes back in time.
func (p Paging) before() (int64, error) {
	if p.Cursor == "" {
		return math.MaxInt64, nil
	}
	n, err := strconv.ParseInt(p.Cursor, 10, 64)
	if err != nil || n < 0 {
		return 0, invalid("query.cursor", "is no cursor of this list: take next_cursor of the page before")
	}
	return n, nil
}

type eventList struct {
	Events     []event `json:"events" doc:"Newest first."`
	NextCursor string  `json:"next_cursor,omitempty"`
}

func (a *API) events(ctx context.Context, connection string, p Paging) (*body[eventList], error) {
	before, err := p.before()
	if err != nil {
		return nil, err
	}
	rows, err := a.o.Store.EventsBefore(ctx, connection, before, p.Limit)
	if err != nil {
		return nil, err
	}
	out := &body[eventList]{}
	out.Body.Events = make([]event, len(rows))
	for i := range rows {
		out.Body.Events[i] = eventOf(&rows[i])
	}
	if len(rows) == p.Limit {
		out.Body.NextCursor = strconv.FormatInt(rows[len(rows)-1].Seq, 10)
	}
	return out, nil
}

func (a *API) eventEndpoints() {
	streamed := " With Accept: text/event-stream what happens is streamed as it happens, after Last-Event-ID if that is given."
	ofOne, all := rule{verb: access.Admin}, rule{verb: access.Read}

	register(a, huma.Operation{OperationID: "list-connection-events", Method: http.MethodGet, Path: connections + "{name}/events", Summary: "What happened to a connection", Tags: []string{"events"},
		Description: "Newest first." + streamed, Middlewares: huma.Middlewares{a.orStream(func(r *http.Request) string { return r.PathValue("name") })}}, ofOne,
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name"`
			Paging
		}) (*body[eventList], error) {
			if _, err := a.o.Source.Status(ctx, in.Name); err != nil {
				return nil, err
			}
			return a.events(ctx, in.Name, in.Paging)
		})
	register(a, huma.Operation{OperationID: "list-events", Method: http.MethodGet, Path: "/api/v1/events", Summary: "What happened", Tags: []string{"events"},
		Description: "Newest first." + streamed, Middlewares: huma.Middlewares{a.orStream(func(*http.Request) string { return "" })}}, all,
		func(ctx context.Context, c *call, in *Paging) (*body[eventList], error) {
			return a.events(ctx, "", *in)
		})

	stream := huma.Operation{OperationID: "stream", Method: http.MethodGet, Path: "/api/v1/stream", Summary: "Events as they happen", Tags: []string{"events"},
		Description: "Server-sent events: connection states, refreshes and runs. What the list of events holds has an id, so that a client that comes back with Last-Event-ID misses nothing of it; runs that this process began, suspended and ended are told of as they are, without one. The stream ends when the key is revoked.",
		Responses:   map[string]*huma.Response{"200": {Description: "A stream.", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}}}}
	a.handle(stream, all, func(w http.ResponseWriter, r *http.Request, c *call) {
		if accept := r.Header.Get("Accept"); accept != "" && !wantsStream(r) && accept != "*/*" {
			problem.Write(w, http.StatusNotAcceptable, "not-acceptable", "This is a stream", "ask for it with Accept: text/event-stream, or list /api/v1/events", nil)
			return
		}
		a.stream(w, r, c, "")
	})
}
