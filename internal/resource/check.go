package resource

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/predicate"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/template"
)

// A Check looks at a set of resources as it would be after an apply: what files
// say, over what is stored, over the catalogue. Kinds report through it; the
// place of a fault is found by its field.
type Check struct {
	ctx   context.Context
	b     *Book
	items map[Key]*Item
	it    *Item // whose turn it is
	kind  *Kind

	values    map[Key]any // of items but connections, with secrets
	stored    map[string]*freshet.Client
	providers map[string]*freshet.Provider
	allow     *allowance

	differs map[Key]bool // resources that are declared as before, and that an apply would change all the same

	faults, warnings Faults
	err              error // of the database: the check is not complete
}

func (b *Book) newCheck(ctx context.Context, set *Set) *Check {
	c := &Check{ctx: ctx, b: b, items: map[Key]*Item{}, values: map[Key]any{}, stored: map[string]*freshet.Client{}, providers: map[string]*freshet.Provider{}, differs: map[Key]bool{}}
	for _, it := range set.Items {
		c.items[it.Key] = it
	}
	return c
}

// Context is for reads that a kind's check makes.
func (c *Check) Context() context.Context { return c.ctx }

// Fault records what is wrong with a field of the resource under check. It
// must show no secret.
func (c *Check) Fault(field, format string, args ...any) {
	c.faults = append(c.faults, c.at(field, format, args...))
}

// Warn records what is odd with a field, and no reason to refuse it.
func (c *Check) Warn(field, format string, args ...any) {
	c.warnings = append(c.warnings, c.at(field, format, args...))
}

func (c *Check) at(field, format string, args ...any) Fault {
	return Fault{Place: c.it.place(field), Path: c.it.path(c.kind, field), Detail: fmt.Sprintf(format, args...)}
}

// faulted reports whether the field of the resource under check has a fault.
func (c *Check) faulted(field string) bool {
	path := c.it.path(c.kind, field)
	return slices.ContainsFunc(c.faults, func(f Fault) bool { return f.Path == path })
}

// turn makes it the resource under check.
func (c *Check) turn(it *Item) {
	c.it, c.kind = it, c.b.reg.byName[it.Key.Kind]
}

// Exists reports whether a resource will be there after the apply, in the set,
// in the store or, if it is a provider, in the catalogue.
func (c *Check) Exists(k Key) bool {
	if c.items[k] != nil {
		return true
	}
	if k.Kind == kindProvider {
		return c.provider(k.Name) != nil
	}
	_, ok := c.row(k)
	return ok
}

func (c *Check) row(k Key) (store.Resource, bool) {
	row, err := c.b.store.Resource(c.ctx, k.Kind, k.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		c.err = errors.Join(c.err, err)
	}
	return row, err == nil
}

// names lists names of a kind that a slip may mean: of the set and the first
// of the store.
func (c *Check) names(kind string) []string {
	var names []string
	for k := range c.items {
		if k.Kind == kind {
			names = append(names, k.Name)
		}
	}
	rows, err := c.b.store.Resources(c.ctx, kind, "", 1000)
	c.err = errors.Join(c.err, err)
	for _, r := range rows {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// reference reports a name that nothing has.
func (c *Check) reference(ref Ref) {
	if c.Exists(ref.Key) || c.err != nil {
		return
	}
	k := c.b.reg.byName[ref.Kind]
	if k == nil || k.typ == nil {
		c.Fault(ref.Field, "%s are not in this version of freshet", ref.Kind)
		return
	}
	text := fmt.Sprintf("there is no %s %q", k.One, ref.Name)
	near := didYouMean(ref.Name, c.names(ref.Kind))
	switch {
	case near != "":
		text += near
	case ref.Kind == kindProvider:
		if like := c.b.catalogue.suggest(ref.Name); len(like) > 0 {
			text += "; the catalogue has " + strings.Join(like, ", ")
		} else {
			text += ": define it under providers:, or choose one of the catalogue (freshet get providers)"
		}
	default:
		text += fmt.Sprintf(": define it under %s:", ref.Kind)
	}
	c.Fault(ref.Field, "%s", text)
}

// provider returns the provider of the name as it will be, nil if there is
// none. It is shared: read only.
func (c *Check) provider(name string) *freshet.Provider {
	if p, ok := c.providers[name]; ok {
		return p
	}
	var over []byte
	if it := c.items[Key{kindProvider, name}]; it != nil {
		over = it.Spec
	} else if row, ok := c.row(Key{kindProvider, name}); ok {
		over = []byte(row.Spec)
	}
	e, err := c.b.effective(name, over)
	c.err = errors.Join(c.err, err)
	c.providers[name] = e.p
	return e.p
}

// client returns the client of the name as it will be, nil if there is none.
func (c *Check) client(name string) *freshet.Client {
	k := Key{kindClient, name}
	if v, ok := c.values[k].(*freshet.Client); ok {
		return v
	}
	if v, ok := c.stored[name]; ok {
		return v
	}
	row, ok := c.row(k)
	if !ok {
		return nil
	}
	v, err := c.b.value(row)
	if err != nil {
		c.err = errors.Join(c.err, err)
		return nil
	}
	c.stored[name] = v.(*freshet.Client)
	return c.stored[name]
}

// An allowance is network.allow as a check needs it: what may be said against a
// URL before its name is resolved. The guarded dialer has the last word.
type allowance struct {
	guard *dial.Guard
	names []string // host names and *.suffixes
	local bool     // the machine's own addresses are listed
	other bool     // and addresses beyond them
}

func newAllowance(entries []string) (*allowance, error) {
	g, err := dial.New(dial.Options{Allow: entries})
	if err != nil {
		return nil, err
	}
	a := &allowance{guard: g}
	for _, e := range entries {
		e = strings.ToLower(strings.TrimSpace(e))
		switch {
		case strings.HasPrefix(e, "127."), e == "::1", e == "[::1]", e == "::1/128":
			a.local = true
		case strings.ContainsAny(e, "/:") || strings.Trim(e, "0123456789.") == "":
			a.other = true
		default:
			a.names = append(a.names, e)
		}
	}
	return a, nil
}

// listed reports whether a host given by name may turn out to be one that is
// listed: also a name that is not has an address that may be.
func (a *allowance) listed(host string) bool {
	if a.other || a.local && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
		return true
	}
	return slices.ContainsFunc(a.names, func(n string) bool {
		suffix, wild := strings.CutPrefix(n, "*")
		return n == host || wild && strings.HasSuffix(host, suffix)
	})
}

// network returns network.allow as it will be.
func (c *Check) network() *allowance {
	if c.allow != nil {
		return c.allow
	}
	var entries []string
	if v, ok := c.values[networkKey].(*freshet.Network); ok {
		entries = v.Allow
	} else if row, ok := c.row(networkKey); ok {
		v, err := decodeStored[freshet.Network](row)
		c.err = errors.Join(c.err, err)
		if v != nil {
			entries = v.Allow
		}
	}
	a, err := newAllowance(append(slices.Clone(c.b.allow), entries...))
	if err != nil { // said at network.allow
		a, _ = newAllowance(nil)
	}
	c.allow = a
	return a
}

// URL checks an address that we will speak to: strict in form, https unless
// network.allow lists it, no address that is never dialled. nil: faulted.
func (c *Check) URL(field, raw string) *url.URL {
	if text := c.bad(raw); text != "" {
		c.Fault(field, "%s", text)
		return nil
	}
	u, _ := dial.ParseURL(raw)
	return u
}

// bad says what is wrong with an address that we will speak to, "" for nothing.
func (c *Check) bad(raw string) string {
	u, err := dial.ParseURL(raw)
	if err != nil {
		return err.Error()
	}
	a := c.network()
	host := u.Hostname()
	if err := a.guard.Check(u); err != nil {
		text := dial.Reason(err)
		if would, err := newAllowance([]string{host}); err == nil && would.guard.Check(u) == nil {
			text += ": add the address to network.allow if it is yours"
		}
		return text
	}
	if literal := strings.Contains(host, ":") || strings.Trim(host, "0123456789.") == ""; literal || a.listed(host) {
		return ""
	}
	switch p := u.Port(); {
	case u.Scheme == "http":
		return fmt.Sprintf("plain http to %s: use https, or add the host to network.allow if it is yours", host)
	case p != "" && p != "443" && p != "8443": // as the guarded dialer
		return fmt.Sprintf("port %s of %s: add the host to network.allow if it is yours", p, host)
	}
	return ""
}

var blanks = func(string) (any, bool) { return "x", true }

// URLTemplate checks a URL that may hold {{paths}}: with them filled in it must
// be right, and each path must be one that known reports.
func (c *Check) URLTemplate(field, raw string, known func(path string) bool) {
	if raw == "" {
		return
	}
	t := c.Template(field, raw)
	if t == nil {
		return
	}
	for _, p := range t.Paths() {
		if known != nil && !known(p) {
			c.Fault(field, "names {{%s}}, which is not one of the provider's variables", p)
			return
		}
	}
	switch filled, err := t.Render(blanks, template.URL); {
	case err != nil:
		c.Fault(field, "%s", templateText(err))
	case len(t.Paths()) == 0:
		c.URL(field, raw)
	case !strings.HasPrefix(raw, "{{"):
		// A host that a variable makes is looked at when it has its value.
		if _, err := dial.ParseURL(filled); err != nil {
			c.Fault(field, "%v", err)
		}
	}
}

// Template compiles a template; nil: faulted, or text is empty.
func (c *Check) Template(field, text string) *template.Template {
	if text == "" {
		return nil
	}
	t, err := template.Compile(field, text)
	if err != nil {
		c.Fault(field, "%s", templateText(err))
		return nil
	}
	return t
}

// Predicate compiles a condition over an answer.
func (c *Check) Predicate(field, text string) {
	if text == "" {
		return
	}
	if _, err := predicate.Compile(text); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n") // the rest draws a picture
		c.Fault(field, "%s", first)
	}
}

// compiled compiles a template whose faults are reported elsewhere.
func (c *Check) compiled(text string) *template.Template {
	t, err := template.Compile("template", text)
	if err != nil {
		return nil
	}
	return t
}

func templateText(err error) string {
	if e, ok := errors.AsType[*template.Error](err); ok {
		return fmt.Sprintf("template, line %d, column %d: %s", e.Line, e.Column, e.Msg)
	}
	return "template: " + err.Error()
}

// Values checks the templates of named values.
func (c *Check) Values(field string, values map[string]string) {
	for name, v := range values {
		c.Template(join(field, name), v)
	}
}

// Headers checks names and templates of header fields.
func (c *Check) Headers(field string, headers map[string]string) {
	for name, v := range headers {
		at := join(field, name)
		switch {
		case !isToken(name):
			c.Fault(at, "%q is not the name of a header", name)
		case slices.Contains(connectionHeaders, strings.ToLower(name)):
			c.Fault(at, "this header is not for resources to set: it belongs to the connection itself")
		case strings.ContainsAny(v, "\r\n\x00"):
			c.Fault(at, "a header holds no line end")
		default:
			c.Template(at, v)
		}
	}
}

// connectionHeaders frame a message or end at the next hop, RFC 9110 §7.6.1.
var connectionHeaders = []string{"connection", "content-length", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c) {
			return false
		}
	}
	return s != ""
}

// NotNegative refuses numbers below zero.
func (c *Check) NotNegative(field string, n int) {
	if n < 0 {
		c.Fault(field, "%s is less than nothing", strconv.Itoa(n))
	}
}
