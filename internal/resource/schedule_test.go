package resource_test

import (
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/resource"
)

func TestSchedules(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, acme, nil)
	const file = `schedules:
  keep-crm-fresh: {every: 55m, refresh: crm}
  "Keep the token fresh / nightly": {daily: "02:30", zone: Europe/Dublin, refresh: crm, owner: ann, expire: {by: 2027-01-31, after: 10}}
  a: {hourly: 15, refresh: crm}
  b: {weekly: {on: mon, at: 07:30}, refresh: crm}
  c: {monthly: {nth: -1, on: fri, at: 07:30}, refresh: crm, paused: true}
  d: {cron: "0 0/10 * ? * * *", refresh: crm}
  e: {at: 2027-01-31T18:00:00Z, refresh: crm}
  f: {on_demand: true, secret: 0123456789abcdef0123456789abcdef, refresh: crm}
`
	if got := must(t, b, file, nil); strings.Count(got, "created schedules/") != 8 {
		t.Error(got)
	}
	if got := must(t, b, file, nil); strings.Count(got, "unchanged schedules/") != 8 {
		t.Error(got)
	}
	s, err := b.Schedule(t.Context(), "f")
	if err != nil || s.Secret.Reveal() != "0123456789abcdef0123456789abcdef" || !s.OnDemand {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := b.Schedule(t.Context(), "b"); err != nil || len(s.Weekly.On) != 1 || s.Weekly.On[0] != freshet.Weekday("mon") || s.Weekly.At != "07:30" {
		t.Errorf("%+v, %v", s, err)
	}
	if err := b.Delete(t.Context(), resource.Key{Kind: "connections", Name: "crm"}); err == nil || !strings.Contains(err.Error(), `is used by `) {
		t.Errorf("a connection that schedules refresh is deleted: %v", err)
	}
	for text, want := range map[string]string{
		"schedules: {a: {every: 55m, refresh: cmr}}":                                   `test.yaml:1:38: schedules.a.refresh: there is no connection "cmr"; did you mean "crm"?`,
		"schedules: {a: {every: 55m}}":                                                 `schedules.a: says not what to do`,
		"schedules: {a: {refresh: crm}}":                                               `schedules.a: says not when`,
		"schedules: {a: {every: 55m, daily: 07:30, refresh: crm}}":                     `test.yaml:1:36: schedules.a.daily: is given beside every`,
		"schedules: {a: {every: 55m, refresh: crm, secret: x}}":                        `schedules.a.secret: signs requests of an on_demand schedule`,
		"schedules: {a: {every: 55m, refresh: crm, input: {}}}":                        `schedules.a.input: goes to a workflow`,
		"schedules: {a: {weekly: {on: [someday], at: 07:30}, refresh: crm}}":           `"someday" is not known`,
		"schedules: {a: {monthly: {day: 32, at: 07:30}, refresh: crm}}":                `test.yaml:1:32: schedules.a.monthly.day: 32 is not a day`,
		"schedules: {a: {cron: '0 0 30 2 *', refresh: crm}}":                           `schedules.a.cron: never comes`,
		"schedules: {a: {every: 55m, refresh: crm, workflow: W}}":                      `schedules.a.workflow: is given beside refresh`,
		"schedules: {a: {every: 55m, process: P, trigger: Refresh}}":                   `schedules.a.trigger: names what of the process`,
		"schedules: {' a': {every: 55m, refresh: crm}}":                                `the name of a schedule is one line`,
		"schedules: {\"a\\nb\": {every: 55m, refresh: crm}}":                           `the name of a schedule is one line`,
		"schedules: {'..': {every: 55m, refresh: crm}}":                                `cannot be part of an address`,
		"schedules: {a: {every: 55m, refresh: crm, instance: P-1}}":                    `schedules.a.instance: is an instance of a process`,
		"schedules: {a: {every: 55m, process: P, trigger: 'button:R', instance: P-1}}": `schedules.a.process: `,
	} {
		if _, err := apply(t, b, text, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestAScheduleThatIsTooSlowWarns(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	must(t, b, acme, nil)
	for text, warns := range map[string]bool{
		"refresh: {lifetime: 1h}, client: acme}}\nschedules: {a: {every: 55m, refresh: crm}}": false,
		"refresh: {lifetime: 1h}, client: acme}}\nschedules: {a: {every: 60m, refresh: crm}}": true,
		"client: acme}}\nschedules: {a: {every: 600m, refresh: crm}}":                         false,
	} {
		set, err := decode(t, "connections: {crm: {grant: client_credentials, "+text, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := b.Apply(t.Context(), set, false)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, w := range res.Warnings {
			got += w.Error()
		}
		if strings.Contains(got, "schedules.a.refresh: up to 1h pass") != warns {
			t.Errorf("%s: warnings %q", text, got)
		}
	}
}
