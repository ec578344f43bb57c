package resource

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// Pins hold stored secrets to the hosts that they were entered for. Who may
// change resources may not read secrets; but who could move a token URL to a
// host of his own would be sent them. So a change that would bring a secret to
// another scheme, host or port needs the secret to be given again in the same
// apply: by somebody who knows it anyway.
//
// What is held: the secrets of a client, and those of a connection (its
// credentials, a client's in place). A connection that has neither holds a
// token at most; it keeps its hosts for as long as it does.
type pins struct {
	c   *Check
	old map[Key]store.Resource // of the set's items

	before map[string]effective       // providers as they are stored
	rows   map[string]store.Resource  // clients as they are stored
	was    map[string]*freshet.Client // likewise, secrets as freshet.Redacted
	moved  map[Key]string             // clients and providers whose hosts change: a new one
	looked map[string]bool            // connections that are done with
}

// maxPinned is how many faults are enough to make the point.
const maxPinned = 100

func newPins(c *Check, old map[Key]store.Resource) *pins {
	return &pins{c: c, old: old, before: map[string]effective{}, rows: map[string]store.Resource{}, was: map[string]*freshet.Client{},
		moved: map[Key]string{}, looked: map[string]bool{}}
}

// check reports every kept secret that would go to another host. The set has
// no other fault.
func (p *pins) check() {
	set := map[string][]*Item{}
	for _, it := range p.c.items {
		set[it.Key.Kind] = append(set[it.Key.Kind], it)
	}
	affected := map[string]*Item{} // clients by the item that moves their hosts
	for _, it := range set[kindProvider] {
		p.c.turn(it)
		after := p.c.provider(it.Name)
		before := p.provider(it.Name)
		if before.p == nil || after == nil {
			continue
		}
		if to := strays(origins(after, nil), origins(before.p, nil)); to != "" {
			p.moved[it.Key] = to
			for _, r := range p.referrers(it.Key) {
				if r.Kind == kindClient {
					affected[r.Name] = it
				} else {
					p.connection(it, r.Name)
				}
			}
		}
	}
	for _, it := range set[kindClient] {
		affected[it.Name] = it
	}
	for _, name := range slices.Sorted(maps.Keys(affected)) {
		p.client(affected[name], name)
	}
	for _, it := range set[kindConnection] {
		p.connection(it, it.Name)
	}
}

// client looks at a client that changes, or whose provider does; by is the item
// at which a fault is shown.
func (p *pins) client(by *Item, name string) {
	before, after := p.stored(name), p.c.client(name)
	if before == nil || after == nil {
		return
	}
	was := p.provider(before.Provider)
	is := p.c.provider(after.Provider)
	if was.p == nil || is == nil {
		return
	}
	to := strays(origins(is, after.Variables), origins(was.p, before.Variables))
	if to == "" {
		return
	}
	k := Key{kindClient, name}
	p.moved[k] = to
	if p.kept(k, p.rows[name]) {
		p.fault(by, "sends the secret of client %s, which was entered for %s, to %s: give the secret again in the same apply", name, hosts(was.p, before.Variables), to)
	}
	for _, r := range p.referrers(k) {
		p.connection(by, r.Name)
	}
}

// connection looks at a connection that is in the set, or whose client or
// provider moves to other hosts.
func (p *pins) connection(by *Item, name string) {
	if p.looked[name] || len(p.c.faults) >= maxPinned {
		return
	}
	p.looked[name] = true
	k := Key{kindConnection, name}
	it := p.c.items[k]
	row, stored := p.old[k]
	if it == nil {
		if row, stored = p.c.row(k); !stored {
			return
		}
	}
	var before, after *freshet.Definition
	if stored {
		before = p.compose(row, false)
	}
	if it == nil {
		after = p.compose(row, true)
	} else {
		by = it
		after = p.compose(store.Resource{Kind: k.Kind, Name: name, Spec: string(it.Spec)}, true)
	}
	if after == nil {
		return
	}
	to := places(after)
	var at []string
	if before != nil {
		at = places(before)
	}
	own := stored && before != nil && p.kept(k, row)
	if own {
		if stray := strays(to, at); stray != "" {
			p.fault(by, "sends the secrets of connection %s, which were entered for %s, to %s: give them again in the same apply", name, strings.Join(at, ", "), stray)
			return
		}
	}
	secretless := before != nil && len(row.Secrets) == 0 && (before.Connection.Client == "" || len(p.rows[before.Connection.Client].Secrets) == 0)
	if secretless && p.c.b.o.HoldsToken != nil {
		if stray := strays(to, at); stray != "" {
			held, err := p.c.b.o.HoldsToken(p.c.ctx, freshet.ConnectionID(row.ID))
			if err != nil {
				p.c.err = err
			} else if held {
				p.fault(by, "sends the token of connection %s, which came from %s, to %s: forget the token first (freshet revoke %s)", name, strings.Join(at, ", "), stray, name)
				return
			}
		}
	}
	// A client's kept secret goes where the client's own hosts are, and where
	// this connection has always sent it.
	client := after.Connection.Client
	if it == nil || client == "" {
		return
	}
	was := p.stored(client)
	if was == nil || !p.kept(Key{kindClient, client}, p.rows[client]) {
		return
	}
	pr := p.provider(was.Provider)
	if pr.p == nil {
		return
	}
	allowed := origins(pr.p, was.Variables)
	if before != nil && before.Connection.Client == client {
		allowed = append(allowed, at...)
	}
	if stray := strays(to, allowed); stray != "" && p.moved[Key{kindClient, client}] == "" {
		p.fault(by, "sends the secret of client %s to %s, and it was entered for %s: give the secret again in the same apply, or set the host at the client", client, stray, strings.Join(allowed, ", "))
	}
}

func (p *pins) fault(by *Item, format string, args ...any) {
	p.c.turn(by)
	f := p.c.at("", format, args...)
	f.pinned = true
	p.c.faults = append(p.c.faults, f)
}

// kept reports whether a stored secret of the resource survives the apply
// without having been given again.
func (p *pins) kept(k Key, row store.Resource) bool {
	if len(row.Secrets) == 0 {
		return false
	}
	it := p.c.items[k]
	return it == nil || len(it.markers()) > 0
}

// provider returns a provider as it is before the apply.
func (p *pins) provider(name string) effective {
	if e, ok := p.before[name]; ok {
		return e
	}
	var over []byte
	row, ok := p.old[Key{kindProvider, name}]
	if !ok && p.c.items[Key{kindProvider, name}] == nil {
		row, ok = p.c.row(Key{kindProvider, name})
	}
	if ok {
		over = []byte(row.Spec)
	}
	e, err := p.c.b.effective(name, over)
	if err != nil {
		p.c.err = err
	}
	p.before[name] = e
	return e
}

// stored returns a client as it is before the apply, nil if there is none.
func (p *pins) stored(name string) *freshet.Client {
	if v, ok := p.was[name]; ok {
		return v
	}
	k := Key{kindClient, name}
	row, ok := p.old[k]
	if !ok && p.c.items[k] == nil {
		row, ok = p.c.row(k)
	}
	var v *freshet.Client
	if ok {
		var err error
		if v, err = decodeStored[freshet.Client](row); err != nil {
			p.c.err = err
		}
	}
	p.rows[name], p.was[name] = row, v
	return v
}

// compose makes the definition of a connection's row before or after the
// apply, secrets as freshet.Redacted; nil if it cannot be made.
func (p *pins) compose(row store.Resource, after bool) *freshet.Definition {
	cn, err := decodeStored[freshet.Connection](row)
	if err != nil {
		return nil
	}
	client := inPlace(cn)
	if cn.Client != "" {
		if client = p.stored(cn.Client); after {
			client = p.c.client(cn.Client)
		}
		if client == nil {
			return nil
		}
	}
	pr := p.provider(client.Provider).p
	if after {
		pr = p.c.provider(client.Provider)
	}
	if pr == nil {
		return nil
	}
	d, problems := compose(parts{name: row.Name, conn: cn, client: client, provider: pr})
	if len(problems) > 0 {
		return nil
	}
	return d
}

// referrers lists who refers to a resource, however many they are: a secret
// that nobody looked at would not be held.
func (p *pins) referrers(k Key) []store.Ref {
	refs, err := p.c.b.store.Referrers(p.c.ctx, k.Kind, k.Name, 1<<30)
	if err != nil {
		p.c.err = err
	}
	return refs
}

var placeholder = regexp.MustCompile(`\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}`)

// origins lists the scheme, host and port of each place that secrets go to,
// with the variables filled in that have a value.
func origins(p *freshet.Provider, vars map[string]string) []string {
	var out []string
	for _, u := range endpoints(p) {
		filled := placeholder.ReplaceAllStringFunc(u, func(s string) string {
			name := placeholder.FindStringSubmatch(s)[1]
			if v, ok := vars[name]; ok {
				return v
			}
			if v, ok := p.Variables[name]; ok && v.Default != "" {
				return v.Default
			}
			return "{{" + name + "}}"
		})
		out = append(out, origin(filled))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// places lists the origins of a definition.
func places(d *freshet.Definition) []string {
	out := origins(&d.Provider, nil)
	for _, u := range []string{d.Connection.TokenURL, d.Connection.RefreshURL} {
		if u != "" {
			out = append(out, origin(u))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func hosts(p *freshet.Provider, vars map[string]string) string {
	return strings.Join(origins(p, vars), ", ")
}

// origin cuts a URL after its host and port.
func origin(u string) string {
	if parsed, err := url.Parse(u); err == nil && !strings.Contains(u, "{{") {
		host := strings.ToLower(parsed.Host)
		if p := parsed.Port(); p == "443" && parsed.Scheme == "https" || p == "80" && parsed.Scheme == "http" {
			host = strings.TrimSuffix(host, ":"+p)
		}
		return parsed.Scheme + "://" + host
	}
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok {
		return u
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return scheme + "://" + strings.ToLower(rest)
}

// strays returns the first of to that none of at covers.
func strays(to, at []string) string {
	for _, o := range to {
		if !slices.ContainsFunc(at, func(a string) bool { return covers(a, o) }) {
			return o
		}
	}
	return ""
}

// covers reports whether origin is the place that pattern names. A pattern with
// blanks covers what it may become only if at least two labels of the host
// stand fast behind them: https://{{shop}}.shops.example covers every shop, but
// https://{{host}} covers nothing.
func covers(pattern, origin string) bool {
	if pattern == origin {
		return true
	}
	from, to := strings.Index(pattern, "{{"), strings.LastIndex(pattern, "}}")
	if from < 0 || to < from {
		return false
	}
	head, tail := pattern[:from], pattern[to+2:]
	return strings.Contains(head, "://") && strings.Count(tail, ".") >= 2 && !strings.Contains(origin, "{{") &&
		len(origin) > len(head)+len(tail) && strings.HasPrefix(origin, head) && strings.HasSuffix(origin, tail)
}
