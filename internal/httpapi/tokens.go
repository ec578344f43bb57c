package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/problem"
)

// A tokenSet documents what may be imported. It is read by readSet, because a
// provider's answer is stored as it came.
type tokenSet struct {
	AccessToken  string `json:"access_token,omitempty"`
	TokenType    string `json:"token_type,omitempty"`
	ExpiresIn    int64  `json:"expires_in,omitempty" doc:"Seconds from now; 0: it has expired already."`
	ExpiresAt    string `json:"expires_at,omitempty" format:"date-time" doc:"Instead of expires_in; in the past: it has expired already."`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
}

// assumedLife is the lifetime of a token of which only its past end is known.
const assumedLife = time.Hour

// readSet reads an RFC 6749 §5.1 answer with an optional expires_at.
func readSet(def *freshet.Definition, body []byte, now time.Time) (*freshet.Token, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(body, &top); err != nil || top == nil {
		// The decoder's own text may quote what it read.
		p := invalid("body", "a token set is a JSON object: a token endpoint's answer, RFC 6749 §5.1")
		p.Status = http.StatusBadRequest
		return nil, p
	}
	p := def.Provider
	p.Response = freshet.Response{}
	out := grant.Parse(&p, nil, def.Connection.Refresh, grant.Reply{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, SentAt: now, Now: now})
	t := out.Token
	switch {
	case t != nil:
	case !out.Salvaged.IsZero():
		// A refresh token alone is a grant, too; the first read makes a token.
		t = &freshet.Token{Refresh: out.Salvaged, RefreshIssued: now, IssuedAt: now.Add(-assumedLife), Expiry: now}
		return t, nil
	default:
		return nil, invalid("body.access_token", "neither this nor body.refresh_token is there as text")
	}
	if def.Client.DPoP {
		// Its access token is bound to the key of whoever obtained it. The refresh
		// token of a client that authenticates is not, RFC 9449 §5: with it we get
		// one that is bound to ours.
		if t.Refresh.IsZero() {
			return nil, problem.New(http.StatusUnprocessableEntity, "bound-tokens", "Tokens of this client are bound to a key",
				"an access token that was obtained elsewhere is bound to another key: bring its refresh token too, or authorize the connection here")
		}
		t.Access, t.Type, t.Scheme, t.IssuedAt, t.Expiry = freshet.Secret{}, "", "", now.Add(-assumedLife), now
		return t, nil
	}
	life, stated := secondsOf(top["expires_in"])
	given := false // whether the whole lifetime is known, and not only what is left
	if raw, ok := top["expires_at"]; ok && string(raw) != "null" {
		at, ok := instantOf(raw)
		if !ok {
			return nil, invalid("body.expires_at", "is no instant: write it like 2026-01-31T09:30:00Z, or in Unix seconds")
		}
		t.Expiry, t.IssuedAt = at, now
		// The lifetime decides how long before the end it is renewed: it is what
		// the provider gave, not what is left of it.
		switch {
		case life > 0:
			t.IssuedAt, given = at.Add(-life), true
		case !at.After(now):
			t.IssuedAt = at.Add(-assumedLife)
		}
	} else if stated && life <= 0 {
		t.Expiry, t.IssuedAt = now, now.Add(-assumedLife)
	}
	if m := def.Connection.Refresh.Margin.D(); !given && !t.Expiry.IsZero() && t.Lifetime() < 2*m {
		// A margin is at most half of a lifetime, but what is left of a token that
		// was pasted in is not its lifetime: two seconds left are too few for a
		// margin of thirty.
		t.IssuedAt = t.Expiry.Add(-2 * m)
	}
	return t, nil
}

// secondsOf reads a lifetime as providers write it.
func secondsOf(raw json.RawMessage) (time.Duration, bool) {
	n, err := strconv.ParseFloat(strings.Trim(string(bytes.TrimSpace(raw)), `"`), 64)
	if err != nil || n > 1e9 || n < -1e9 {
		return 0, false
	}
	return time.Duration(n * float64(time.Second)), true
}

// instantOf reads RFC 3339 or Unix seconds.
func instantOf(raw json.RawMessage) (time.Time, bool) {
	s := strings.Trim(string(bytes.TrimSpace(raw)), `"`)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<40 {
		return time.Unix(n, 0).UTC(), true
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t.UTC(), err == nil
}

func (a *API) importEndpoint() {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(typeOf[tokenSet](), true, "TokenSet")
	own := *a.huma.OpenAPI().Components.Schemas.SchemaFromRef(schema.Ref)
	own.AdditionalProperties = true // a provider's answer may say more, and all of it is kept
	register(a, huma.Operation{OperationID: "import-tokens", Method: http.MethodPut, Path: connections + "{name}/tokens", Summary: "Store a token set that was obtained elsewhere", Tags: []string{"connections"}, SkipValidateBody: true,
		Description: "Sends nothing to the provider, wins over a refresh under way, and is left alone by the background for 2 s. 409 when another connection holds the same refresh token, or when it is another account's.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &own}}}}, rule{verb: access.Admin, own: true},
		func(ctx context.Context, c *call, in *struct {
			Name         string `path:"name" doc:"The connection."`
			OtherAccount bool   `query:"other_account" doc:"The account may be another one than before."`
			RawBody      []byte
		}) (*body[*connection], error) {
			def, err := a.o.Book.Definition(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			t, err := readSet(def, in.RawBody, a.o.Now())
			if err != nil {
				return nil, err
			}
			if err := a.record(c, audit.TokenImport, in.Name, audit.Detail("refresh_token", !t.Refresh.IsZero(), "other_account", in.OtherAccount)); err != nil {
				return nil, err
			}
			if err := a.o.Source.Import(ctx, in.Name, *t, in.OtherAccount); err != nil {
				return nil, err
			}
			return answered(a.connectionOf(ctx, in.Name))
		})
}
