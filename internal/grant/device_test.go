package grant

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

func TestStartDevice(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer string
		edit   func(*freshet.Definition)
		body   string // of the request
		want   Device
	}{
		{"RFC 8628 §3.2", `{"device_code":"dc 1","user_code":"WDJB-MJHT","verification_uri":"URL/device","verification_uri_complete":"URL/device?user_code=WDJB-MJHT","expires_in":1800,"interval":7}`, nil,
			"scope=a+b&" + bodyAuth, Device{Code: secret("dc 1"), UserCode: "WDJB-MJHT", VerificationURI: "URL/device", VerificationURIComplete: "URL/device?user_code=WDJB-MJHT", Interval: 7 * time.Second, ExpiresAt: testNow.Add(30 * time.Minute)}},
		{"defaults, texts for numbers, the older name, a public client", `{"device_code":"d","user_code":"U","verification_url":"https://www.example/device","expires_in":"600","interval":null}`, func(d *freshet.Definition) { d.Client.Secret, d.Connection.Scopes = freshet.Secret{}, nil },
			"client_id=the+id", Device{Code: secret("d"), UserCode: "U", VerificationURI: "https://www.example/device", Interval: 5 * time.Second, ExpiresAt: testNow.Add(10 * time.Minute)}},
		{"odd times", `{"device_code":"d","user_code":"U","verification_uri":"https://www.example/device","expires_in":-1,"interval":1e99}`, func(d *freshet.Definition) { d.Connection.Scopes = nil },
			bodyAuth, Device{Code: secret("d"), UserCode: "U", VerificationURI: "https://www.example/device", Interval: 5 * time.Second, ExpiresAt: testNow.Add(15 * time.Minute)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var srv *recorder
			srv = record(t, func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, strings.ReplaceAll(c.answer, "URL", srv.URL))
			})
			d := define(srv.URL, func(d *freshet.Definition) {
				d.Provider.DeviceAuthorizationURL = d.Provider.TokenURL[:len(d.Provider.TokenURL)-6] + "/device/code"
				d.Connection.Scopes = []string{"a", "b"}
				d.Provider.Request.Params = freshet.Values{"audience": "not here"}
				if c.edit != nil {
					c.edit(d)
				}
			})
			got, err := sender().StartDevice(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			if r := srv.requests(); len(r) != 1 || r[0] != form("/device/code", c.body) {
				t.Errorf("request:\n%v\nwant:\n%s", r, form("/device/code", c.body))
			}
			c.want.VerificationURI = strings.Replace(c.want.VerificationURI, "URL", srv.URL, 1)
			c.want.VerificationURIComplete = strings.Replace(c.want.VerificationURIComplete, "URL", srv.URL, 1)
			if !got.Code.Equal(c.want.Code) {
				t.Error("another device code")
			}
			got.Code, c.want.Code = freshet.Secret{}, freshet.Secret{}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestS14_device_answers_that_are_not_shown(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		status       int
		class        Class
		code         string
	}{
		{"link with a script", `{"device_code":"d","user_code":"U","verification_uri":"javascript:alert(1)"}`, 200, Misconfigured, "bad_verification_uri"},
		{"link with a user", `{"device_code":"d","user_code":"U","verification_uri":"https://www.google.com@evil.example/"}`, 200, Misconfigured, "bad_verification_uri"},
		{"no link", `{"device_code":"d","user_code":"U"}`, 200, Misconfigured, "bad_verification_uri"},
		{"complete link with a script", `{"device_code":"d","user_code":"U","verification_uri":"https://a.example","verification_uri_complete":"data:text/html,x"}`, 200, Misconfigured, "bad_verification_uri"},
		{"user code with control characters", `{"device_code":"d","user_code":"U\u001b[2J","verification_uri":"https://a.example"}`, 200, Misconfigured, "bad_user_code"},
		{"endless user code", `{"device_code":"d","user_code":"` + strings.Repeat("U", 65) + `","verification_uri":"https://a.example"}`, 200, Misconfigured, "bad_user_code"},
		{"no device code", `{"user_code":"U"}`, 200, Retryable, "missing_device_code"},
		{"error with status 200", `{"error":"device_flow_disabled"}`, 200, Misconfigured, "device_flow_disabled"},
		{"error", `{"error":"unauthorized_client"}`, 400, Misconfigured, "unauthorized_client"},
		{"not JSON", `<html>`, 200, Retryable, "unparseable_body"},
		{"down", ``, 503, Retryable, "http_503"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := record(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.status); io.WriteString(w, c.answer) })
			d := define(srv.URL, func(d *freshet.Definition) { d.Provider.DeviceAuthorizationURL = srv.URL + "/d" })
			_, err := sender().StartDevice(t.Context(), d)
			var e *Error
			if !errors.As(err, &e) || e.Class != c.class || e.Code != c.code {
				t.Errorf("error %v, want %s %s", err, c.class, c.code)
			}
		})
	}
	t.Run("http link of an https endpoint", func(t *testing.T) {
		srv, transport := mtls(t)
		srv.answer = func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"device_code":"d","user_code":"U","verification_uri":"http://a.example"}`)
		}
		cert, _ := certificate(t, testNow.Add(time.Hour))
		d := define(srv.URL, func(d *freshet.Definition) {
			d.Provider.DeviceAuthorizationURL, d.Client.Certificate = srv.URL+"/d", cert
		})
		var e *Error
		if _, err := New(Options{Now: clock, Transport: transport}).StartDevice(t.Context(), d); !errors.As(err, &e) || e.Code != "bad_verification_uri" {
			t.Errorf("error %v", err)
		}
	})
}

func TestF42_polling(t *testing.T) {
	answers := []string{`{"error":"authorization_pending"}`, `{"error":"slow_down"}`, `{"error":"authorization_pending"}`, goodAnswer}
	n := 0
	srv := record(t, func(w http.ResponseWriter, _ *http.Request) {
		if n < len(answers)-1 {
			w.WriteHeader(400)
		}
		io.WriteString(w, answers[n])
		n++
	})
	s, d := sender(), define(srv.URL, nil)
	dev := Device{Code: secret("dc"), Interval: 5 * time.Second, ExpiresAt: testNow.Add(time.Minute)}
	var waits []time.Duration
	for {
		out := s.Ask(t.Context(), d, Ask{DeviceCode: dev.Code})
		if out.Token != nil {
			break
		}
		at, again := dev.Next(testNow, out.Err)
		if !again {
			t.Fatalf("polling ends with %v", out.Err)
		}
		waits = append(waits, at.Sub(testNow))
	}
	if fmt.Sprint(waits) != "[5s 10s 10s]" {
		t.Errorf("waits %v: slow_down adds 5 s that stay", waits)
	}
	for code, class := range map[string]Class{"access_denied": Permanent, "expired_token": Permanent} {
		srv.answer = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error":%q}`, code)
		}
		e := mustFail(t, s.Ask(t.Context(), d, Ask{DeviceCode: dev.Code}), class, code)
		if _, again := dev.Next(testNow, e); again {
			t.Errorf("polling goes on after %s", code)
		}
	}
	if _, again := dev.Next(testNow.Add(55*time.Second), &Error{Class: Retryable, Code: "authorization_pending"}); again {
		t.Error("polling goes on after the code has expired")
	}
	if at, again := dev.Next(testNow, &Error{Class: Retryable, Code: "http_503", RetryAfter: 30 * time.Second}); !again || at.Sub(testNow) != 30*time.Second || dev.Interval != 20*time.Second {
		t.Errorf("after an outage: %v, %v, interval %v", at.Sub(testNow), again, dev.Interval)
	}
	if at, again := dev.Next(testNow, nil); !again || at.Sub(testNow) != dev.Interval {
		t.Errorf("first poll at %v, %v", at, again)
	}
}
