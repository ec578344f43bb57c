package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
)

const (
	probes    = 8 // hosts that are looked at at once
	probeTime = 10 * time.Second
	// A clock that is off by more than this makes signed assertions and proofs
	// invalid at many providers; one that is off by less shows in expiries.
	clockWrong = 30 * time.Second
	clockOdd   = 5 * time.Second
)

// A place is a host that connections speak to.
type place struct {
	origin string
	roles  []string // whose it is: provider acme, API of crm
	clock  bool     // it issues tokens, so that its clock is the one to keep
}

// A sight is what was seen of a place.
type sight struct {
	finding Finding
	skew    time.Duration // our clock minus the place's
	dated   bool
}

// places lists the hosts of a definition: where tokens come from, and where
// they go.
func places(def *freshet.Definition, all map[string]*place) {
	add := func(raw, role string, clock bool) {
		origin := originOf(raw)
		if origin == "" {
			return
		}
		p := all[origin]
		if p == nil {
			p = &place{origin: origin}
			all[origin] = p
		}
		p.clock = p.clock || clock
		if !slices.Contains(p.roles, role) {
			p.roles = append(p.roles, role)
		}
	}
	pr := &def.Provider
	role := "provider " + pr.Name
	for _, u := range []string{def.Connection.TokenURL, pr.TokenURL, pr.Request.URL} {
		add(u, role, true)
	}
	for _, u := range []string{pr.Issuer, def.Connection.RefreshURL, pr.RefreshURL, pr.RevocationURL, pr.DeviceAuthorizationURL} {
		add(u, role, false)
	}
	if pr.RefreshRequest != nil {
		add(pr.RefreshRequest.URL, role, false)
	}
	if pr.SecondStep != nil {
		add(pr.SecondStep.Request.URL, role, false)
	}
	if a := def.API(); a.BaseURL != "" {
		add(a.BaseURL, "API of "+def.Connection.Name, false)
	}
}

// originOf is the part of a URL that a probe needs. What follows it may be a
// template with a secret in it.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || strings.Contains(u.Host, "{{") || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// look probes all places, a few at once, in order of name.
func look(ctx context.Context, client *http.Client, all map[string]*place, now func() time.Time) Report {
	list := make([]*place, 0, len(all))
	for _, p := range all {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *place) int { return cmp.Compare(a.origin, b.origin) })
	sights := make([]sight, len(list))
	slots := make(chan struct{}, probes)
	var wg sync.WaitGroup
	for i, p := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			sights[i] = probe(ctx, client, p, now)
		})
	}
	wg.Wait()
	r := Report{}
	unreachable := false
	var skews []time.Duration
	for i, s := range sights {
		r = append(r, s.finding)
		unreachable = unreachable || s.finding.Level == Problem
		if s.dated && list[i].clock {
			skews = append(skews, s.skew)
		}
	}
	if unreachable {
		for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
			if os.Getenv(name) != "" {
				r = append(r, Finding{"network", Warning, name + " is set, and is not used: Freshet connects directly, so that no credential passes a proxy", "open the way to the hosts above"})
				break
			}
		}
	}
	return append(r, clock(skews))
}

// clock judges our clock by those of the token endpoints' hosts. The median
// keeps one host with a wrong clock from accusing ours.
func clock(skews []time.Duration) Finding {
	if len(skews) == 0 {
		return Finding{"clock", OK, "no provider told its time", ""}
	}
	slices.Sort(skews)
	skew := skews[len(skews)/2]
	if len(skews)%2 == 0 {
		skew = (skew + skews[len(skews)/2-1]) / 2
	}
	off := skew.Abs()
	text := fmt.Sprintf("it agrees with %d providers", len(skews))
	if len(skews) == 1 {
		text = "it agrees with the provider"
	}
	if off <= clockOdd {
		return Finding{"clock", OK, text, ""}
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	f := Finding{"clock", Warning, fmt.Sprintf("this machine is %v %s the clocks of %d providers", off.Round(time.Second), direction, len(skews)), "let the system keep time: systemd-timesyncd, chrony, or the container's host"}
	if off > clockWrong {
		f.Level = Problem
	}
	return f
}

// probe asks a host for its root, without any credential. Whatever it answers
// is good enough.
func probe(ctx context.Context, client *http.Client, p *place, now func() time.Time) (s sight) {
	s.finding = Finding{Check: strings.Join(p.roles, ", "), Level: OK}
	if len(p.roles) > 3 {
		s.finding.Check = fmt.Sprintf("%s and %d more", strings.Join(p.roles[:3], ", "), len(p.roles)-3)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, p.origin+"/", nil)
	if err != nil {
		s.finding.Level, s.finding.Detail = Problem, p.origin+" is not an address"
		return s
	}
	req.Header.Set("User-Agent", "freshet-doctor")
	sent := now()
	res, err := client.Do(req)
	if err != nil {
		s.finding.Level = Problem
		s.finding.Detail, s.finding.Do = unreached(p.origin, err)
		return s
	}
	res.Body.Close()
	came := now()
	s.finding.Detail = fmt.Sprintf("%s answers in %v", p.origin, came.Sub(sent).Round(time.Millisecond))
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		// The header has whole seconds, cut.
		s.skew, s.dated = sent.Add(came.Sub(sent)/2).Sub(date.Add(500*time.Millisecond)), true
	}
	if res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
		if left := res.TLS.PeerCertificates[0].NotAfter.Sub(came); left < days(7) {
			s.finding.Level = Warning
			s.finding.Detail += fmt.Sprintf("; its certificate ends in %d days", int(left/days(1)))
			s.finding.Do = "tell whoever runs it, unless it renews by itself"
		}
	}
	return s
}

// unreached says in words how far a request came, and what to do.
func unreached(origin string, err error) (detail, do string) {
	var (
		dns       *net.DNSError
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		timeout   interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, dial.ErrDenied):
		do = "add the host to network.allow and apply, if this server may speak to it"
		if why := dial.Reason(err); why != "" {
			return fmt.Sprintf("%s is not one that this server may connect to: %s", origin, why), do
		}
		return origin + " is not one that this server may connect to", do
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("%s: there is no host of that name", origin), "correct the URL, or the name server"
	case errors.As(err, &dns):
		return fmt.Sprintf("%s: the name server does not answer", origin), "look at this machine's name resolution"
	case errors.As(err, &authority):
		return fmt.Sprintf("%s: its certificate is signed by an authority that this machine does not know", origin), "install that authority's certificate, if you trust it, and restart"
	case errors.As(err, &name):
		return fmt.Sprintf("%s: its certificate is for another host", origin), "correct the URL"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("%s: its certificate has expired or is not valid yet", origin), "look at this machine's clock; else tell whoever runs it"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("%s: it does not speak TLS", origin), "correct the URL: the port, or http in place of https for hosts of network.allow"
	case errors.As(err, &verify):
		return fmt.Sprintf("%s: its certificate is not valid", origin), "tell whoever runs it"
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("%s: nothing listens there", origin), "start it, or correct the URL"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("%s: no answer within %v", origin, probeTime), "look at firewalls on the way, and at the host"
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Sprintf("%s: %v", origin, err), "look at the network on the way, and at the host"
}
