package outbound

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

func getAccessToken(o Options) activity.Spec {
	return activity.Spec{
		Type: "GetAccessToken", DisplayName: "Get Access Token", Category: "HTTP",
		Summary: "Puts a connection's fresh access token into a variable.",
		Doc: "The token is refreshed first if it has to be, once for all who ask. Whoever holds the token sends it themselves: CallConnection, or Connection in SendHttpRequest, does that within the connection's hosts and renews a refused one. " +
			"Without a token to give the run takes `Needs Reauthorization` or `Unavailable`, and faults if nothing is connected there.",
		Fields: []activity.Field{
			{Name: "Connection", Doc: "whose token", Kind: activity.Text, Required: true},
			{Name: "MinTtl", Doc: "how long the token must still live: 60s, 00:01:00, or seconds", Kind: activity.Duration},
			{Name: "VariableName", Doc: "the variable that is set; blank: none", Kind: activity.Text},
		},
		Outcomes: []string{workflow.Done, Reauthorize, Unavailable},
		Outputs: []activity.Output{
			{Name: "Output", Doc: "the token"},
			{Name: "TokenType", Doc: "what goes before it in an Authorization header"},
			{Name: "ExpiresAt", Doc: "when it expires, if the provider said so"},
			{Name: "FailReason", Doc: "why there is none"},
		},
		Examples: []activity.Example{{
			Doc: "into a variable", In: `{"Connection":"crm","MinTtl":"60s","VariableName":"access_token"}`,
			Outcomes: []string{"Done"}, Out: `{"Output":"token-1","TokenType":"Bearer"}`, Sets: `{"access_token":"token-1"}`,
		}},
		Run: o.token,
	}
}

func (o Options) token(ctx context.Context, c *activity.Call) (activity.Result, error) {
	o = o.withDefaults()
	name := strings.TrimSpace(c.Text("Connection"))
	if name == "" {
		return activity.Result{}, &FieldError{"Connection", errors.New("it is blank")}
	}
	ttl, err := duration(c.Value("MinTtl"))
	if err != nil {
		return activity.Result{}, &FieldError{"MinTtl", err}
	}
	conn, err := o.connection(ctx, name)
	if err != nil {
		return activity.Result{}, err
	}
	if o.Admit != nil {
		if err := o.Admit(ctx, Entry{Run: c.Run.ID(), Connection: name}); err != nil {
			return activity.Result{}, fmt.Errorf("connection %s: the use could not be put on record, so no token was read: %w", name, err)
		}
	}
	bounded, cancel := context.WithTimeoutCause(ctx, o.Timeout, errTimeout)
	defer cancel()
	tok, err := conn.Token(bounded, ttl)
	if err != nil {
		if ctx.Err() == nil && bounded.Err() != nil {
			err = &UnreachableError{Method: "token", Host: "of " + name, Cause: "timeout", Err: err}
		}
		return failed(ctx, c, err)
	}
	access := tok.Access.Reveal()
	c.Run.Secret(access)
	if v := strings.TrimSpace(c.Text("VariableName")); v != "" {
		c.Scope.SetVariable(v, access)
	}
	res := activity.Result{Outputs: map[string]any{"Output": access, "TokenType": tok.Scheme},
		Data: map[string]any{"Connection": name, "Generation": tok.Generation}, Message: "the token of " + name}
	if !tok.Expiry.IsZero() {
		res.Outputs["ExpiresAt"] = tok.Expiry.UTC().Round(0)
	}
	return res, nil
}

// duration reads how authors write one: seconds, Go's 1m30s, the platform's
// [days.]hours:minutes:seconds.
func duration(v any) (time.Duration, error) {
	var d time.Duration
	switch v := v.(type) {
	case nil:
		return 0, nil
	case int64:
		d = time.Duration(v) * time.Second
	case float64:
		d = time.Duration(v * float64(time.Second))
	case time.Duration:
		d = v
	case string:
		var ok bool
		if d, ok = readDuration(strings.TrimSpace(v)); !ok {
			return 0, fmt.Errorf("%q is no length of time: write 60s, 00:01:00 or a number of seconds", v)
		}
	default:
		return 0, fmt.Errorf("%T is no length of time", v)
	}
	if d < 0 || d > 366*24*time.Hour {
		return 0, errors.New("a length of time is between nothing and a year here")
	}
	return d, nil
}

func readDuration(s string) (time.Duration, bool) {
	if s == "" {
		return 0, true
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Duration(n * float64(time.Second)), true
	}
	if d, err := time.ParseDuration(s); err == nil {
		return d, true
	}
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	var days, hours float64
	var err error
	if whole, rest, ok := strings.Cut(parts[0], "."); ok {
		if days, err = strconv.ParseFloat(whole, 64); err != nil {
			return 0, false
		}
		parts[0] = rest
	}
	minutes, err1 := strconv.ParseFloat(parts[1], 64)
	seconds, err2 := strconv.ParseFloat(parts[2], 64)
	if hours, err = strconv.ParseFloat(parts[0], 64); err != nil || err1 != nil || err2 != nil {
		return 0, false
	}
	return time.Duration((((days*24+hours)*60+minutes)*60 + seconds) * float64(time.Second)), true
}
