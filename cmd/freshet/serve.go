package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/freshet-dev/freshet/internal/harden"
	"github.com/freshet-dev/freshet/internal/vault"
)

type serveCmd struct {
	Data              string        `default:"freshet-data" env:"FRESHET_DATA" placeholder:"DIR" help:"The data directory; made on the first start."`
	DatabaseURL       string        `env:"FRESHET_DATABASE_URL" placeholder:"URL" help:"PostgreSQL, which any number of servers may share, instead of the embedded store."`
	DatabaseDirectURL string        `env:"FRESHET_DATABASE_DIRECT_URL" placeholder:"URL" help:"The way around a pooler: for migrations, and for hearing of changes at once."`
	Listen            string        `default:"127.0.0.1:8420" env:"FRESHET_LISTEN" placeholder:"ADDR" help:"Where to serve; port 0 takes a free one."`
	MetricsListen     string        `env:"FRESHET_METRICS_LISTEN" placeholder:"ADDR" help:"Where to serve metrics; not served without it."`
	Config            []string      `env:"FRESHET_CONFIG" placeholder:"FILE" help:"Resource files or directories, applied at each start." sep:","`
	BaseURL           string        `env:"FRESHET_BASE_URL" placeholder:"URL" help:"How people reach this server; redirect URIs and links begin with it."`
	MasterKeyFile     string        `env:"FRESHET_MASTER_KEY_FILE" placeholder:"FILE" help:"32 random bytes in base64; without it DIR/master.key."`
	Audit             string        `default:"batched" enum:"batched,strict" env:"FRESHET_AUDIT" help:"batched, or strict: no token is answered that is not recorded first."`
	RunsKeep          time.Duration `default:"720h" env:"FRESHET_RUNS_KEEP" placeholder:"DURATION" help:"How long runs are kept after their end; 0: for ever."`
	RunsKeepCount     int           `default:"10000" env:"FRESHET_RUNS_KEEP_COUNT" placeholder:"N" help:"How many runs of each name are kept, and as many that faulted; 0: all."`
	LogLevel          string        `default:"info" enum:"debug,info,warn,error" env:"FRESHET_LOG_LEVEL" help:"debug, info, warn or error."`
	LogFormat         string        `default:"text" enum:"text,json" env:"FRESHET_LOG_FORMAT" help:"text or json."`
	Drain             time.Duration `default:"30s" env:"FRESHET_DRAIN" help:"How long a stop waits for what is under way."`
}

// Help gives the example that --help shows.
func (serveCmd) Help() string {
	return "Example: freshet serve --data /var/lib/freshet --listen 127.0.0.1:8420 --config /etc/freshet"
}

// Run serves until the process is asked to end.
func (c *serveCmd) Run(e *env) error {
	for _, err := range harden.Apply() {
		fmt.Fprintln(e.stderr, "warning:", err)
	}
	if e.getenv("GOGC") == "" {
		// The heap is small and what requests allocate is short-lived: twice the
		// usual room costs a few megabytes under load, and none at rest.
		debug.SetGCPercent(200)
	}
	s, err := c.start(e.ctx, e.stderr)
	if err != nil {
		return err
	}
	s.greet(e.stdout)
	var broken error
	select {
	case <-e.ctx.Done():
	case broken = <-s.failed:
	}
	// A second signal ends the process at once; nothing that is durable by then
	// is lost by it.
	ctx, cancel := context.WithTimeout(context.Background(), c.Drain)
	defer cancel()
	return errors.Join(broken, s.Close(ctx))
}

// dataDir makes the data directory if need be and checks that it can be
// written.
func dataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return withHint(fmt.Errorf("data directory %s: %w", dir, cause(err)), "name one that this user may write with --data DIR")
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return withHint(fmt.Errorf("data directory %s cannot be written: %w", dir, cause(err)), "give it to the user that runs freshet, or name another with --data DIR")
	}
	f.Close()
	return os.Remove(f.Name())
}

// cause leaves the path out of an error that names it already.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// masterKey chooses where the master key is.
func (c *serveCmd) masterKey() (vault.MasterKey, error) {
	p := vault.Places{File: c.MasterKeyFile, Credentials: os.Getenv("CREDENTIALS_DIRECTORY"), Default: filepath.Join(c.Data, "master.key")}
	if key, ok := harden.Take(vault.EnvMasterKey); ok {
		p.Environment = &key
	}
	return p.MasterKey()
}

// logger writes to w in the form that was asked for.
func (c *serveCmd) logger(w io.Writer) slog.Handler {
	var level slog.Level
	if level.UnmarshalText([]byte(c.LogLevel)) != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

// listen takes the address, and says what to do when somebody else has it.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, withHint(fmt.Errorf("listen on %s: %w", addr, err), "another program may have the port: stop it, or choose another with --listen 127.0.0.1:0")
	}
	return l, nil
}
