package schedule_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/schedule"
)

func minutes(n int) freshet.Duration { return freshet.Duration(n) * freshet.Duration(time.Minute) }

func compile(t testing.TB, s freshet.Schedule, anchor string) *schedule.Plan {
	t.Helper()
	p, err := schedule.Compile(&s, instant(t, anchor))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// firings are the next instants in the plan's zone, in short.
func firings(p *schedule.Plan, after time.Time, n int) string {
	var out []string
	for _, t := range p.Preview(after, 0, n) {
		out = append(out, t.In(p.Zone()).Format("01-02T15:04:05-07"))
	}
	return strings.Join(out, " ")
}

func TestNext(t *testing.T) {
	const anchor = "2026-01-01T00:00:00Z"
	for name, c := range map[string]struct {
		s     freshet.Schedule
		after string
		want  string
	}{
		"an interval counts from its anchor":     {freshet.Schedule{Every: minutes(55)}, "2026-01-01T00:00:00Z", "01-01T00:55:00+00 01-01T01:50:00+00"},
		"after an instant of its own":            {freshet.Schedule{Every: minutes(55)}, "2026-01-01T00:55:00Z", "01-01T01:50:00+00 01-01T02:45:00+00"},
		"just before one":                        {freshet.Schedule{Every: minutes(55)}, "2026-01-01T00:54:59Z", "01-01T00:55:00+00 01-01T01:50:00+00"},
		"before it was declared":                 {freshet.Schedule{Every: minutes(55)}, "2025-06-01T00:00:00Z", "01-01T00:55:00+00 01-01T01:50:00+00"},
		"an interval with a start":               {freshet.Schedule{Every: minutes(60), Start: "2026-01-02T10:30", Zone: "Europe/Dublin"}, anchor, "01-02T11:30:00+00 01-02T12:30:00+00"},
		"hourly":                                 {freshet.Schedule{Hourly: &freshet.Hourly{Minute: 15}}, anchor, "01-01T00:15:00+00 01-01T01:15:00+00"},
		"every sixth hour":                       {freshet.Schedule{Hourly: &freshet.Hourly{Minute: 5, Every: 6}}, anchor, "01-01T00:05:00+00 01-01T06:05:00+00"},
		"daily":                                  {freshet.Schedule{Daily: &freshet.Daily{At: "07:30"}, Zone: "America/New_York"}, anchor, "01-01T07:30:00-05 01-02T07:30:00-05"},
		"what falls on the start is fired":       {freshet.Schedule{Daily: &freshet.Daily{At: "07:30"}, Start: "2026-01-05T07:30"}, anchor, "01-05T07:30:00+00 01-06T07:30:00+00"},
		"every third day":                        {freshet.Schedule{Daily: &freshet.Daily{At: "23:59:58", Every: 3}}, anchor, "01-01T23:59:58+00 01-04T23:59:58+00"},
		"weekdays":                               {freshet.Schedule{Daily: &freshet.Daily{At: "09:00", Weekdays: true}}, "2026-01-02T09:00:00Z", "01-05T09:00:00+00 01-06T09:00:00+00"},
		"weekly":                                 {freshet.Schedule{Weekly: &freshet.Weekly{On: []freshet.Weekday{"thu", "mon"}, At: "8:00"}}, anchor, "01-01T08:00:00+00 01-05T08:00:00+00"},
		"every second week":                      {freshet.Schedule{Weekly: &freshet.Weekly{On: []freshet.Weekday{"mon", "sun"}, At: "08:00", Every: 2}}, anchor, "01-04T08:00:00+00 01-12T08:00:00+00 01-18T08:00:00+00 01-26T08:00:00+00"},
		"monthly on a day that some months lack": {freshet.Schedule{Monthly: &freshet.Monthly{Day: 31, At: "00:00"}}, anchor, "01-31T00:00:00+00 03-31T00:00:00+00 05-31T00:00:00+00"},
		"monthly on the last day":                {freshet.Schedule{Monthly: &freshet.Monthly{Day: -1, At: "00:00"}}, anchor, "01-31T00:00:00+00 02-28T00:00:00+00 03-31T00:00:00+00"},
		"monthly on a weekday":                   {freshet.Schedule{Monthly: &freshet.Monthly{Nth: 2, On: "tue", At: "10:00"}}, anchor, "01-13T10:00:00+00 02-10T10:00:00+00"},
		"monthly on the last friday":             {freshet.Schedule{Monthly: &freshet.Monthly{Nth: -1, On: "fri", At: "10:00"}}, anchor, "01-30T10:00:00+00 02-27T10:00:00+00"},
		"every third month":                      {freshet.Schedule{Monthly: &freshet.Monthly{Day: 1, At: "10:00", Every: 3}}, anchor, "01-01T10:00:00+00 04-01T10:00:00+00"},
		"once":                                   {freshet.Schedule{At: "2026-07-01T12:00", Zone: "Europe/Dublin"}, anchor, "07-01T12:00:00+01"},
		"once with an offset":                    {freshet.Schedule{At: "2026-07-01T12:00:00-03:00"}, anchor, "07-01T15:00:00+00"},
		"once, in a while":                       {freshet.Schedule{In: minutes(30)}, anchor, "01-01T00:30:00+00"},
		"once, long ago":                         {freshet.Schedule{At: "2025-07-01"}, anchor, ""},
		"on demand":                              {freshet.Schedule{OnDemand: true}, anchor, ""},
		"until a day's end":                      {freshet.Schedule{Daily: &freshet.Daily{At: "23:59:59"}, Expire: &freshet.Expire{By: "2026-01-02"}}, anchor, "01-01T23:59:59+00 01-02T23:59:59+00"},
		"until a count":                          {freshet.Schedule{Every: minutes(60), Expire: &freshet.Expire{After: 2}}, anchor, "01-01T01:00:00+00 01-01T02:00:00+00"},
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(t, c.s, anchor)
			n := max(len(strings.Fields(c.want)), 1)
			if strings.HasPrefix(name, "until") {
				n++
			}
			if got := firings(p, instant(t, c.after), n); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Changes of the clock: Dublin goes from 01:00 to 02:00 on 2026-03-29, and from
// 02:00 back to 01:00 on 2026-10-25. Lord Howe Island moves by half an hour,
// Santiago at midnight, and Samoa left out a day.
func TestChangesOfTheClock(t *testing.T) {
	for name, c := range map[string]struct {
		s     freshet.Schedule
		after string
		want  string
	}{
		"a time in the gap is fired at its end":     {freshet.Schedule{Daily: &freshet.Daily{At: "01:30"}, Zone: "Europe/Dublin"}, "2026-03-28T12:00:00Z", "03-29T02:00:00+01 03-30T01:30:00+01"},
		"so is it when asked within the gap's hour": {freshet.Schedule{Daily: &freshet.Daily{At: "01:30"}, Zone: "Europe/Dublin"}, "2026-03-29T00:59:59Z", "03-29T02:00:00+01"},
		"and not again":                       {freshet.Schedule{Daily: &freshet.Daily{At: "01:30"}, Zone: "Europe/Dublin"}, "2026-03-29T01:00:00Z", "03-30T01:30:00+01"},
		"a time in the fold is fired once":    {freshet.Schedule{Daily: &freshet.Daily{At: "01:30"}, Zone: "Europe/Dublin"}, "2026-10-24T12:00:00Z", "10-25T01:30:00+01 10-26T01:30:00+00"},
		"not in its second hour":              {freshet.Schedule{Daily: &freshet.Daily{At: "01:30"}, Zone: "Europe/Dublin"}, "2026-10-25T01:10:00Z", "10-26T01:30:00+00"},
		"times of named hours come once":      {freshet.Schedule{Cron: "0,30 1,2 * * *", Zone: "Europe/Dublin"}, "2026-10-25T00:00:00Z", "10-25T01:30:00+01 10-25T02:00:00+00 10-25T02:30:00+00 10-26T01:00:00+00"},
		"several in a gap are one":            {freshet.Schedule{Cron: "*/20 1 * * *", Zone: "Europe/Dublin"}, "2026-03-28T12:00:00Z", "03-29T02:00:00+01 03-30T01:00:00+01"},
		"every hour goes on through the fold": {freshet.Schedule{Hourly: &freshet.Hourly{Minute: 30}, Zone: "Europe/Dublin"}, "2026-10-24T23:00:00Z", "10-25T00:30:00+01 10-25T01:30:00+01 10-25T01:30:00+00 10-25T02:30:00+00"},
		"and over the gap":                    {freshet.Schedule{Hourly: &freshet.Hourly{Minute: 30}, Zone: "Europe/Dublin"}, "2026-03-29T00:00:00Z", "03-29T00:30:00+00 03-29T02:30:00+01"},
		"minutes of every hour go on":         {freshet.Schedule{Cron: "*/30 * * * *", Zone: "Europe/Dublin"}, "2026-10-25T00:00:00Z", "10-25T01:30:00+01 10-25T01:00:00+00 10-25T01:30:00+00 10-25T02:00:00+00"},
		"half an hour's gap":                  {freshet.Schedule{Daily: &freshet.Daily{At: "02:15"}, Zone: "Australia/Lord_Howe"}, "2026-10-03T00:00:00Z", "10-04T02:30:00+11 10-05T02:15:00+11"},
		"a day that was left out":             {freshet.Schedule{Daily: &freshet.Daily{At: "12:00"}, Zone: "Pacific/Apia", Start: "2011-12-29"}, "2011-12-01T00:00:00Z", "12-29T12:00:00-10 12-31T00:00:00+14 12-31T12:00:00+14"},
		"midnight that does not exist":        {freshet.Schedule{Daily: &freshet.Daily{At: "00:00"}, Zone: "America/Santiago"}, "2026-09-05T12:00:00Z", "09-06T01:00:00-03 09-07T00:00:00-03"},
		"midnight that comes twice":           {freshet.Schedule{Daily: &freshet.Daily{At: "23:30"}, Zone: "America/Santiago"}, "2026-04-04T12:00:00Z", "04-04T23:30:00-03 04-05T23:30:00-04"},
	} {
		t.Run(name, func(t *testing.T) {
			p := compile(t, c.s, "2009-01-01T00:00:00Z")
			if got := firings(p, instant(t, c.after), len(strings.Fields(c.want))); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestCron(t *testing.T) {
	const after = "2026-01-01T00:00:00Z" // a Thursday
	for expr, want := range map[string]string{
		"*/5 * * * *":           "01-01T00:05:00 01-01T00:10:00",
		"0 9 * * MON-FRI":       "01-01T09:00:00 01-02T09:00:00 01-05T09:00:00",
		"0 9 * * fri-mon":       "01-02T09:00:00 01-03T09:00:00 01-04T09:00:00 01-05T09:00:00 01-09T09:00:00",
		"0 0 13 * FRI":          "01-02T00:00:00 01-09T00:00:00 01-13T00:00:00", // crontab: either
		"0 0 13 * *":            "01-13T00:00:00 02-13T00:00:00",
		"0 0 * * 7":             "01-04T00:00:00 01-11T00:00:00",
		"0 0 * * 0":             "01-04T00:00:00 01-11T00:00:00",
		"0 0 * * 1/2":           "01-02T00:00:00 01-05T00:00:00 01-07T00:00:00 01-09T00:00:00",
		"0 0 * * 5#2":           "01-09T00:00:00 02-13T00:00:00",
		"0 0 * * 5L":            "01-30T00:00:00 02-27T00:00:00",
		"0 0 L * *":             "01-31T00:00:00 02-28T00:00:00",
		"0 0 29 2 *":            "02-29T00:00:00",
		"@daily":                "01-02T00:00:00 01-03T00:00:00",
		"@Weekly":               "01-04T00:00:00",
		"0 0/10 * ? * * *":      "01-01T00:10:00 01-01T00:20:00",
		"0 0/10 * ? * *":        "01-01T00:10:00 01-01T00:20:00",
		"*/20 * * * * ?":        "01-01T00:00:20 01-01T00:00:40 01-01T00:01:00",
		"0 15 10 ? * 6":         "01-02T10:15:00 01-09T10:15:00", // Quartz: Friday
		"0 15 10 ? * 1":         "01-04T10:15:00",                // Sunday
		"0 15 10 ? * 2-6":       "01-01T10:15:00 01-02T10:15:00 01-05T10:15:00",
		"0 15 10 ? * 2/2":       "01-02T10:15:00 01-05T10:15:00 01-07T10:15:00 01-09T10:15:00",
		"0 15 10 ? * 6#3":       "01-16T10:15:00 02-20T10:15:00",
		"0 15 10 ? * FRI#3":     "01-16T10:15:00",
		"0 15 10 ? * 6L":        "01-30T10:15:00",
		"0 15 10 ? * L":         "01-03T10:15:00 01-10T10:15:00",
		"0 15 10 L-2 * ?":       "01-29T10:15:00 02-26T10:15:00",
		"0 15 10 LW * ?":        "01-30T10:15:00 02-27T10:15:00",
		"0 15 10 1W * ?":        "01-01T10:15:00 02-02T10:15:00",
		"0 15 10 15W 2-3 ?":     "02-16T10:15:00 03-16T10:15:00",
		"0 15 10 31W 2,5 ?":     "05-29T10:15:00",
		"0 30/40 10 * * ?":      "01-01T10:30:00 01-02T10:30:00",
		"0 0 12 1 1 ? 2028":     "01-01T12:00:00",
		"0 0 12 1 1 ? 2027/2":   "01-01T12:00:00 01-01T12:00:00",
		"0 0 12 29 2 ? 2027-40": "!",
		"0 0 12 ? 1 MON 2030":   "01-07T12:00:00",
		// What does not mean anything, and what would mean something else.
		"":                                      "!",
		"* * * *":                               "! has 4 fields",
		"* * * * * * * *":                       "! has 8 fields",
		"60 * * * *":                            "!",
		"* 24 * * *":                            "!",
		"* * 0 * *":                             "!",
		"* * * 13 *":                            "!",
		"* * * * 8":                             "!",
		"0 0 0 ? * 0":                           "! 1 (Sunday)",
		"0 0 0 ? * 8":                           "!",
		"0 0 0 13 * FRI":                        "! one of them must be ?",
		"0 0 0 ? * ?":                           "! both",
		"? * * * *":                             "! ? stands alone",
		"0 0 0 ?/2 * *":                         "!",
		"* * * * MONDAY":                        "!",
		"*/0 * * * *":                           "!",
		"*/-1 * * * *":                          "!",
		"1,,2 * * * *":                          "! empty element",
		"0 0 30 2 *":                            "! never comes",
		"0 0 0 30 2 ? *":                        "! never comes",
		"0 0 12 1 1 ? 1999":                     "! never comes",
		"0 0 12 1 1 ? 1-99999999":               "! year",
		"TZ=0 * * * * *":                        "! give it as zone",
		"CRON_TZ=UTC * * * * *":                 "! give it as zone",
		"TZ=":                                   "! zone",
		"@every 5m":                             "! give it as every",
		"@reboot":                               "! @hourly",
		"H * * * *":                             "!",
		"0 0 0 1C * ?":                          "!",
		"* * * * *; rm":                         "!",
		strings.Repeat("1,", 600) + "1 * * * *": "! longer",
	} {
		p, err := schedule.Compile(&freshet.Schedule{Cron: expr}, instant(t, after))
		if expr == "" {
			p, err = schedule.Compile(&freshet.Schedule{Cron: " "}, instant(t, after))
		}
		if part, refused := strings.CutPrefix(want, "!"); refused {
			if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(part)) || !strings.HasPrefix(err.Error(), "cron: ") {
				t.Errorf("%q: %v, want an error that says %q", expr, err, part)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		got := firings(p, instant(t, after), len(strings.Fields(want)))
		if got = strings.ReplaceAll(got, "+00", ""); got != want {
			t.Errorf("%q\n got %s\nwant %s", expr, got, want)
		}
	}
}

func TestFaultsNameTheField(t *testing.T) {
	for want, s := range map[string]freshet.Schedule{
		"says not when":              {},
		"hourly: is given beside ev": {Every: minutes(5), Hourly: &freshet.Hourly{}},
		"on_demand: is given beside": {At: "2026-01-01", OnDemand: true},
		"every: 500":                 {Every: freshet.Duration(500 * time.Millisecond)},
		"zone: \"Mars/Base\"":        {Every: minutes(5), Zone: "Mars/Base"},
		"zone: is not":               {Every: minutes(5), Zone: "Local"},
		"zone: \"../../etc/passwd\"": {Every: minutes(5), Zone: "../../etc/passwd"},
		"start: \"soon\"":            {Every: minutes(5), Start: "soon"},
		"expire: needs":              {Every: minutes(5), Expire: &freshet.Expire{}},
		"expire.after: is":           {Every: minutes(5), Expire: &freshet.Expire{After: -1}},
		"expire.by: \"32":            {Every: minutes(5), Expire: &freshet.Expire{By: "32 May"}},
		"hourly.minute: 60":          {Hourly: &freshet.Hourly{Minute: 60}},
		"hourly.every: 24":           {Hourly: &freshet.Hourly{Every: 24}},
		"daily.at: \"25:00\"":        {Daily: &freshet.Daily{At: "25:00"}},
		"daily.at: \"\"":             {Daily: &freshet.Daily{}},
		"daily.at: \"7:5\"":          {Daily: &freshet.Daily{At: "7:5"}},
		"daily.every: is given":      {Daily: &freshet.Daily{At: "7:05", Weekdays: true, Every: 2}},
		"weekly.on: needs":           {Weekly: &freshet.Weekly{At: "07:00"}},
		"weekly.on[1]: \"someday\"":  {Weekly: &freshet.Weekly{At: "07:00", On: []freshet.Weekday{"mon", "someday"}}},
		"monthly: needs":             {Monthly: &freshet.Monthly{At: "07:00"}},
		"monthly.day: 32":            {Monthly: &freshet.Monthly{At: "07:00", Day: 32}},
		"monthly.day: is given":      {Monthly: &freshet.Monthly{At: "07:00", Day: 3, On: "mon"}},
		"monthly.nth: 6":             {Monthly: &freshet.Monthly{At: "07:00", Nth: 6, On: "mon"}},
		"at: \"tomorrow\"":           {At: "tomorrow"},
		"in: is":                     {In: -1},
	} {
		_, err := schedule.Compile(&s, instant(t, "2026-01-01T00:00:00Z"))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestWords(t *testing.T) {
	for want, s := range map[string]freshet.Schedule{
		"every 55 minutes": {Every: minutes(55)},
		"every hour":       {Every: minutes(60)},
		"every 1 hour 30 minutes, from 2026-02-01 00:00 UTC, until 2026-12-31 23:59:59 UTC, 10 times": {Every: minutes(90), Start: "2026-02-01", Expire: &freshet.Expire{By: "2026-12-31", After: 10}},
		"every 2 days":                                  {Every: minutes(2 * 24 * 60)},
		"every hour at minute 15 Europe/Dublin":         {Hourly: &freshet.Hourly{Minute: 15}, Zone: "Europe/Dublin"},
		"every 6 hours at minute 0":                     {Hourly: &freshet.Hourly{Every: 6}},
		"every day at 07:30":                            {Daily: &freshet.Daily{At: "07:30"}},
		"every 2 days at 07:30":                         {Daily: &freshet.Daily{At: "07:30", Every: 2}},
		"Monday to Friday at 07:30":                     {Daily: &freshet.Daily{At: "07:30", Weekdays: true}},
		"every Monday and Thursday at 07:30":            {Weekly: &freshet.Weekly{At: "07:30", On: []freshet.Weekday{"mon", "thu"}}},
		"Friday of every 2 weeks at 07:30":              {Weekly: &freshet.Weekly{At: "07:30", On: []freshet.Weekday{"fri"}, Every: 2}},
		"on day 3 of every month at 07:30":              {Monthly: &freshet.Monthly{At: "07:30", Day: 3}},
		"on the last day of every month at 07:30":       {Monthly: &freshet.Monthly{At: "07:30", Day: -1}},
		"on the last Friday of every 3 months at 07:30": {Monthly: &freshet.Monthly{At: "07:30", Nth: -1, On: "fri", Every: 3}},
		"cron 0 0/10 * ? * * *":                         {Cron: "0 0/10 * ? * * *"},
		"once at 2026-07-01 12:00 IST":                  {At: "2026-07-01T12:00", Zone: "Europe/Dublin"},
		"once at 2026-01-01 00:30 UTC":                  {In: minutes(30)},
		"on demand":                                     {OnDemand: true},
	} {
		if got := compile(t, s, "2026-01-01T00:00:00Z").Words(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLatest(t *testing.T) {
	at := func(s string) time.Time { return instant(t, s) }
	for name, c := range map[string]struct {
		s          freshet.Schedule
		first, now string
		most       int
		last       string
		n          int
	}{
		"just due":                 {freshet.Schedule{Every: minutes(55)}, "2026-01-01T00:55:00Z", "2026-01-01T00:55:00Z", 10, "2026-01-01T00:55:00Z", 1},
		"an interval":              {freshet.Schedule{Every: minutes(55)}, "2026-01-01T00:55:00Z", "2026-01-01T03:00:00Z", 10, "2026-01-01T02:45:00Z", 3},
		"on the instant":           {freshet.Schedule{Every: minutes(55)}, "2026-01-01T00:55:00Z", "2026-01-01T02:45:00Z", 10, "2026-01-01T02:45:00Z", 3},
		"a century of seconds":     {freshet.Schedule{Every: freshet.Duration(time.Second)}, "2026-01-01T00:00:01Z", "2126-01-01T00:00:00.5Z", 1000, "2126-01-01T00:00:00Z", 1000},
		"an interval that ended":   {freshet.Schedule{Every: minutes(55), Expire: &freshet.Expire{By: "2026-01-01T02:00"}}, "2026-01-01T00:55:00Z", "2026-01-02T00:00:00Z", 10, "2026-01-01T01:50:00Z", 2},
		"days":                     {freshet.Schedule{Daily: &freshet.Daily{At: "07:00"}}, "2026-01-01T07:00:00Z", "2026-01-04T06:00:00Z", 10, "2026-01-03T07:00:00Z", 3},
		"more than anybody counts": {freshet.Schedule{Cron: "* * * * * *"}, "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", 50, "2026-03-01T00:00:00Z", 50},
		"and those that are rarer": {freshet.Schedule{Daily: &freshet.Daily{At: "07:00"}}, "2026-01-01T07:00:00Z", "2027-03-01T06:00:00Z", 50, "2027-02-28T07:00:00Z", 50},
		"once":                     {freshet.Schedule{At: "2026-01-01T07:00"}, "2026-01-01T07:00:00Z", "2027-03-01T06:00:00Z", 50, "2026-01-01T07:00:00Z", 1},
	} {
		last, n := compile(t, c.s, "2026-01-01T00:00:00Z").Latest(at(c.first), at(c.now), c.most)
		if !last.Equal(at(c.last)) || n != c.n {
			t.Errorf("%s: %v, %d; want %s, %d", name, last, n, c.last, c.n)
		}
	}
}

func TestLapses(t *testing.T) {
	from := instant(t, "2026-01-01T00:00:00Z")
	t.Run("cap135 an interval longer than the lifetime less the margin", func(t *testing.T) {
		for _, c := range []struct {
			s                freshet.Schedule
			lifetime, margin time.Duration
			warns            bool
		}{
			{freshet.Schedule{Every: minutes(55)}, time.Hour, 30 * time.Second, false},
			{freshet.Schedule{Every: minutes(55)}, time.Hour, 5 * time.Minute, false},
			{freshet.Schedule{Every: minutes(55)}, time.Hour, 5*time.Minute + time.Second, true},
			{freshet.Schedule{Every: minutes(60)}, time.Hour, 30 * time.Second, true},
			{freshet.Schedule{Every: minutes(60)}, 0, 30 * time.Second, false},
			{freshet.Schedule{Cron: "*/55 * * * *"}, 56 * time.Minute, 30 * time.Second, false},
			{freshet.Schedule{Daily: &freshet.Daily{At: "07:00", Weekdays: true}}, 48 * time.Hour, 0, true}, // over the weekend
			{freshet.Schedule{At: "2026-05-01"}, time.Hour, 0, false},
			{freshet.Schedule{OnDemand: true}, time.Hour, 0, false},
		} {
			if got := compile(t, c.s, "2026-01-01T00:00:00Z").Lapses(from, c.lifetime, c.margin); (got != "") != c.warns {
				t.Errorf("%+v with %v: %q", c.s, c.lifetime, got)
			}
		}
	})
}

func TestF65_every_local_time_is_fired_once(t *testing.T) {
	zones := []string{"", "Europe/Dublin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca", "Asia/Tehran"}
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(zones).Draw(t, "zone")
		s := freshet.Schedule{Zone: zone, Daily: &freshet.Daily{At: fmt.Sprintf("%02d:%02d", rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute"))}}
		from := time.Unix(rapid.Int64Range(1_330_000_000, 2_500_000_000).Draw(t, "from"), 0)
		p, err := schedule.Compile(&s, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		last := from
		for i := range 400 {
			at, ok := p.Next(last)
			if !ok || !at.After(last) {
				t.Fatalf("after %v comes %v", last, at)
			}
			// Days are a day apart, as clocks count, give or take what was changed.
			if d := at.Sub(last); i > 0 && (d < 22*time.Hour || d > 36*time.Hour+time.Hour) {
				t.Fatalf("%v pass from %v to %v", d, last.In(p.Zone()), at.In(p.Zone()))
			}
			if got := at.In(p.Zone()).Format("15:04"); got != s.Daily.At {
				start, _ := at.In(p.Zone()).ZoneBounds()
				if !start.Equal(at) {
					t.Fatalf("%v is neither %s nor the end of a gap", at.In(p.Zone()), s.Daily.At)
				}
			}
			// Next depends on the instant alone: asked from in between it answers the same.
			mid := last.Add(at.Sub(last) / 2)
			if again, _ := p.Next(mid); !again.Equal(at) {
				t.Fatalf("after %v comes %v, after %v %v", last, at, mid, again)
			}
			last = at
		}
	})
}

func FuzzCron(f *testing.F) {
	for _, s := range []string{"*/5 * * * *", "0 0/10 * ? * * *", "TZ=0", "TZ=0 * * * * *", "CRON_TZ=/ 1", "@every 0", "0 0 L-40 * ?", "0 0 0 32W * ?", "0 0 0 ? * 6#9", "-", "1-/2 * * * *", "59-0/59 * * * *",
		"0 0 29 2 1", "0 0 0 ? * MON 2199", "99999999999999999999 * * * *", "* * * * 7-7", "0 0 31W 2 *", "*/18446744073709551615 * * * *"} {
		f.Add(s, "Europe/Dublin")
	}
	f.Add("0 2 * * *", "TZ=0")
	f.Fuzz(func(t *testing.T, expr, zone string) {
		p, err := schedule.Compile(&freshet.Schedule{Cron: expr, Zone: zone}, time.Unix(1_700_000_000, 0))
		if err != nil {
			return
		}
		after := time.Unix(1_774_000_000, 0)
		for range 5 {
			at, ok := p.Next(after)
			if !ok {
				return
			}
			if !at.After(after) {
				t.Fatalf("%q in %q: after %v comes %v", expr, zone, after, at)
			}
			after = at
		}
	})
}
