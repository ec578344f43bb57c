package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
)

// A connection is where a connection stands.
type connection struct {
	Name             string           `json:"name"`
	State            string           `json:"state" enum:"ok,uncertain,attention,misconfigured,reauth"`
	Reason           string           `json:"reason,omitempty"`
	Hint             string           `json:"hint,omitempty" doc:"What to do, when it is not ok."`
	ExpiresAt        *time.Time       `json:"expires_at" doc:"Of the access token; null: not known, or there is none."`
	NextRefreshAt    *time.Time       `json:"next_refresh_at" doc:"When the background looks at it; null: never."`
	Generation       int64            `json:"generation" doc:"0: it never had a token."`
	LastError        *refresh.Problem `json:"last_error" doc:"null after a success."`
	RefreshExpiresAt *time.Time       `json:"refresh_expires_at,omitempty" doc:"When the refresh token itself dies."`
	LostAt           *time.Time       `json:"lost_at,omitempty" doc:"When the answer that may be lost was asked for."`
	RetryAt          *time.Time       `json:"retry_at,omitempty" doc:"No automatic request before."`
	Client           string           `json:"client,omitempty"`
	Provider         string           `json:"provider"`
	UpdatedAt        *time.Time       `json:"updated_at,omitempty"`
	Spec             json.RawMessage  `json:"spec,omitempty" doc:"The resource, secrets as [secret]."`
}

func (a *API) connection(row *store.Token) connection {
	st := a.o.Source.StatusOf(*row)
	c := connection{Name: st.Name, State: string(st.State), Reason: string(st.Reason), Generation: st.Generation, LastError: st.Problem, Provider: row.Provider,
		ExpiresAt: instant(st.ExpiresAt), NextRefreshAt: instant(st.NextRefreshAt), RefreshExpiresAt: instant(st.RefreshExpires),
		LostAt: instant(st.LostAt), RetryAt: instant(st.RetryAt), UpdatedAt: instant(st.UpdatedAt)}
	if c.State == "" {
		c.State = string(freshet.StateOK)
	}
	if name, ok := clientOf(row.Client); ok {
		c.Client = name
	}
	c.Hint = (&freshet.StateError{Name: row.Name, State: st.State}).Hint()
	return c
}

// clientOf is the client that a key of a registration names.
func clientOf(key string) (string, bool) {
	const prefix = "client/"
	if len(key) > len(prefix) && key[:len(prefix)] == prefix {
		return key[len(prefix):], true
	}
	return "", false
}

// connectionOf returns a connection with its resource.
func (a *API) connectionOf(ctx context.Context, name string) (*connection, error) {
	view, err := a.o.Book.Get(ctx, resource.Key{Kind: "connections", Name: name})
	if err != nil {
		return nil, err
	}
	row, err := a.o.Store.Token(ctx, freshet.ConnectionID(view.ID))
	if err != nil {
		return nil, err
	}
	c := a.connection(&row)
	c.Spec = view.Spec
	return &c, nil
}

// scanMost bounds how many rows one page looks at when it filters by a state
// that rows alone do not tell.
const scanMost = 5000

func (a *API) connections(ctx context.Context, state string, p Paging) ([]connection, string, error) {
	out := []connection{}
	after, seen := p.Cursor, 0
	for {
		n := p.Limit - len(out)
		if state != "" {
			n = min(scanMost-seen, 1000)
		}
		rows, err := a.o.Store.Tokens(ctx, after, "", n)
		if err != nil {
			return nil, "", err
		}
		for i := range rows {
			after = rows[i].Name
			seen++
			c := a.connection(&rows[i])
			if state != "" && c.State != state {
				continue
			}
			if out = append(out, c); len(out) == p.Limit {
				return out, after, nil
			}
		}
		if len(rows) < n {
			return out, "", nil
		}
		if seen >= scanMost {
			return out, after, nil
		}
	}
}

type connectionList struct {
	Connections []connection `json:"connections" doc:"In order of name."`
	NextCursor  string       `json:"next_cursor,omitempty"`
}

type verification struct {
	Verified   bool   `json:"verified"`
	Method     string `json:"method"`
	Path       string `json:"path"`
	Status     int    `json:"status" doc:"What the API answered."`
	Generation int64  `json:"generation"`
	Refreshed  bool   `json:"refreshed" doc:"The first token was refused; a new one is what was verified."`
	Detail     string `json:"detail,omitempty" doc:"Why not, in words."`
}

type revocation struct {
	Revoked bool `json:"revoked_at_provider" doc:"false: the provider has no way to, or is asked again in the background."`
}

type nameIn struct {
	Name string `path:"name" doc:"The connection."`
}

func (a *API) connectionEndpoints() {
	register(a, huma.Operation{OperationID: "list-connections", Method: http.MethodGet, Path: "/api/v1/connections", Summary: "Where connections stand", Tags: []string{"connections"}}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *struct {
			Paging
			State string `query:"state" enum:"ok,uncertain,attention,misconfigured,reauth" doc:"Only those in this state. Pages may then be short."`
		}) (*body[connectionList], error) {
			list, next, err := a.connections(ctx, in.State, in.Paging)
			return answered(connectionList{list, next}, err)
		})

	register(a, huma.Operation{OperationID: "get-connection", Method: http.MethodGet, Path: connections + "{name}", Summary: "A connection and where it stands", Tags: []string{"connections"}}, rule{verb: access.Read},
		func(ctx context.Context, c *call, in *nameIn) (*body[*connection], error) {
			return answered(a.connectionOf(ctx, in.Name))
		})

	register(a, huma.Operation{OperationID: "verify-connection", Method: http.MethodPost, Path: connections + "{name}/verify", Summary: "Ask the API whether the credential works", Tags: []string{"connections"},
		Description: "Makes the request that the connection declares as api.verify."}, rule{verb: access.Admin, action: audit.Verify},
		func(ctx context.Context, c *call, in *nameIn) (*body[verification], error) {
			conn, err := a.o.Source.Connection(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			v, err := a.o.Upstream.Verify(ctx, conn)
			if err != nil {
				return nil, err
			}
			return &body[verification]{verification{Verified: v.OK, Method: v.Method, Path: v.Path, Status: v.Status, Generation: v.Generation, Refreshed: v.Refreshed, Detail: v.Detail}}, nil
		})

	register(a, huma.Operation{OperationID: "revoke-connection", Method: http.MethodPost, Path: connections + "{name}/revoke", Summary: "Forget the token, and revoke it at the provider", Tags: []string{"connections"},
		Description: "The token is forgotten here in any case; a person has to authorize the connection again."}, rule{verb: access.Admin, action: audit.Revoke},
		func(ctx context.Context, c *call, in *nameIn) (*body[revocation], error) {
			remote, err := a.o.Source.Revoke(ctx, in.Name)
			return answered(revocation{remote}, err)
		})
}
