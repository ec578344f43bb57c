package resource

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/schedule"
)

const kindSchedule = "schedules"

// freeName is what people call a task: any text of one line.
var freeName = regexp.MustCompile(`^[^\s\pC]([^\pC]{0,126}[^\s\pC])?$`)

func schedules() Kind {
	return Define(Spec[freshet.Schedule]{
		Name: kindSchedule, One: "schedule",
		Doc:   "Tasks that fire by the clock or on demand: a refresh, a workflow, a process.",
		Names: freeName, NamesText: "the name of a schedule is one line of text without blanks around it, at most 128 characters long",
		Words: map[reflect.Type]map[string][]string{reflect.TypeFor[freshet.Weekday](): {"": texts(freshet.Weekdays)}},
		Forms: map[reflect.Type]Form{
			reflect.TypeFor[freshet.Hourly]():    {Text: "minute"},
			reflect.TypeFor[freshet.Daily]():     {Text: "at"},
			reflect.TypeFor[[]freshet.Weekday](): {One: true},
		},
		Refs: func(s *freshet.Schedule) []Ref {
			var refs []Ref
			for _, r := range []struct{ field, kind, name string }{{"refresh", kindConnection, s.Refresh}, {"workflow", "workflows", s.Workflow}, {"process", "processes", s.Process}} {
				if r.name != "" {
					refs = append(refs, Ref{Key{r.kind, r.name}, r.field})
				}
			}
			return refs
		},
		Check: checkSchedule,
	})
}

func checkSchedule(c *Check, name string, s *freshet.Schedule) {
	if strings.Trim(name, ".") == "" {
		c.Fault("", "%q cannot be part of an address: choose another name", name)
	}
	// Whether a day ever comes depends on today; nothing that is kept does.
	p, err := schedule.Compile(s, time.Now())
	if e, ok := errors.AsType[*schedule.FieldError](err); ok {
		c.Fault(e.Field, "%s", e.Detail)
	} else if err != nil {
		c.Fault("", "%v", err)
	}
	var targets []string
	for _, t := range []struct{ field, name string }{{"refresh", s.Refresh}, {"workflow", s.Workflow}, {"process", s.Process}} {
		if t.name != "" {
			targets = append(targets, t.field)
		}
	}
	switch {
	case len(targets) == 0:
		c.Fault("", "says not what to do: give one of refresh (a connection), workflow or process")
	case len(targets) > 1:
		c.Fault(targets[1], "is given beside %s: a schedule has one target", targets[0])
	}
	if s.Input != nil && s.Workflow == "" {
		c.Fault("input", "goes to a workflow, and none is named")
	}
	if s.Process == "" {
		if s.Instance != "" {
			c.Fault("instance", "is an instance of a process, and none is named")
		}
		if s.Trigger != "" {
			c.Fault("trigger", "is a button, rule or field of a process, and none is named")
		}
	} else if kind, what, ok := strings.Cut(s.Trigger, ":"); !ok || what == "" || kind != "button" && kind != "rule" && kind != "field" {
		c.Fault("trigger", "names what of the process to trigger: button:NAME, rule:NAME or field:NAME")
	}
	switch n := s.Secret.Len(); {
	case s.Secret.IsZero():
	case !s.OnDemand:
		c.Fault("secret", "signs requests of an on_demand schedule; this one is fired by the clock")
	case n < 32: // RFC 2104 §3 discourages keys shorter than the hash
		c.Warn("secret", "signs with %d bytes: 32 random ones cannot be guessed (openssl rand -hex 32)", n)
	}
	if p != nil && s.Process != "" && !c.faulted("trigger") {
		c.checkTarget(s, func(lifetime time.Duration) string {
			margin, _ := freshet.Policy{}.MarginFor(lifetime)
			return p.Lapses(time.Now(), lifetime, margin)
		})
	}
	if p == nil || s.Refresh == "" {
		return
	}
	if def := c.definition(s.Refresh); def != nil {
		lifetime, _ := lifetimeOf(def)
		margin, _ := def.Connection.Refresh.MarginFor(lifetime.D())
		if text := p.Lapses(time.Now(), lifetime.D(), margin); text != "" {
			c.Warn("refresh", "%s", text)
		}
	}
}

// definition returns a connection as it will be, without its secrets; nil if
// it does not read, which is said where it stands.
func (c *Check) definition(name string) *freshet.Definition {
	var spec []byte
	k := Key{kindConnection, name}
	if it := c.items[k]; it != nil {
		spec = it.Spec
	} else if row, ok := c.row(k); ok {
		spec = []byte(row.Spec)
	}
	var cn freshet.Connection
	if spec == nil || json.Unmarshal(spec, &cn) != nil {
		return nil
	}
	client := inPlace(&cn)
	if cn.Client != "" {
		if client = c.client(cn.Client); client == nil {
			return nil
		}
	}
	p := c.provider(client.Provider)
	if p == nil {
		return nil
	}
	def, problems := compose(parts{name: name, conn: &cn, client: client, provider: p})
	if len(problems) > 0 {
		return nil
	}
	return def
}

// Schedule returns a schedule with its secret. The error wraps
// freshet.ErrNotFound for a name that nobody declared.
func (b *Book) Schedule(ctx context.Context, name string) (*freshet.Schedule, error) {
	row, err := b.row(ctx, Key{kindSchedule, name})
	if err != nil {
		return nil, err
	}
	v, err := b.value(row)
	if err != nil {
		return nil, err
	}
	return v.(*freshet.Schedule), nil
}
