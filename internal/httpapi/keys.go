package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
)

// An apiKey is an API key as people see it.
type apiKey struct {
	Name      string     `json:"name"`
	ID        string     `json:"id" doc:"The part of the key that is no secret."`
	Key       string     `json:"key,omitempty" doc:"The key itself: only in the answer that made it."`
	Scopes    []string   `json:"scopes"`
	Addresses []string   `json:"addresses,omitempty"`
	CreatedAt *time.Time `json:"created_at,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	LastUsed  *time.Time `json:"last_used,omitempty"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

type keyList struct {
	Keys []apiKey `json:"keys"`
}

func apiKeyOf(k access.Key) apiKey {
	return apiKey{Name: k.Name, ID: k.ID, Scopes: k.Scopes, Addresses: k.Addresses, CreatedAt: instant(k.CreatedAt), ExpiresAt: instant(k.ExpiresAt), LastUsed: instant(k.LastUsed), RevokedAt: instant(k.RevokedAt)}
}

func (a *API) keyEndpoints() {
	tags := []string{"operate"}
	register(a, huma.Operation{OperationID: "list-keys", Method: http.MethodGet, Path: "/api/v1/keys", Summary: "API keys", Tags: tags, Description: "Revoked ones are listed for the audit's sake."}, rule{verb: access.Admin},
		func(ctx context.Context, c *call, in *struct{}) (*body[keyList], error) {
			all, err := a.gate.keys.List(ctx)
			if err != nil {
				return nil, err
			}
			out := &body[keyList]{}
			out.Body.Keys = make([]apiKey, len(all))
			for i, k := range all {
				out.Body.Keys[i] = apiKeyOf(k)
			}
			return out, nil
		})
	register(a, huma.Operation{OperationID: "create-key", Method: http.MethodPost, Path: "/api/v1/keys", Summary: "Make an API key", Tags: tags, DefaultStatus: http.StatusCreated,
		Description: "The key is in this answer and nowhere else: only a hash of it is stored."}, rule{verb: access.Admin, own: true},
		func(ctx context.Context, c *call, in *struct {
			Body struct {
				Name      string     `json:"name" minLength:"1" maxLength:"100"`
				Scopes    []string   `json:"scopes" minItems:"1" doc:"token:GLOB, call:GLOB, run:GLOB, read, admin."`
				Addresses []string   `json:"addresses,omitempty" doc:"Addresses and ranges that it may be used from; none: any."`
				ExpiresAt *time.Time `json:"expires_at,omitempty"`
			}
		}) (*body[apiKey], error) {
			q := access.Request{Name: in.Body.Name, Scopes: in.Body.Scopes, Addresses: in.Body.Addresses}
			if in.Body.ExpiresAt != nil {
				q.ExpiresAt = *in.Body.ExpiresAt
			}
			if err := a.record(c, audit.KeyCreate, q.Name, audit.Detail("scopes", q.Scopes, "addresses", append([]string{}, q.Addresses...))); err != nil {
				return nil, err
			}
			k, err := a.gate.keys.Create(ctx, q)
			if err != nil {
				return nil, err
			}
			out := apiKeyOf(k)
			out.Key = k.Secret.Reveal()
			a.o.Values.Add(out.Key)
			return answered(out, nil)
		})
	register(a, huma.Operation{OperationID: "revoke-key", Method: http.MethodDelete, Path: "/api/v1/keys/{name}", Summary: "End an API key", Tags: tags, Description: "At once: what it holds open ends within seconds."}, rule{verb: access.Admin, action: audit.KeyRevoke},
		func(ctx context.Context, c *call, in *struct {
			Name string `path:"name"`
		}) (*body[apiKey], error) {
			id, err := a.gate.keys.Revoke(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			return answered(apiKey{Name: in.Name, ID: id, Scopes: []string{}, RevokedAt: instant(a.o.Now())}, nil)
		})
}
