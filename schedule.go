package freshet

// A Schedule fires a target at instants. Exactly one of Every, Hourly, Daily,
// Weekly, Monthly, Cron, At, In and OnDemand says when, and exactly one of
// Refresh, Workflow and Process says what. Every counts absolute time; the
// others name times of the clock in Zone.
type Schedule struct {
	Every    Duration `json:"every,omitempty"`     // an interval, the same across changes of the clock: 55m, 12h, 2d
	Hourly   *Hourly  `json:"hourly,omitempty"`    // every hour at a minute: 15, or an object
	Daily    *Daily   `json:"daily,omitempty"`     // at a time of day: 07:30, or an object
	Weekly   *Weekly  `json:"weekly,omitempty"`    // on weekdays, at a time of day
	Monthly  *Monthly `json:"monthly,omitempty"`   // on a day or the nth weekday of the month
	Cron     string   `json:"cron,omitempty"`      // 5 fields as crontab has them, or 6 to 7 as Quartz: seconds first, year last
	At       string   `json:"at,omitempty"`        // once: 2027-01-31T18:00, in Zone unless it ends in Z or an offset
	In       Duration `json:"in,omitempty"`        // once: so long after it was declared
	OnDemand bool     `json:"on_demand,omitempty"` // by a signed POST to /hooks/schedules/NAME, or by hand

	Zone   string  `json:"zone,omitempty"`   // Europe/Dublin; empty is UTC
	Start  string  `json:"start,omitempty"`  // nothing before, and where intervals count from; empty: when it was declared
	Expire *Expire `json:"expire,omitempty"` // when it ends by itself; left out: never
	Paused bool    `json:"paused,omitempty"` // declared, and not fired by the clock
	Secret Secret  `json:"secret,omitzero"`  // of on_demand: signs each request, HMAC-SHA256 over timestamp and body

	Refresh  string `json:"refresh,omitempty"`  // a connection: a forced refresh
	Workflow string `json:"workflow,omitempty"` // a workflow: a run of it
	Input    any    `json:"input,omitempty"`    // what the workflow gets
	Process  string `json:"process,omitempty"`  // a process
	Instance string `json:"instance,omitempty"` // of the process; empty: a new one each time
	Trigger  string `json:"trigger,omitempty"`  // of the process: button:NAME, rule:NAME or field:NAME

	Owner       string `json:"owner,omitempty"`       // who answers for it
	Description string `json:"description,omitempty"` // for people
}

// Hourly is every hour at a minute.
type Hourly struct {
	Minute int `json:"minute,omitempty"` // 0 to 59
	Every  int `json:"every,omitempty"`  // hours, counted from midnight; 0: 1
}

// Daily is a time of day.
type Daily struct {
	At       string `json:"at"`                 // 07:30, or 07:30:15
	Every    int    `json:"every,omitempty"`    // days, counted from the start; 0: 1
	Weekdays bool   `json:"weekdays,omitempty"` // Monday to Friday
}

// Weekly is a time on days of the week.
type Weekly struct {
	On    []Weekday `json:"on"`              // mon, tue, wed, thu, fri, sat, sun
	At    string    `json:"at"`              // 07:30
	Every int       `json:"every,omitempty"` // weeks, counted from the start; 0: 1
}

// Monthly is a time on one day of the month.
type Monthly struct {
	Day   int     `json:"day,omitempty"`   // 1 to 31; months that are shorter have none; -1: the last
	Nth   int     `json:"nth,omitempty"`   // with On: the first to the fifth; -1: the last
	On    Weekday `json:"on,omitempty"`    // with Nth
	At    string  `json:"at"`              // 07:30
	Every int     `json:"every,omitempty"` // months, counted from the start; 0: 1
}

// Expire is when a schedule ends by itself: at whichever comes first.
type Expire struct {
	By    string `json:"by,omitempty"`    // a date, whose end is meant, or an instant as At
	After int    `json:"after,omitempty"` // so many firings
}

// A Weekday is a day of the week by its first three letters.
type Weekday string

// Weekdays lists the days of the week, Sunday first as time.Weekday counts.
var Weekdays = []Weekday{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
