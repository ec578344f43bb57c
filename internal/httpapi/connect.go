package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/flow"
)

// A flowAnswer is an authorization that waits for a person, or how it ended.
type flowAnswer struct {
	Flow       string     `json:"flow" doc:"Its id, for GET /api/v1/flows/{id}."`
	Connection string     `json:"connection"`
	Kind       string     `json:"kind" enum:"authorization_code,device_code"`
	State      string     `json:"state" enum:"pending,done,failed"`
	Detail     string     `json:"detail,omitempty" doc:"Why it failed, and what to do."`
	ExpiresAt  *time.Time `json:"expires_at"`
	Scopes     []string   `json:"scopes,omitempty" doc:"What the person will be asked to allow."`

	URL         string `json:"url,omitempty" doc:"To open in a browser. It belongs to the first browser that opens it, and leads to the provider."`
	RedirectURI string `json:"redirect_uri,omitempty" doc:"As the provider must know it."`

	UserCode                string `json:"user_code,omitempty"`
	VerificationURI         string `json:"verification_uri,omitempty"`
	VerificationURIComplete string `json:"verification_uri_complete,omitempty"`
	Interval                int    `json:"interval,omitempty" doc:"Seconds between our questions to the provider."`
}

type connectIn struct {
	Name string `path:"name" doc:"The connection."`
	Body *struct {
		Device       bool   `json:"device,omitempty" doc:"On another device (RFC 8628). The default for connections whose grant is device_code."`
		OtherAccount bool   `json:"other_account,omitempty" doc:"The account may be another one than before."`
		ReturnTo     string `json:"return_to,omitempty" maxLength:"512" doc:"Where the browser goes after it: a path below /console/ or /apps/."`
	}
}

// maxWait bounds a long poll.
const maxWait = 30 * time.Second

func (a *API) connectEndpoints() {
	register(a, huma.Operation{OperationID: "connect", Method: http.MethodPost, Path: connections + "{name}/connect", Summary: "Take a person through authorization", Tags: []string{"connections"},
		Description: "Answers with a link to open, or with a code to type on another device."}, rule{verb: access.Admin, action: audit.Connect},
		func(ctx context.Context, c *call, in *connectIn) (*body[flowAnswer], error) {
			q := flow.Request{Connection: in.Name, Actor: c.caller.Actor()}
			device := false
			if b := in.Body; b != nil {
				q.OtherAccount, q.ReturnTo, device = b.OtherAccount, b.ReturnTo, b.Device
			}
			def, err := a.o.Book.Definition(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			if device || def.Connection.Grant == freshet.GrantDeviceCode {
				d, err := a.o.Flows.StartDevice(ctx, q)
				if err != nil {
					return nil, err
				}
				return &body[flowAnswer]{flowAnswer{Flow: d.Flow, Connection: in.Name, Kind: string(freshet.GrantDeviceCode), State: flow.Pending, ExpiresAt: instant(d.ExpiresAt), Scopes: d.Scopes,
					UserCode: d.UserCode, VerificationURI: d.VerificationURI, VerificationURIComplete: d.VerificationURIComplete, Interval: int(d.Interval / time.Second)}}, nil
			}
			s, err := a.o.Flows.Start(ctx, q)
			if err != nil {
				return nil, err
			}
			return &body[flowAnswer]{flowAnswer{Flow: s.Flow, Connection: in.Name, Kind: string(freshet.GrantAuthorizationCode), State: flow.Pending, ExpiresAt: instant(s.ExpiresAt), Scopes: s.Scopes,
				URL: s.Link, RedirectURI: s.RedirectURI}}, nil
		})

	register(a, huma.Operation{OperationID: "get-flow", Method: http.MethodGet, Path: "/api/v1/flows/{id}", Summary: "How far an authorization is", Tags: []string{"connections"}}, rule{verb: access.Admin},
		func(ctx context.Context, c *call, in *struct {
			ID   string `path:"id" doc:"What connect answered as flow."`
			Wait string `query:"wait" doc:"Wait up to that long for its end, at most 30s." example:"30s"`
		}) (*body[flowAnswer], error) {
			var wait freshet.Duration
			if in.Wait != "" {
				var err error
				if wait, err = freshet.ParseDuration(in.Wait); err != nil {
					return nil, invalid("query.wait", err.Error())
				}
			}
			ctx, cancel := a.untilClose(ctx)
			defer cancel()
			st, err := a.o.Flows.Wait(ctx, in.ID, min(wait.D(), maxWait))
			if err != nil && st.Flow == "" {
				return nil, err
			}
			return &body[flowAnswer]{flowAnswer{Flow: st.Flow, Connection: st.Connection, Kind: st.Kind, State: st.State, Detail: st.Detail, ExpiresAt: instant(st.ExpiresAt)}}, nil
		})
}

// untilClose returns a context that also ends when the API closes.
func (a *API) untilClose(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-a.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
