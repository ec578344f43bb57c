package main

import (
	"os"

	"github.com/freshet-dev/freshet/internal/bench"
)

type benchCmd struct {
	Profile     string `arg:"" optional:"" help:"reads, proxy, inprocess, waiters, storm, workflow, start or scale, without it all of these; million and replicas take minutes; all is everything."`
	Report      string `placeholder:"FILE" help:"Write the figures as Markdown."`
	DatabaseURL string `placeholder:"URL" help:"An empty PostgreSQL for the profiles storm, workflow, scale, million and replicas."`
	Output      string `default:"table" enum:"table,json" help:"table or json."`
}

// Help gives the example that --help shows.
func (benchCmd) Help() string { return "Example: freshet bench reads --report figures.md" }

// Run measures this binary.
func (c *benchCmd) Run(e *env) error {
	if child, err := bench.Child(e.stdin, e.stdout, e.getenv); child {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return bench.Run(e.ctx, bench.Options{Profile: c.Profile, Exe: exe, Out: e.stdout, JSON: c.Output == "json", Log: e.stderr, Report: c.Report, Version: version, DatabaseURL: c.DatabaseURL})
}
