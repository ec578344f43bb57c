package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// A ConnectRequest asks for an authorization.
type ConnectRequest struct {
	Device       bool   `json:"device,omitempty"`        // on another device, RFC 8628
	OtherAccount bool   `json:"other_account,omitempty"` // the account may be another one than before
	ReturnTo     string `json:"return_to,omitempty"`     // where the browser goes after it
}

// A Flow is an authorization that waits for a person: the answer to
// POST /api/v1/connections/{name}/connect, and of GET /api/v1/flows/{id}.
type Flow struct {
	Flow       string     `json:"flow"`
	Connection string     `json:"connection,omitempty"`
	Kind       string     `json:"kind,omitempty"`  // authorization_code | device_code
	State      string     `json:"state,omitempty"` // pending | done | failed
	Detail     string     `json:"detail,omitempty"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	Scopes     []string   `json:"scopes,omitempty"`

	URL         string `json:"url,omitempty"`          // to open in a browser, once
	RedirectURI string `json:"redirect_uri,omitempty"` // as the provider must know it

	UserCode                string `json:"user_code,omitempty"`
	VerificationURI         string `json:"verification_uri,omitempty"`
	VerificationURIComplete string `json:"verification_uri_complete,omitempty"`
}

// The states of a Flow.
const (
	FlowPending = "pending"
	FlowDone    = "done"
	FlowFailed  = "failed"
)

// Connect begins an authorization, which a person finishes.
func (c *Client) Connect(ctx context.Context, name string, r ConnectRequest) (*Flow, error) {
	var f Flow
	if err := c.Do(ctx, http.MethodPost, connectionPath(name)+"/connect", r, &f); err != nil {
		return nil, err
	}
	return &f, nil
}

// Flow returns how far an authorization is, after up to wait if it is pending.
func (c *Client) Flow(ctx context.Context, id string, wait time.Duration) (*Flow, error) {
	path := "/api/v1/flows/" + url.PathEscape(id)
	if wait > 0 {
		path += "?wait=" + wait.String()
	}
	var f Flow
	if err := c.Do(ctx, http.MethodGet, path, nil, &f); err != nil {
		return nil, err
	}
	return &f, nil
}

// A Verification is the answer to POST /api/v1/connections/{name}/verify.
type Verification struct {
	Verified   bool   `json:"verified"`
	Method     string `json:"method,omitempty"`
	Path       string `json:"path,omitempty"`
	Status     int    `json:"status,omitempty"` // of the API
	Generation int64  `json:"generation,omitempty"`
	Refreshed  bool   `json:"refreshed,omitempty"` // the first token was refused, a new one verified
	Detail     string `json:"detail,omitempty"`
}

// Verify has the connection's credential checked against its API.
func (c *Client) Verify(ctx context.Context, name string) (*Verification, error) {
	var v Verification
	if err := c.Do(ctx, http.MethodPost, connectionPath(name)+"/verify", nil, &v); err != nil {
		return nil, err
	}
	return &v, nil
}

// A Revocation is the answer to POST /api/v1/connections/{name}/revoke. The
// token is forgotten here in any case.
type Revocation struct {
	Revoked bool `json:"revoked_at_provider"` // false: the provider has no such endpoint, or is asked again in the background
}

// Revoke forgets a connection's token and asks the provider to revoke it.
func (c *Client) Revoke(ctx context.Context, name string) (*Revocation, error) {
	var r Revocation
	if err := c.Do(ctx, http.MethodPost, connectionPath(name)+"/revoke", nil, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Refresh forces a refresh and returns the new token.
func (c *Client) Refresh(ctx context.Context, name string) (*Token, error) {
	var t Token
	if err := c.Do(ctx, http.MethodPost, connectionPath(name)+"/refresh", nil, &t); err != nil {
		return nil, err
	}
	return &t, nil
}

// ImportTokens stores a token set that was obtained elsewhere: a token
// endpoint's answer, RFC 6749 §5.1, with an optional expires_at. It sends
// nothing to the provider.
func (c *Client) ImportTokens(ctx context.Context, name string, set json.RawMessage, otherAccount bool) (*Connection, error) {
	path := connectionPath(name) + "/tokens"
	if otherAccount {
		path += "?other_account=true"
	}
	var out Connection
	if err := c.Do(ctx, http.MethodPut, path, set, &out); err != nil {
		return nil, err
	}
	return &out, nil
}
