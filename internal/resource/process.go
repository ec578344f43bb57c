package resource

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

const (
	kindService = "services"
	kindProcess = "processes"
)

// A ProcessChecker knows what can be wrong with services and processes beyond
// their form. It reports faults, which keep them from being kept, and other
// things to say.
type ProcessChecker interface {
	CheckService(s *freshet.Service, report func(fault bool, field, detail string))
	CheckProcess(p *freshet.Process, service func(name string) *freshet.Service, report func(fault bool, field, detail string))
	// CheckTrigger returns why a process has nothing that a trigger names.
	CheckTrigger(p *freshet.Process, trigger string) error
	// Seeded reports whether the instances of a declaration are all there.
	Seeded(ctx context.Context, p *freshet.Process) (bool, error)
	// Lifetime returns how long the token of an instance lives, 0 if nobody
	// knows. ok: there is, or will be, such an instance.
	Lifetime(ctx context.Context, p *freshet.Process, instance string) (d time.Duration, ok bool, err error)
}

func services() Kind {
	k := Define(Spec[freshet.Service]{
		Name: kindService, One: "service",
		Doc: "HTTP APIs by their base URL and named methods, which the rules of processes call.",
		Forms: map[reflect.Type]Form{
			reflect.TypeFor[[]freshet.ServiceMethod](): {Name: "name"},
			reflect.TypeFor[freshet.Parameter]():       {Text: "name", Pair: "value", Short: true},
		},
		Words: map[reflect.Type]map[string][]string{
			reflect.TypeFor[freshet.ServiceMethod](): {"method": {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"}, "content_type": {"json", "form"}},
		},
		Refs: func(s *freshet.Service) []Ref {
			if s.Connection == "" {
				return nil
			}
			return []Ref{{Key{kindConnection, s.Connection}, "connection"}}
		},
		Check: checkService,
	})
	k.conceal = concealService
	return k
}

func processes() Kind {
	k := Define(Spec[freshet.Process]{
		Name: kindProcess, One: "process",
		Doc: "Forms: fields, and buttons whose rules set fields, call methods of services and save the form as an instance.",
		Forms: map[reflect.Type]Form{
			reflect.TypeFor[freshet.ProcessField](): {Text: "name", Short: true},
			reflect.TypeFor[freshet.ProcessValue](): {Text: "text", Short: true, File: "secret"},
			reflect.TypeFor[freshet.SaveRule]():     {Text: "comment"},
		},
		Refs: func(p *freshet.Process) []Ref {
			var refs []Ref
			each := func(at string, rules []freshet.ProcessRule) {
				for i := range rules {
					if item := rules[i].Item(); item != nil {
						refs = append(refs, Ref{Key{kindService, item.Service}, index(at, i) + "." + itemField(&rules[i]) + ".service"})
					}
				}
			}
			for _, b := range slices.Sorted(maps.Keys(p.Buttons)) {
				each(join("buttons", b), p.Buttons[b])
			}
			for i := range p.Fields {
				each(index("fields", i)+".rules", p.Fields[i].Rules)
			}
			return refs
		},
		Check: checkProcess,
	})
	k.conceal = concealProcess
	return k
}

func itemField(r *freshet.ProcessRule) string {
	switch {
	case r.FindItems != nil:
		return "find_items"
	case r.CreateItem != nil:
		return "create_item"
	case r.UpdateItem != nil:
		return "update_item"
	}
	return "delete_item"
}

// report turns what a ProcessChecker says into faults and warnings.
func (c *Check) report(fault bool, field, detail string) {
	if fault {
		c.Fault(field, "%s", detail)
	} else {
		c.Warn(field, "%s", detail)
	}
}

// stillReferred bounds how many referrers a check reads.
const stillReferred = 1000

func checkService(c *Check, name string, s *freshet.Service) {
	if s.BaseURL != "" {
		c.URL("base_url", s.BaseURL)
	}
	if c.b.o.Processes == nil {
		return
	}
	c.b.o.Processes.CheckService(s, c.report)
	// Processes that stay as they are must find their methods.
	for _, k := range c.referrers(Key{kindService, name}, kindProcess) {
		p := stored[freshet.Process](c, k)
		if p == nil {
			continue
		}
		var rules []freshet.ProcessRule
		for _, list := range p.Buttons {
			rules = append(rules, list...)
		}
		for i := range p.Fields {
			rules = append(rules, p.Fields[i].Rules...)
		}
		missing := map[string]bool{}
		for i := range rules {
			if item := rules[i].Item(); item != nil && item.Service == name && s.Method(item.Method) == nil && !missing[item.Method] {
				missing[item.Method] = true
				c.Fault("methods", "process %s calls the method %q, which would be gone: change the process in the same apply", k.Name, item.Method)
			}
		}
	}
}

func checkProcess(c *Check, name string, p *freshet.Process) {
	if c.b.o.Processes == nil {
		return
	}
	c.b.o.Processes.CheckProcess(p, c.service, c.report)
	for _, k := range c.referrers(Key{kindProcess, name}, kindSchedule) {
		s := stored[freshet.Schedule](c, k)
		if s == nil || s.Process != name {
			continue
		}
		if err := c.b.o.Processes.CheckTrigger(p, s.Trigger); err != nil {
			c.Fault("buttons", "schedule %s triggers %s, which would be gone: %v", k.Name, s.Trigger, err)
		}
	}
	if len(c.faults) == 0 {
		all, err := c.b.o.Processes.Seeded(c.ctx, p)
		if err != nil {
			c.err = fmt.Errorf("process %s: %w", name, err)
		}
		c.differs[c.it.Key] = !all
	}
}

// referrers lists stored resources of a kind that refer to one and that the set
// does not replace.
func (c *Check) referrers(k Key, kind string) []Key {
	refs, err := c.b.store.Referrers(c.ctx, k.Kind, k.Name, stillReferred)
	if err != nil {
		c.err = err
	}
	var out []Key
	for _, r := range refs {
		if at := (Key{r.Kind, r.Name}); r.Kind == kind && c.items[at] == nil {
			out = append(out, at)
		}
	}
	return out
}

// stored reads a resource as it is stored, without its secrets; nil: it is not
// there, or does not read.
func stored[T any](c *Check, k Key) *T {
	row, ok := c.row(k)
	if !ok {
		return nil
	}
	v, err := decodeStored[T](row)
	if err != nil {
		return nil
	}
	return v
}

// service returns a service as it will be, nil if there is none.
func (c *Check) service(name string) *freshet.Service {
	k := Key{kindService, name}
	if v, ok := c.values[k].(*freshet.Service); ok {
		return v
	}
	return stored[freshet.Service](c, k)
}

// process returns a process as it will be, nil if there is none.
func (c *Check) process(name string) *freshet.Process {
	k := Key{kindProcess, name}
	if v, ok := c.values[k].(*freshet.Process); ok {
		return v
	}
	p := stored[freshet.Process](c, k)
	if p != nil {
		p.Name = name
	}
	return p
}

// checkTarget checks what a schedule names of a process, and whether the process
// comes soon enough. lapses says of an interval what it lets lapse.
func (c *Check) checkTarget(s *freshet.Schedule, lapses func(lifetime time.Duration) string) {
	p := c.process(s.Process)
	if p == nil || c.b.o.Processes == nil {
		return // said where references are checked
	}
	if err := c.b.o.Processes.CheckTrigger(p, s.Trigger); err != nil {
		c.Fault("trigger", "%v", err)
		return
	}
	if s.Instance == "" {
		return
	}
	lifetime, ok, err := c.b.o.Processes.Lifetime(c.ctx, p, s.Instance)
	switch {
	case err != nil:
		c.err = err
	case !ok:
		c.Warn("instance", "process %s has no instance %s now: firings fail until it has", s.Process, s.Instance)
	case lifetime > 0:
		if text := lapses(lifetime); text != "" {
			c.Warn("every", "%s", text)
		}
	}
}

// Process returns a process with what is sealed in it, and its id. The error
// wraps freshet.ErrNotFound.
func (b *Book) Process(ctx context.Context, name string) (*freshet.Process, string, error) {
	row, err := b.row(ctx, Key{kindProcess, name})
	if err != nil {
		return nil, "", err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, "", err
	}
	return v.(*freshet.Process), row.ID, nil
}

// Service returns a service with its secrets. The error wraps
// freshet.ErrNotFound.
func (b *Book) Service(ctx context.Context, name string) (*freshet.Service, error) {
	return Value[freshet.Service](ctx, b, Key{kindService, name})
}

// ProcessIn reads the process that a write is about, within its transaction.
func (b *Book) ProcessIn(c *store.Change, name string) (*freshet.Process, error) {
	row, err := c.Resource(kindProcess, name)
	if err != nil {
		return nil, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, err
	}
	return v.(*freshet.Process), nil
}

// takesFrom reports whether a text of a mapping takes its value from elsewhere.
var takesFrom = regexp.MustCompile(`\[[\p{L}_][^\[\]]*\]|\{\{`)

// concealed moves a literal that goes where a secret belongs out of a mapping
// value: hard coded credentials are not kept in the clear.
func (d *decoder) concealed(v any, at, text string) {
	m, _ := v.(map[string]any)
	s, _ := m[text].(string)
	if s == "" || s != freshet.Redacted && takesFrom.MatchString(s) {
		return
	}
	delete(m, text)
	m["secret"] = freshet.Redacted
	d.it.Secrets[join(at, "secret")] = freshet.NewSecret(s)
}

func concealService(d *decoder, tree any) bool {
	object, _ := tree.(map[string]any)
	methods, _ := object["methods"].([]any)
	for _, v := range methods {
		m, _ := v.(map[string]any)
		name, _ := m["name"].(string)
		request, _ := m["request"].(map[string]any)
		for _, part := range []string{"headers", "query", "body"} {
			list, _ := request[part].([]any)
			for i, p := range list {
				param, _ := p.(map[string]any)
				if n, _ := param["name"].(string); content.SecretName(n) {
					d.concealed(p, index(join(join(join("methods", name), "request"), part), i), "value")
				}
			}
		}
	}
	return true
}

func concealProcess(d *decoder, tree any) bool {
	object, _ := tree.(map[string]any)
	fields, _ := object["fields"].([]any)
	secret := map[string]bool{}
	for _, f := range fields {
		m, _ := f.(map[string]any)
		name, _ := m["name"].(string)
		hidden, _ := m["secret"].(bool)
		secret[name] = hidden || content.SecretName(name)
	}
	values := func(v any, at string, hidden func(name string) bool) {
		m, _ := v.(map[string]any)
		for name, value := range m {
			if hidden(name) {
				d.concealed(value, join(at, name), "text")
			}
		}
	}
	ofField := func(name string) bool { return secret[name] }
	rules := func(v any, at string) {
		list, _ := v.([]any)
		for i, r := range list {
			m, _ := r.(map[string]any)
			here := index(at, i)
			values(m["set_field"], join(here, "set_field"), ofField)
			for _, action := range []string{"find_items", "create_item", "update_item", "delete_item"} {
				item, _ := m[action].(map[string]any)
				at := join(here, action)
				values(item["input"], join(at, "input"), content.SecretName)
				values(item["on_success"], join(at, "on_success"), ofField)
				values(item["on_error"], join(at, "on_error"), ofField)
			}
		}
	}
	buttons, _ := object["buttons"].(map[string]any)
	for name, list := range buttons {
		rules(list, join("buttons", name))
	}
	for i, f := range fields {
		m, _ := f.(map[string]any)
		rules(m["rules"], join(index("fields", i), "rules"))
	}
	instances, _ := object["instances"].([]any)
	for i, in := range instances {
		values(in, index("instances", i), ofField)
	}
	return true
}
