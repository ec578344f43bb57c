package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/resource"
)

type applyCmd struct {
	remote `embed:""`
	format `embed:""`
	File   []string `short:"f" sep:"none" placeholder:"FILE|DIR" help:"A file, a folder of *.yaml, *.yml and *.json, or - for the standard input. Repeatable."`
	DryRun bool     `help:"Say what would happen, and change nothing."`
	Schema bool     `help:"Print the JSON Schema of resource files, for editors, and do nothing else."`
}

// Help gives the example that --help shows.
func (applyCmd) Help() string {
	return example("freshet apply -f crm.yaml", "Files are read here, on this machine: ${NAME} takes an environment variable of this command, {file: path} a file beside the resource file. Nothing is changed unless everything fits.")
}

// Run applies.
func (c *applyCmd) Run(e *env) error {
	reg, err := resource.NewRegistry(resource.Core()...)
	if err != nil {
		return err
	}
	if c.Schema {
		b, err := reg.Schema()
		if err != nil {
			return err
		}
		_, err = e.stdout.Write(append(b, '\n'))
		return err
	}
	if len(c.File) == 0 {
		return usage("apply needs -f FILE: a file, a folder, or - for the standard input")
	}
	files, err := resource.ReadFiles(c.File...)
	if err != nil {
		return readError(err)
	}
	// Most mistakes show here, before anything is sent.
	bundle, set, err := reg.Collect(files, resource.Local{})
	if err != nil {
		return notApplied(err)
	}
	wire, err := bundle.Wire()
	if err != nil {
		return err
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	done, err := cl.Apply(e.ctx, wire, c.DryRun)
	if err != nil {
		return notApplied(err)
	}
	done.Warnings = append(here(set.Warnings, done.Warnings), done.Warnings...)
	for _, w := range done.Warnings {
		fmt.Fprintln(e.stderr, "warning:", plain(w.String()))
	}
	if c.json() {
		return printJSON(e.stdout, done)
	}
	printApplied(e, done)
	if !done.DryRun {
		c.next(e, cl, done)
	}
	return nil
}

// here is what was odd on this machine, such as a secret's file that others may
// read, and that the server could not know.
func here(local resource.Faults, known []api.Fault) (more []api.Fault) {
	for _, w := range local {
		f := api.Fault{File: w.File, Line: w.Line, Column: w.Column, Path: w.Path, Detail: w.Detail}
		if !slices.Contains(known, f) {
			more = append(more, f)
		}
	}
	return more
}

// notApplied says that nothing was changed, if the error is about the files.
func notApplied(err error) error {
	var faults resource.Faults
	var p *api.Problem
	switch {
	case errors.As(err, &faults):
		return withHint(err, "nothing was changed; correct the files and apply again")
	case errors.As(err, &p) && (len(p.Faults) > 0 || p.Status == 400 || p.Status == 422):
		_, hint := advise(err)
		if hint == "" {
			hint = "nothing was changed; correct the files and apply again"
		}
		return withHint(err, "%s", hint)
	}
	return err
}

func readError(err error) error {
	var p *fs.PathError
	if !errors.As(err, &p) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("there is no %s", p.Path), "name a file, a folder, or - for the standard input")
	}
	return fmt.Errorf("%s: %w", p.Path, p.Err)
}

func printApplied(e *env, done *api.Applied) {
	count := map[string]int{}
	for _, f := range done.Effects {
		count[f.Action]++
		if f.Action == string(resource.Unchanged) && len(done.Effects) > 20 {
			continue // the count says it
		}
		name := f.Kind
		if f.Name != "" {
			name += "/" + f.Name
		}
		fmt.Fprintf(e.stdout, "%-9s  %s\n", f.Action, plain(name))
	}
	var parts []string
	for _, a := range []resource.Action{resource.Created, resource.Changed, resource.Unchanged, resource.Deleted} {
		if n := count[string(a)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, a))
		}
	}
	if len(parts) == 0 {
		parts = []string{"the files hold no resource"}
	}
	tail := ""
	if done.DryRun {
		tail = " (dry run: nothing was changed)"
	}
	fmt.Fprintf(e.stdout, "%s%s\n", strings.Join(parts, ", "), tail)
}

// next names the connections that a person has to authorize, so that nobody
// has to guess why they hand out nothing yet.
func (c *applyCmd) next(e *env, cl *api.Client, done *api.Applied) {
	ctx, cancel := context.WithTimeout(e.ctx, 5*time.Second)
	defer cancel()
	asked := 0
	for _, f := range done.Effects {
		if f.Kind != "connections" || f.Action == string(resource.Unchanged) {
			continue
		}
		if asked++; asked > 10 {
			return
		}
		var cn api.Connection
		if cl.Get(ctx, f.Kind, f.Name, &cn) == nil && cn.Reason == "never_authorized" {
			fmt.Fprintf(e.stdout, "next: %s\n", plain(authorize(&cn)))
		}
	}
}

type exportCmd struct {
	remote `embed:""`
	What   string `arg:"" optional:"" name:"KIND[/NAME]" help:"One resource, or those of a kind; without it all."`
	Reveal bool   `help:"With secrets in clear. Needs scope admin, and is recorded."`
}

// Help gives the example that --help shows.
func (exportCmd) Help() string {
	return example("freshet export connections/crm", "What is printed applies again. Secrets print as [secret], which an apply to the same server takes for the value that is stored.")
}

// Run prints the resources.
func (c *exportCmd) Run(e *env) error {
	var kind, name string
	if c.What != "" {
		var err error
		if kind, name, err = kindName(c.What); err != nil {
			return err
		}
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	if c.Reveal {
		if f, ok := e.stdout.(*os.File); ok && newProgress(f).terminal {
			fmt.Fprintln(e.stderr, "warning: what follows holds secrets")
		}
	}
	return cl.Export(e.ctx, kind, name, c.Reveal, e.stdout)
}
