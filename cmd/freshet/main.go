// Command freshet keeps access tokens for HTTP APIs fresh and makes the calls
// that need them. Each subcommand has a file of its own; serve.go alone knows
// every package.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set at link time: -ldflags "-X main.version=1.2.3".
var version = "dev"

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitPerson = 3 // somebody must reconnect or approve
)

// An env is what a command may touch of the outside.
type env struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
}

// cli is the whole command line; kong reads it.
type cli struct {
	Demo  demoCmd  `cmd:"" help:"Watch a token being obtained, used, expiring and refreshed; no account needed."`
	Serve serveCmd `cmd:"" help:"Run the server."`

	Apply   applyCmd   `cmd:"" help:"Bring resources to the state of files, all or nothing."`
	Export  exportCmd  `cmd:"" help:"Print resources as they would be applied."`
	Delete  deleteCmd  `cmd:"" help:"Delete one resource."`
	Get     getCmd     `cmd:"" help:"Look at resources and their state."`
	Events  eventsCmd  `cmd:"" help:"Look at what happened."`
	Connect connectCmd `cmd:"" help:"Take a person through an authorization."`
	Token   tokenCmd   `cmd:"" help:"Print a valid access token."`
	Call    callCmd    `cmd:"" help:"Make one API call as a connection."`
	Refresh refreshCmd `cmd:"" help:"Refresh a connection's token now."`
	Verify  verifyCmd  `cmd:"" help:"Check a connection's credential against its API."`
	Revoke  revokeCmd  `cmd:"" help:"Revoke a token at the provider and forget it."`
	Tokens  tokensCmd  `cmd:"" help:"Token sets obtained elsewhere."`

	Keys      keysCmd      `cmd:"" help:"API keys."`
	MasterKey masterKeyCmd `cmd:"" name:"master-key" help:"The key that seals everything."`
	Backup    backupCmd    `cmd:"" help:"Write a consistent copy of the store."`
	Restore   restoreCmd   `cmd:"" help:"Put a backup in place of the store."`
	Resume    resumeCmd    `cmd:"" help:"Confirm a restored backup: background refresh goes on."`
	Doctor    doctorCmd    `cmd:"" help:"Check the installation and say what to do."`
	Emulator  emulatorCmd  `cmd:"" help:"Run the authorization server and API that misbehave on request."`
	Bench     benchCmd     `cmd:"" help:"Measure this binary on this machine."`
	Version   versionCmd   `cmd:"" help:"Print the version."`

	Runs     laterCmd `cmd:"" help:"Executions of workflows and scripts (not in this version)."`
	Import   laterCmd `cmd:"" help:"Foreign formats (not in this version)."`
	Run      laterCmd `cmd:"" help:"Run a workflow, script or button (not in this version)."`
	Schedule laterCmd `cmd:"" help:"Scheduled tasks (not in this version)."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(run(e, os.Args[1:]))
}

// run carries out one command line and returns its exit code.
func run(e *env, args []string) (code int) {
	var c cli
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("freshet"),
		kong.Description("Freshet keeps access tokens for HTTP APIs fresh, and makes the calls that need them."),
		kong.UsageOnError(),
		kong.Writers(e.stdout, e.stderr),
		kong.Exit(func(n int) { exit = n; panic(exited{}) }),
		kong.Vars{"version": version},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
	)
	if err != nil {
		fmt.Fprintln(e.stderr, "error:", err)
		return exitFailed
	}
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(exited); !ok {
				panic(p)
			}
			code = exit
		}
	}()
	k, err := parser.Parse(args)
	if err != nil {
		var parse *kong.ParseError
		if errors.As(err, &parse) && len(args) == 0 {
			parse.Context.PrintUsage(false)
			return exitUsage
		}
		fmt.Fprintln(e.stderr, "error:", err)
		fmt.Fprintln(e.stderr, "hint: freshet --help, or freshet COMMAND --help")
		return exitUsage
	}
	return report(e, k.Run(e))
}

// exited carries kong's wish to leave, after --help, out of its callbacks.
type exited struct{}

// A hinter is an error that knows what a person can do.
type hinter interface{ Hint() string }

// A coded error ends the command with a code of its own.
type coded struct {
	error
	code int
	hint string
}

func (c coded) Unwrap() error { return c.error }
func (c coded) Hint() string  { return c.hint }

// usage is a mistake in the command line.
func usage(format string, args ...any) error {
	return coded{error: fmt.Errorf(format, args...), code: exitUsage}
}

// withHint adds what to do next to an error.
func withHint(err error, format string, args ...any) error {
	return coded{error: err, code: exitFailed, hint: fmt.Sprintf(format, args...)}
}

// report prints an error as people can use it and returns the exit code.
func report(e *env, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailed
	var c coded
	if errors.As(err, &c) {
		code = c.code
	}
	// Several faults are printed one a line, each with its place.
	for i, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		if i == 0 {
			fmt.Fprintln(e.stderr, "error:", line)
		} else {
			fmt.Fprintln(e.stderr, "      ", line)
		}
	}
	var h hinter
	if errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintln(e.stderr, "hint:", h.Hint())
	}
	return code
}

// laterCmd stands for commands that a later version has.
type laterCmd struct {
	Args []string `arg:"" optional:"" passthrough:""`
}

// Run says so.
func (laterCmd) Run(*env) error {
	return withHint(errors.New("this command is not in this version"), "freshet --help lists what is")
}

type versionCmd struct{}

// Help gives the example that --help shows.
func (versionCmd) Help() string { return "Example: freshet version" }

// Run prints the version.
func (versionCmd) Run(e *env) error {
	fmt.Fprintln(e.stdout, "freshet", version)
	return nil
}
