package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/emulator"
)

// All is every profile, with those that take minutes.
const All = "all"

// Options say what to measure.
type Options struct {
	Profile string    // one of Profiles, or All; "" is those that take seconds
	Exe     string    // this binary
	Out     io.Writer // progress and the table
	JSON    bool      // the report as JSON on Out, progress on Log
	Log     io.Writer // what children say
	Report  string    // a Markdown file to write; "": none
	Version string
	// DatabaseURL is an empty PostgreSQL for the profiles that can use one; "":
	// the embedded store.
	DatabaseURL string
	Rounds      int           // paired rounds; 0: 7
	Each        time.Duration // of one round; 0: 1 s
}

// A Row is one figure.
type Row struct {
	Profile string  `json:"profile"`
	Name    string  `json:"name"`
	Value   string  `json:"value"`
	Ratio   float64 `json:"ratio,omitempty"` // ours to the baseline
	Goal    string  `json:"goal,omitempty"`
	Met     *bool   `json:"met,omitempty"`
}

// A Report is one run.
type Report struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Machine string    `json:"machine"`
	Rows    []Row     `json:"rows"`
}

type profile struct {
	name   string
	doc    string
	run    func(*runner, context.Context) error
	long   bool // minutes, and gigabytes: only if it is named, or all are
	shared bool // it can use a PostgreSQL
}

var profiles = []profile{
	{"reads", "token reads over HTTP, against a bare handler that answers the same bytes", (*runner).reads, false, false},
	{"proxy", "proxied calls, against httputil.ReverseProxy with x/oauth2.Transport", (*runner).proxied, false, false},
	{"inprocess", "cached reads in a Go program, against x/oauth2.ReuseTokenSource", (*runner).inprocess, false, false},
	{"waiters", "5,000 callers of one expired token", (*runner).waiters, false, false},
	{"storm", "one token read by an open loop of 1,000 a second, times counted from when each read was due: at rest, while 10,000 other connections are refreshed, and while a provider hangs", (*runner).storm, false, true},
	{"workflow", "runs of an imported workflow, with its journal", (*runner).workflow, false, true},
	{"start", "cold start on an existing store, and memory at rest", (*runner).startup, false, false},
	{"scale", "100,000 connections: start and memory", (*runner).scale, false, true},
	{"million", "1,000,000 connections: start, memory, and what it costs to look for those that are due", (*runner).million, true, true},
	{"replicas", "refreshes with a fast provider by one, two and three servers over one PostgreSQL", (*runner).replicas, true, true},
}

// Profiles lists the names.
func Profiles() (names []string) {
	for _, p := range profiles {
		names = append(names, p.name)
	}
	return names
}

type runner struct {
	o       Options
	dir     string
	report  Report
	cleanup []func()
}

func (r *runner) later(f func()) { r.cleanup = append(r.cleanup, f) }

func (r *runner) progress(format string, args ...any) {
	w := r.o.Out
	if r.o.JSON {
		w = r.o.Log
	}
	fmt.Fprintf(w, format+"\n", args...)
}

func (r *runner) add(row Row) {
	r.report.Rows = append(r.report.Rows, row)
	r.progress("  %-44s %s%s", row.Name, row.Value, mark(row))
}

func mark(row Row) string {
	if row.Goal == "" {
		return ""
	}
	if row.Met != nil && !*row.Met {
		return "   (goal " + row.Goal + ": missed)"
	}
	return "   (goal " + row.Goal + ")"
}

// Run measures and reports.
func Run(ctx context.Context, o Options) error {
	if o.Rounds == 0 {
		o.Rounds = 7
	}
	if o.Each == 0 {
		o.Each = time.Second
	}
	if o.Profile != "" && o.Profile != All && !slices.Contains(Profiles(), o.Profile) {
		return fmt.Errorf("no profile %q: there are %s, and %s", o.Profile, strings.Join(Profiles(), ", "), All)
	}
	dir, err := os.MkdirTemp("", "freshet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &runner{o: o, dir: dir, report: Report{At: time.Now().UTC().Truncate(time.Second), Version: o.Version,
		Machine: fmt.Sprintf("%d cores, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())}}
	for _, p := range profiles {
		if o.Profile == "" && p.long || o.Profile != "" && o.Profile != All && o.Profile != p.name {
			continue
		}
		r.progress("%s: %s", p.name, p.doc)
		err := p.run(r, ctx)
		for i := len(r.cleanup) - 1; i >= 0; i-- {
			r.cleanup[i]()
		}
		r.cleanup = nil
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if o.JSON {
		enc := json.NewEncoder(o.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r.report); err != nil {
			return err
		}
	}
	if o.Report != "" {
		return r.write(o.Report)
	}
	return nil
}

// provider starts a fast emulator whose tokens live for life.
func (r *runner) provider(life time.Duration) (*emulator.Emulator, string, error) {
	em, err := emulator.New(emulator.Options{Fast: true, Default: emulator.Profile{Lifetime: duration(life)}})
	if err != nil {
		return nil, "", err
	}
	base, err := em.Start("127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	r.later(func() { em.Close() })
	return em, base, nil
}

// config writes a resource file with one machine connection named crm.
func (r *runner) config(name, provider, api string) (string, error) {
	path := filepath.Join(r.dir, name+".yaml")
	text := fmt.Sprintf(`network: { allow: ["127.0.0.0/8"] }
providers:
  p: { token_url: %q, client_auth: basic }
clients:
  c: { provider: p, id: bench, secret: bench-secret-of-some-length }
connections:
  crm: { client: c, grant: client_credentials, api: { base_url: %q } }
`, provider+"/token", api)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// database are the flags that choose the store.
func (r *runner) database() []string {
	if r.o.DatabaseURL == "" {
		return nil
	}
	return []string{"--database-url", r.o.DatabaseURL}
}

func (r *runner) data(name string) string { return filepath.Join(r.dir, name) }

func goal(ok bool) *bool { return &ok }

func rate(v float64) string { return fmt.Sprintf("%.1f k/s", v/1000) }

// pairRow reports a comparison.
func (r *runner) pairRow(profile, name, baseline string, p pair, least float64) {
	ours, base := typical(p.ours), typical(p.base)
	ratio := p.ratio()
	row := Row{Profile: profile, Name: name, Ratio: ratio,
		Value: fmt.Sprintf("%.2f of %s (%s, p50 %v, p99 %v; baseline %s, p50 %v, p99 %v)", ratio, baseline, rate(ours.perSecond),
			ours.p50.Round(time.Microsecond), ours.p99.Round(time.Microsecond), rate(base.perSecond), base.p50.Round(time.Microsecond), base.p99.Round(time.Microsecond))}
	if least > 0 {
		row.Goal, row.Met = fmt.Sprintf("≥ %.2f", least), goal(ratio >= least)
	}
	r.add(row)
}
