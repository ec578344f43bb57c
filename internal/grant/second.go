package grant

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/freshet-dev/freshet"
)

// secondStep spends the access token of the first answer. Whatever becomes of
// it, the first answer's refresh token is not lost, and nothing is uncertain
// about it: the first answer came.
func (c *call) secondStep(ctx context.Context, step *freshet.SecondStep, first Outcome) Outcome {
	next := &call{
		s: c.s, def: c.def, ask: c.ask, transport: c.transport,
		grant: freshet.GrantRequest, req: &step.Request, field: "second_step.request", shape: &step.Response,
		bare: true, held: first.Token,
		url: place{"provider " + c.def.Provider.Name + ": second_step.request.url", step.Request.URL},
	}
	next.ask.Previous = nil
	fail := func(e *Error) Outcome {
		e.Detail = "second step: " + e.Detail
		e.Uncertain, e.Nonce = false, ""
		if e.Class == Permanent {
			// The grant has just proved to be alive.
			e.Class = Misconfigured
		}
		return Outcome{Err: e, Salvaged: first.Token.Refresh, Flags: first.Flags}
	}
	if step.Request.URL == "" {
		return fail(misconfigured("no_token_url", "provider %s: second_step.request has no url", c.def.Provider.Name))
	}
	second := next.send(ctx)
	if second.Err != nil {
		return fail(second.Err)
	}
	t := *first.Token
	t.Access, t.Type, t.Scheme = second.Token.Access, second.Token.Type, second.Token.Scheme
	if !second.Token.Expiry.IsZero() {
		t.Expiry, t.IssuedAt, t.RefreshHint = second.Token.Expiry, second.Token.IssuedAt, second.Token.RefreshHint
	}
	if !second.Token.Refresh.IsZero() {
		t.Refresh, t.RefreshIssued, t.RefreshExpiry = second.Token.Refresh, second.Token.RefreshIssued, second.Token.RefreshExpiry
	}
	t.Session = session(second.Token.Answer)
	return Outcome{Token: &t, Flags: append(first.Flags, second.Flags...)}
}

// session returns the scalar members of an answer.
func session(answer freshet.Secret) map[string]freshet.Secret {
	members, _ := decodeAnswer(answer).(map[string]any)
	out := map[string]freshet.Secret{}
	for name, v := range members {
		switch v := v.(type) {
		case string:
			out[name] = freshet.NewSecret(v)
		case json.Number:
			out[name] = freshet.NewSecret(v.String())
		case bool:
			out[name] = freshet.NewSecret(strconv.FormatBool(v))
		}
	}
	return out
}
