package emulator

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A device is a device code and what a person decided about it.
type device struct {
	client   *client
	code     string
	userCode string
	subject  string
	scope    string
	expiry   time.Time
	interval time.Duration
	polled   time.Time
	polls    int
	decision string // empty, allow, deny or spent
}

// slower is what slow_down adds to the interval, RFC 8628 §3.5.
const slower = 5 * time.Second

// userLetters make user codes that nobody misreads and that form no words.
const userLetters = "BCDFGHJKLMNPQRSTVWXZ"

// deviceAuthorization answers RFC 8628 §3.1.
func (x *exchange) deviceAuthorization() *answer {
	e := x.e
	e.mu.Lock()
	defer e.mu.Unlock()
	c, bad := x.authenticateLocked()
	if bad != nil {
		return bad
	}
	scope, bad := x.scope(c)
	if bad != nil {
		return bad
	}
	value, core := e.textLocked("device", false)
	e.rememberLocked(value, core)
	d := &device{
		client: c, code: value, subject: c.Subject, scope: scope,
		expiry: x.now.Add(c.DeviceLifetime.D()), interval: c.DeviceInterval.D(),
	}
	var letters []byte
	for i := range 8 {
		if i == 4 {
			letters = append(letters, '-')
		}
		letters = append(letters, userLetters[int(e.sum[i])%len(userLetters)])
	}
	d.userCode = string(letters)
	e.devices.put(value, d)
	e.userCodes[d.userCode] = d
	issuer := e.issuer(x.r)
	a := &answer{status: 200}
	a.set("device_code", d.code)
	a.set("user_code", d.userCode)
	a.set("verification_uri", issuer+"/device")
	a.set("verification_uri_complete", issuer+"/device?user_code="+url.QueryEscape(d.userCode))
	a.set("expires_in", int64(c.DeviceLifetime.D()/time.Second))
	a.set("interval", int64(d.interval/time.Second))
	return a
}

// deviceGrantLocked answers a poll, RFC 8628 §3.4.
func (x *exchange) deviceGrantLocked(c *client, jkt string) *answer {
	d, ok := x.e.devices.get(x.params.Get("device_code"))
	if !ok || d.client != c || d.decision == "spent" {
		return refuse(400, "invalid_grant", "the device code is not known, or was used")
	}
	if !x.now.Before(d.expiry) {
		return refuse(400, "expired_token", "the device code has expired")
	}
	d.polls++
	soon := d.polls > 1 && x.now.Before(d.polled.Add(d.interval))
	d.polled = x.now
	if c.DeviceAuto > 0 && d.polls >= c.DeviceAuto && d.decision == "" {
		d.decision = "allow"
	}
	switch {
	case soon:
		d.interval += slower
		return refuse(400, "slow_down", "asked again too early")
	case d.decision == "deny":
		return refuse(400, "access_denied", "The resource owner said no.")
	case d.decision == "":
		return refuse(400, "authorization_pending", "nobody has decided yet")
	}
	d.decision = "spent"
	g := x.e.newGrantLocked(c, d.subject, d.scope, x.now)
	g.jkt = jkt
	x.entry.Family = g.id
	return x.e.firstLocked(g, true, x.e.issuer(x.r), x.twist, x.now)
}

// ErrNoDevice says that a user code stands for no device that waits.
var ErrNoDevice = errors.New("no device waits with this code")

// ApproveDevice decides as the person with this user code would, who may type
// it in any case and without the hyphen.
func (e *Emulator) ApproveDevice(userCode string) error { return e.decide(userCode, "allow") }

// DenyDevice refuses likewise.
func (e *Emulator) DenyDevice(userCode string) error { return e.decide(userCode, "deny") }

func (e *Emulator) decide(userCode, decision string) error {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.userCodes[tidyUserCode(userCode)]
	if d == nil || d.decision != "" || !now.Before(d.expiry) {
		return ErrNoDevice
	}
	d.decision = decision
	return nil
}

func tidyUserCode(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(userLetters, r) {
			return r
		}
		return -1
	}, strings.ToUpper(s))
	if len(s) != 8 {
		return ""
	}
	return s[:4] + "-" + s[4:]
}

// devicePage is where the person types the code.
func (x *exchange) devicePage() *answer {
	if x.r.Method == http.MethodPost {
		if err := x.r.ParseForm(); err != nil {
			return page(400, "<p>The form cannot be read.</p>")
		}
		decision := x.r.PostForm.Get("decision")
		if decision != "deny" {
			decision = "allow"
		}
		if err := x.e.decide(x.r.PostForm.Get("user_code"), decision); err != nil {
			return page(404, "<p>No device waits with this code.</p>")
		}
		return page(200, "<!DOCTYPE html><p>Thank you. You may go back to your device.</p>")
	}
	return page(200, fmt.Sprintf(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Emulated provider</title><style>body{font:16px sans-serif;max-width:32em;margin:4em auto}button,input{font:inherit;padding:.5em}</style></head>
<body><h1>Emulated provider</h1><p>Type the code that your device shows.</p>
<form method="post" action="/device"><input name="user_code" id="user_code" autocomplete="off" value="%s">
<p><button name="decision" value="allow" id="allow">Allow</button> <button name="decision" value="deny" id="deny">Deny</button></p></form></body></html>
`, html.EscapeString(x.r.URL.Query().Get("user_code"))))
}
