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
	Demo     demoCmd     `cmd:"" group:"start" help:"Watch a token being obtained, used, expiring and refreshed; no account needed."`
	Serve    serveCmd    `cmd:"" group:"start" help:"Run the server."`
	Emulator emulatorCmd `cmd:"" group:"start" help:"Run the authorization server and API that misbehave on request."`

	Apply  applyCmd  `cmd:"" group:"declare" help:"Bring resources to the state of files, all or nothing."`
	Export exportCmd `cmd:"" group:"declare" help:"Print resources as they would be applied."`
	Delete deleteCmd `cmd:"" group:"declare" help:"Delete one resource."`
	Get    getCmd    `cmd:"" group:"declare" help:"Look at resources and their state."`

	Connect connectCmd `cmd:"" group:"use" help:"Take a person through an authorization."`
	Token   tokenCmd   `cmd:"" group:"use" help:"Print a valid access token."`
	Call    callCmd    `cmd:"" group:"use" help:"Make one API call as a connection."`
	Refresh refreshCmd `cmd:"" group:"use" help:"Refresh a connection's token now."`
	Verify  verifyCmd  `cmd:"" group:"use" help:"Check a connection's credential against its API."`
	Revoke  revokeCmd  `cmd:"" group:"use" help:"Revoke a token at the provider and forget it."`
	Tokens  tokensCmd  `cmd:"" group:"use" help:"Token sets obtained elsewhere."`
	Rows    rowsCmd    `cmd:"" group:"use" help:"Rows of tables: list, add, set, delete, import, export."`
	Import  importCmd  `cmd:"" group:"use" help:"Bring workflows of other platforms, and say what of them carries over."`
	Run     runCmd     `cmd:"" group:"use" help:"Run a workflow and print its output."`
	Events  eventsCmd  `cmd:"" group:"use" help:"Look at what happened."`

	Runs         runsCmd         `cmd:"" group:"operate" help:"What ran: list, show, follow, cancel, retry."`
	Schedule     scheduleCmd     `cmd:"" group:"operate" help:"Scheduled tasks: list, run, pause, resume, history."`
	Keys         keysCmd         `cmd:"" group:"operate" help:"API keys."`
	MasterKey    masterKeyCmd    `cmd:"" group:"operate" name:"master-key" help:"The key that seals everything."`
	Backup       backupCmd       `cmd:"" group:"operate" help:"Write a consistent copy of the store."`
	Restore      restoreCmd      `cmd:"" group:"operate" help:"Put a backup in place of the store."`
	Resume       resumeCmd       `cmd:"" group:"operate" help:"Confirm a restored backup: background refresh goes on."`
	MigrateStore migrateStoreCmd `cmd:"" group:"operate" name:"migrate-store" help:"Move a store between the embedded database and PostgreSQL."`
	Doctor       doctorCmd       `cmd:"" group:"operate" help:"Check the installation and say what to do."`
	Bench        benchCmd        `cmd:"" group:"operate" help:"Measure this binary on this machine."`
	Version      versionCmd      `cmd:"" group:"operate" help:"Print the version."`
}

// groups are the headings of --help, in order.
var groups = []kong.Group{
	{Key: "start", Title: "Start"},
	{Key: "declare", Title: "Say what there is"},
	{Key: "use", Title: "Use a connection"},
	{Key: "operate", Title: "Operate"},
	{Key: "server", Title: "Where the server is"},
}

// newParser returns the parser of the command line, which leaves by exit after
// --help.
func newParser(c *cli, stdout, stderr io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("freshet"),
		kong.Description("Freshet keeps access tokens for HTTP APIs fresh, and makes the calls that need them."),
		kong.UsageOnError(),
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
		kong.Vars{"version": version},
		kong.ExplicitGroups(groups),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.ValueFormatter(describe),
	)
}

// describe is the help of a flag with its default and its variable.
func describe(v *kong.Value) string {
	var parts []string
	if v.HasDefault && v.Default != "" && v.Default != "false" {
		parts = append(parts, "default "+v.Default)
	}
	for _, env := range v.Tag.Envs {
		parts = append(parts, "$"+env)
	}
	if len(parts) == 0 {
		return v.Help
	}
	return strings.TrimSuffix(v.Help, ".") + " (" + strings.Join(parts, "; ") + ")."
}

// example is the help of a command: an example, and what else there is to say.
func example(command string, more ...string) string {
	s := "Example:\n\n    " + command
	for _, m := range more {
		s += "\n\n" + m
	}
	return s
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from then on a signal ends the process at once
	e := &env{ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(run(e, os.Args[1:]))
}

// run carries out one command line and returns its exit code.
func run(e *env, args []string) (code int) {
	var c cli
	exit := -1
	parser, err := newParser(&c, e.stdout, e.stderr, func(n int) { exit = n; panic(exited{}) })
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
		fmt.Fprintln(e.stderr, "error:", plain(err.Error()))
		command := "freshet"
		if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
			command = parse.Context.Selected().FullPath()
		}
		fmt.Fprintf(e.stderr, "hint: %s --help\n", command)
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
	code, hint := advise(err)
	// Several faults are printed one a line, each with its place.
	for i, line := range strings.Split(text(err), "\n") {
		if i == 0 {
			fmt.Fprintln(e.stderr, "error:", plain(line))
		} else {
			fmt.Fprintln(e.stderr, "      ", plain(line))
		}
	}
	if hint != "" {
		fmt.Fprintln(e.stderr, "hint:", plain(hint))
	}
	return code
}

type versionCmd struct{}

// Help gives the example that --help shows.
func (versionCmd) Help() string { return example("freshet version") }

// Run prints the version.
func (versionCmd) Run(e *env) error {
	fmt.Fprintln(e.stdout, "freshet", version)
	return nil
}
