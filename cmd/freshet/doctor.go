package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/doctor"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

type doctorCmd struct {
	remote        `embed:""`
	format        `embed:""`
	DatabaseURL   string `env:"FRESHET_DATABASE_URL" placeholder:"URL" group:"server" help:"The PostgreSQL of servers that do not run."`
	MasterKeyFile string `env:"FRESHET_MASTER_KEY_FILE" placeholder:"FILE" group:"server" help:"Where the master key is, for a server that does not run; without it DIR/master.key."`
}

// Help gives the example that --help shows.
func (doctorCmd) Help() string {
	return example("freshet doctor", "Looks at the data directory, the store, the keys, the clock, the way to every provider, certificates and connections, of a server that runs or of one that does not, and changes nothing. Hosts are asked for their root without a credential. Exit code 1 when something is wrong.")
}

// doctorTime bounds a whole examination.
const doctorTime = 5 * time.Minute

// Run examines the installation.
func (c *doctorCmd) Run(e *env) error {
	ctx, cancel := context.WithTimeout(e.ctx, doctorTime)
	defer cancel()
	p := newProgress(e.stderr)
	var r doctor.Report
	local := c.local()
	if local {
		p.step("looking at %s", c.Data)
		r = append(r, doctor.Directory(c.Data)...)
	}
	p.step("asking the server")
	found, running := c.server(ctx, e)
	r = append(r, found...)
	if local && (!running || c.URL == "") {
		if _, err := os.Stat(c.Data); err == nil {
			p.step("reading the store")
			f := doctor.Finding{Check: "store", Level: doctor.OK, Detail: "it is PostgreSQL"}
			if c.DatabaseURL == "" {
				f = doctor.File(ctx, c.Data)
			}
			r = append(r, f)
			if !running && f.Level != doctor.Problem {
				p.step("looking at connections and providers")
				r = append(r, c.offline(ctx)...)
			}
		}
	}
	p.done()
	if err := e.ctx.Err(); err != nil {
		return err
	}
	return printReport(e, r, c.json())
}

// local reports whether a data directory is part of the question.
func (c *doctorCmd) local() bool {
	if c.URL == "" {
		return true
	}
	_, err := os.Stat(c.Data)
	return err == nil
}

// server asks a running server; running is false if none answers.
func (c *doctorCmd) server(ctx context.Context, e *env) (r doctor.Report, running bool) {
	cl, err := c.client(e)
	if errors.Is(err, errNoServer) {
		return doctor.Report{{Check: "server", Level: doctor.Warning, Detail: "none runs on " + c.Data, Do: "start it with freshet serve, or name another with --url"}}, false
	}
	if err != nil {
		_, hint := advise(err)
		return doctor.Report{{Check: "server", Level: doctor.Problem, Detail: text(err), Do: hint}}, false
	}
	base, _ := c.base()
	var out struct {
		Findings doctor.Report `json:"findings"`
	}
	err = cl.Do(ctx, http.MethodGet, "/api/v1/doctor", nil, &out)
	var gone *api.UnreachableError
	switch {
	case errors.As(err, &gone):
		return doctor.Report{{Check: "server", Level: doctor.Problem, Detail: text(err), Do: "start it with freshet serve, or look at its log"}}, false
	case err != nil:
		_, hint := advise(err)
		return doctor.Report{{Check: "server", Level: doctor.Problem, Detail: base + " answers: " + text(err), Do: hint}}, true
	}
	return append(doctor.Report{{Check: "server", Level: doctor.OK, Detail: base + " answers"}}, out.Findings...), true
}

// offline looks behind the keys of a store that no server uses.
func (c *doctorCmd) offline(ctx context.Context) doctor.Report {
	place, err := (&serveCmd{Data: c.Data, MasterKeyFile: c.MasterKeyFile}).masterKey()
	if err != nil {
		return keyFinding(err)
	}
	st, err := c.open(ctx)
	if err != nil {
		_, hint := advise(err)
		return doctor.Report{{Check: "store", Level: doctor.Problem, Detail: err.Error(), Do: hint}}
	}
	defer st.Close()
	ring, _, err := st.LoadKeyring(ctx)
	if err != nil {
		return doctor.Report{{Check: "store", Level: doctor.Problem, Detail: err.Error()}}
	}
	if ring == nil {
		return doctor.Report{{Check: "master key", Level: doctor.OK, Detail: "nothing is sealed yet"}}
	}
	v, err := vault.Open(ctx, st, place)
	if err != nil {
		return keyFinding(err)
	}
	r := doctor.Report{{Check: "master key", Level: doctor.OK, Detail: "the key in " + v.Status().Place + " opens the store"}}
	if next := v.Status().Next; next != "" {
		r = append(r, doctor.Finding{Check: "master key", Level: doctor.Warning, Detail: "a rotation is not finished", Do: "finish it: freshet master-key rotate"})
	}
	more, err := examine(ctx, st, v)
	if err != nil {
		more = append(more, doctor.Finding{Check: "store", Level: doctor.Problem, Detail: err.Error(), Do: "start the server once: it brings an older store up to date"})
	}
	return append(r, more...)
}

// open opens the store to look at it.
func (c *doctorCmd) open(ctx context.Context) (*store.Store, error) {
	if c.DatabaseURL != "" {
		return postgres.Open(ctx, postgres.Options{URL: c.DatabaseURL, Look: true})
	}
	return sqlite.Open(ctx, c.Data, sqlite.Options{ReadOnly: true})
}

// examine looks behind the keys of a store that no server uses.
func examine(ctx context.Context, st *store.Store, v *vault.Vault) (doctor.Report, error) {
	book, err := resource.New(resource.Options{Store: st, Sealer: v, Catalogue: resource.Catalogue{Provider: catalog.Provider, Suggest: catalog.Suggest}, ProofKey: v.ProofKey})
	if err != nil {
		return nil, err
	}
	guard, err := dial.New(dial.Options{})
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	n, err := book.Network(ctx)
	if err != nil {
		return nil, err
	}
	if err := guard.SetAllow(n.Allow); err != nil {
		return nil, err
	}
	return diagnose(st, book, guard, nil)(ctx)
}

// diagnose returns the examination of a store, and of the server that runs on
// it if source is not nil.
func diagnose(st *store.Store, book *resource.Book, guard *dial.Guard, source *refresh.Source) func(context.Context) (doctor.Report, error) {
	o := doctor.Options{Store: st, Book: book, Client: guard.Client(dial.Upstream)}
	if source != nil {
		o.Writable, o.Paused = st.Writable, source.Paused
		o.Spilled = func() int64 { return source.Gauges().Spilled }
	}
	return func(ctx context.Context) (doctor.Report, error) {
		ctx, cancel := context.WithTimeout(ctx, doctorTime)
		defer cancel()
		return doctor.Check(ctx, o)
	}
}

func keyFinding(err error) doctor.Report {
	f := doctor.Finding{Check: "master key", Level: doctor.Problem, Detail: err.Error()}
	var h hinter
	if errors.As(err, &h) {
		f.Do = h.Hint()
	}
	return doctor.Report{f}
}

// printReport prints findings, and is an error if something is wrong.
func printReport(e *env, r doctor.Report, asJSON bool) error {
	problems, warnings := r.Count(doctor.Problem), r.Count(doctor.Warning)
	if asJSON {
		if err := printJSON(e.stdout, map[string]any{"ok": r.Good(), "findings": append(doctor.Report{}, r...)}); err != nil {
			return err
		}
	} else {
		writeReport(e.stdout, r)
		fmt.Fprintf(e.stdout, "\n%s\n", verdict(problems, warnings))
	}
	if problems > 0 {
		return coded{error: errors.New(verdict(problems, warnings)), code: exitFailed}
	}
	return nil
}

func writeReport(w io.Writer, r doctor.Report) {
	width := 0
	for _, f := range r {
		width = max(width, min(len(f.Check), 32))
	}
	for _, f := range r {
		fmt.Fprintf(w, "%-8s %-*s  %s\n", f.Level, width, plain(f.Check), plain(f.Detail))
		if f.Do != "" {
			fmt.Fprintf(w, "%-8s %-*s  -> %s\n", "", width, "", plain(f.Do))
		}
	}
}

func verdict(problems, warnings int) string {
	count := func(n int, what string) string {
		if n == 1 {
			return "1 " + what
		}
		return fmt.Sprintf("%d %ss", n, what)
	}
	var parts []string
	if problems > 0 {
		parts = append(parts, count(problems, "problem"))
	}
	if warnings > 0 {
		parts = append(parts, count(warnings, "warning"))
	}
	if len(parts) == 0 {
		return "nothing is wrong"
	}
	return strings.Join(parts, ", ")
}
