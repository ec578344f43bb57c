package dial

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ErrDenied is all that anybody outside learns of a target that may not be
// dialled: not the address a name led to, not the rule that refused it.
var ErrDenied = errors.New("the target is not one that this server may connect to (operators: network.allow)")

// A deniedError is ErrDenied with the reason kept for the log.
type deniedError struct{ reason string }

func (e *deniedError) Error() string        { return ErrDenied.Error() }
func (e *deniedError) Is(target error) bool { return target == ErrDenied }

func deny(format string, args ...any) error {
	return &deniedError{reason: fmt.Sprintf(format, args...)}
}

// Reason returns which rule refused a target, for an operator's log and nobody
// else. It is empty for other errors.
func Reason(err error) string {
	if e, ok := errors.AsType[*deniedError](err); ok {
		return e.reason
	}
	return ""
}

// A policy is an allowlist as it stands at one moment. It never changes.
type policy struct {
	entries []string
	nets    []netip.Prefix
	hosts   map[string]bool
	suffix  []string // ".internal.example" of *.internal.example
	ports   []int
}

// newPolicy reads the forms that Options.Allow documents.
func newPolicy(entries []string, ports []int) (*policy, error) {
	p := &policy{entries: slices.Clone(entries), hosts: map[string]bool{}, ports: ports}
	for _, e := range entries {
		s := strings.ToLower(strings.TrimSpace(e))
		if n, err := netip.ParsePrefix(s); err == nil {
			if n.Addr().Is4In6() {
				return nil, fmt.Errorf("network.allow: %q: write IPv4 ranges as 10.0.0.0/8", e)
			}
			if n != n.Masked() {
				return nil, fmt.Errorf("network.allow: %q has bits beyond its prefix: did you mean %s?", e, n.Masked())
			}
			p.nets = append(p.nets, n)
			continue
		}
		if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && a.Zone() == "" {
			a = a.Unmap()
			p.nets = append(p.nets, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		name, wild := strings.CutPrefix(s, "*.")
		name, err := hostname(name)
		if err != nil {
			return nil, fmt.Errorf("network.allow: %q is no address, range or host name: %w", e, err)
		}
		if wild {
			p.suffix = append(p.suffix, "."+name)
		} else {
			p.hosts[name] = true
		}
	}
	return p, nil
}

// names reports whether the operator listed the host by name.
func (p *policy) names(host string) bool {
	if p.hosts[host] {
		return true
	}
	for _, s := range p.suffix {
		if strings.HasSuffix(host, s) {
			return true
		}
	}
	return false
}

// address is the rule that everything comes down to, applied to the address
// that a socket is about to connect to.
func (p *policy) address(a netip.Addr, port int, plain, named bool) error {
	if isMetadata(a) {
		return deny("%s serves cloud credentials: never dialled", a)
	}
	if named || a.Zone() == "" && within(p.nets, a.Unmap()) {
		return nil
	}
	if !Public(a) {
		return deny("%s is not public", a)
	}
	if plain {
		return deny("%s: plain http only to addresses of network.allow", a)
	}
	if !slices.Contains(p.ports, port) {
		return deny("%s: port %d only at addresses of network.allow", a, port)
	}
	return nil
}

// url refuses what can be refused without resolving a name.
func (p *policy) url(u *url.URL) error {
	if u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return deny("scheme %q or user information", u.Scheme)
	}
	host, port, err := authority(u)
	if err != nil {
		return deny("%v", err)
	}
	if c := host[0]; c >= '0' && c <= '9' || strings.Contains(host, ":") {
		if a, err := netip.ParseAddr(host); err == nil {
			return p.address(a, port, u.Scheme == "http", false)
		}
	}
	// A port or a scheme that only listed addresses may use is decided when the
	// name has become an address.
	return nil
}
