package grant

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/freshet-dev/freshet"
)

// A Device is an authorization that a person finishes on another device, RFC
// 8628. It is a value that can be stored: polling goes on after a restart.
type Device struct {
	Code                    freshet.Secret
	UserCode                string // for the person who began it, and nobody else
	VerificationURI         string // as the provider gave it
	VerificationURIComplete string // holds the user code; may be empty
	Interval                time.Duration
	ExpiresAt               time.Time
}

const (
	deviceInterval = 5 * time.Second // RFC 8628 §3.2
	slowDown       = 5 * time.Second // RFC 8628 §3.5
	deviceLife     = 15 * time.Minute
)

// Next says when to poll again after e, and whether to poll again at all. A
// slow_down makes d slower for good; store d then.
func (d *Device) Next(now time.Time, e *Error) (at time.Time, again bool) {
	switch {
	case e == nil:
		return now.Add(d.Interval), now.Before(d.ExpiresAt)
	case e.Code == "authorization_pending":
	case e.Code == "slow_down":
		d.Interval += slowDown
	case e.Class == Retryable:
		// RFC 8628 §3.5: back off where the endpoint does not answer.
		d.Interval = min(2*d.Interval, time.Minute)
	default:
		return time.Time{}, false
	}
	at = now.Add(max(d.Interval, e.RetryAfter))
	return at, at.Before(d.ExpiresAt)
}

// StartDevice asks for a device code, RFC 8628 §3.1. The code is then polled
// with Ask. An error is an *Error.
func (s *Sender) StartDevice(ctx context.Context, def *freshet.Definition) (Device, error) {
	d, err := s.startDevice(ctx, def)
	return d, asError(err)
}

func (s *Sender) startDevice(ctx context.Context, def *freshet.Definition) (Device, *Error) {
	ctx, cancel := bound(ctx)
	defer cancel()
	c, err := s.newCall(def)
	if err != nil {
		return Device{}, err
	}
	p := &def.Provider
	// RFC 8628 §3.1: parameters and authentication as at the token endpoint;
	// what else the profile sends there does not belong here.
	c.grant, c.shape, c.field, c.req = freshet.GrantDeviceCode, &p.Response, "device_authorization_url", &freshet.TokenRequest{}
	c.std.set("scope", c.scope())
	if err := c.choose(ctx, []place{{"provider " + p.Name + ": device_authorization_url", p.DeviceAuthorizationURL}}, "device_authorization_url", func(m *Metadata) string {
		return m.endpoint(def, m.DeviceAuthorizationEndpoint, "device_authorization_endpoint")
	}); err != nil {
		return Device{}, err
	}
	m, err := c.message(c.clientSecret(), "")
	if err != nil {
		return Device{}, err
	}
	r := c.exchange(ctx, m)
	out := Parse(p, c.shape, def.Connection.Refresh, r)
	c.report(m, out, r)
	if r.Status/100 != 2 || r.Err != nil {
		return Device{}, out.Err
	}
	// Errors with status 200 have no device code.
	var answer map[string]json.RawMessage
	if json.Unmarshal(r.Body, &answer) != nil {
		return Device{}, &Error{Class: Retryable, Code: "unparseable_body", Status: r.Status, Detail: "the answer of the device authorization endpoint is not a JSON object"}
	}
	text := func(name string) string {
		var v string
		json.Unmarshal(answer[name], &v)
		return v
	}
	seconds := func(name string, otherwise time.Duration) time.Duration {
		raw := string(answer[name])
		if s := text(name); s != "" {
			raw = s
		}
		n, err := strconv.ParseFloat(raw, 64)
		if err != nil || math.IsNaN(n) || n <= 0 || n > 86400 {
			return otherwise
		}
		return time.Duration(n * float64(time.Second))
	}
	d := Device{
		Code:                    freshet.NewSecret(text("device_code")),
		UserCode:                text("user_code"),
		VerificationURI:         cmpOr(text("verification_uri"), text("verification_url")), // Google's name
		VerificationURIComplete: text("verification_uri_complete"),
		Interval:                seconds("interval", deviceInterval),
		ExpiresAt:               r.SentAt.Add(seconds("expires_in", deviceLife)),
	}
	if d.Code.IsZero() {
		if out.Err != nil && out.Err.Class != Retryable {
			return Device{}, out.Err
		}
		if code := text("error"); code != "" { // GitHub says device_flow_disabled with status 200
			return Device{}, &Error{Class: Misconfigured, Code: shown(code, 64), Status: r.Status, Detail: shown(text("error_description"), 200)}
		}
		return Device{}, &Error{Class: Retryable, Code: "missing_device_code", Status: r.Status, Detail: "the answer holds no device_code"}
	}
	if d.UserCode == "" || d.UserCode != shown(d.UserCode, 64) {
		return Device{}, &Error{Class: Misconfigured, Code: "bad_user_code", Status: r.Status, Detail: "the answer holds no user_code that can be shown"}
	}
	for name, link := range map[string]string{"verification_uri": d.VerificationURI, "verification_uri_complete": d.VerificationURIComplete} {
		if link == "" && name == "verification_uri_complete" {
			continue
		}
		// A person is sent there to sign in: never to a weaker place than the
		// endpoint that says so.
		u, err := endpointURL(name, link)
		if err != nil || m.url.Scheme == "https" && u.Scheme != "https" || link != shown(link, 2048) {
			return Device{}, &Error{Class: Misconfigured, Code: "bad_verification_uri", Status: r.Status, Detail: name + " is not an https URL"}
		}
	}
	return d, nil
}

// deviceCode polls for the token of a device code, RFC 8628 §3.4.
func (c *call) deviceCode() *Error {
	c.grant, c.wanted = freshet.GrantDeviceCode, c.scopes()
	c.std = params{{name: "grant_type", value: "urn:ietf:params:oauth:grant-type:device_code"}}
	c.std.keep("device_code", c.ask.DeviceCode)
	return nil
}
