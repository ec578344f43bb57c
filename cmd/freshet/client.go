package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/freshet-dev/freshet/api"
)

// The files of a data directory that say how its server is reached.
const (
	urlFile = "server.url"
	keyFile = "admin.key"
)

// envKey is where an API key may be given. There is no flag for it: the command
// line of a process is open to everybody on the machine.
const envKey = "FRESHET_API_KEY"

// A remote is how a command finds the server. Address and key are looked up
// separately: a given address goes with the data directory's key.
type remote struct {
	URL  string `name:"url" env:"FRESHET_URL" placeholder:"URL" group:"server" help:"The server's address. Without it: DIR/server.url. The key is FRESHET_API_KEY, or in DIR/admin.key."`
	Data string `default:"freshet-data" env:"FRESHET_DATA" placeholder:"DIR" group:"server" help:"The data directory of a server on this machine."`
}

// errNoServer says that nothing tells where a server is.
var errNoServer = errors.New("no server is known")

// client returns a client of the server.
func (r *remote) client(e *env) (*api.Client, error) {
	base, err := r.base()
	if err != nil {
		return nil, err
	}
	key, err := r.key(e)
	if err != nil {
		return nil, err
	}
	// No timeout: streams and long polls end with the command.
	return api.New(base, key, api.WithHTTPClient(&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the key goes nowhere else
	}})), nil
}

// base is the server's address.
func (r *remote) base() (string, error) {
	base := r.URL
	if base == "" {
		b, err := os.ReadFile(filepath.Join(r.Data, urlFile))
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return "", withHint(fmt.Errorf("%w: there is no %s", errNoServer, filepath.Join(r.Data, urlFile)),
					"start one with freshet serve, name its data directory with --data, or its address with --url or FRESHET_URL")
			}
			return "", withHint(fmt.Errorf("%s: %w", filepath.Join(r.Data, urlFile), cause(err)), "run this as the user that runs the server, or give FRESHET_URL and FRESHET_API_KEY")
		}
		base = strings.TrimSpace(string(b))
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", coded{error: fmt.Errorf("%q is not the address of a server", base), code: exitUsage, hint: "write it like http://127.0.0.1:8420"}
	}
	return strings.TrimSuffix(base, "/"), nil
}

// key is the API key to show.
func (r *remote) key(e *env) (string, error) {
	if key := strings.TrimSpace(e.getenv(envKey)); key != "" {
		return key, nil
	}
	path := filepath.Join(r.Data, keyFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", withHint(fmt.Errorf("no API key: %s is not set, and there is no %s", envKey, path),
			"set %s to a key that freshet keys create made, or name the server's data directory with --data", envKey)
	case err != nil:
		return "", withHint(fmt.Errorf("%s: %w", path, cause(err)), "run this as the user that runs the server, or set %s", envKey)
	}
	return strings.TrimSpace(string(b)), nil
}

// advise finds in an error what the exit code is and what a person can do.
func advise(err error) (code int, hint string) {
	code = exitFailed
	var c coded
	if errors.As(err, &c) {
		code = c.code
	}
	var h hinter
	if errors.As(err, &h) {
		hint = h.Hint()
	}
	var p *api.Problem
	if !errors.As(err, &p) {
		return code, hint
	}
	if p.State == "reauth" {
		code = exitPerson
	}
	if hint == "" {
		hint = p.Hint
	}
	switch {
	case hint != "":
	case p.State == "reauth" && p.Connection != "":
		hint = "authorize it: freshet connect " + p.Connection
	case p.Status == http.StatusUnauthorized:
		hint = fmt.Sprintf("the key comes from %s, else from the file admin.key of --data DIR; make one with freshet keys create", envKey)
	case p.Status == http.StatusForbidden:
		hint = "use a key with that scope: freshet keys create NAME --scope SCOPE"
	case p.Status == http.StatusNotFound && strings.HasPrefix(p.Detail, "connection"):
		hint = "see what there is with: freshet get connections"
	case p.RetryAfter > 0:
		hint = fmt.Sprintf("try again in %s", p.RetryAfter)
	}
	return code, hint
}

// text is an error as it is printed: one fault a line.
func text(err error) string {
	var p *api.Problem
	if errors.As(err, &p) {
		var lines []string
		for _, f := range p.Faults {
			lines = append(lines, f.String())
		}
		if len(lines) == 0 {
			for _, d := range p.Errors {
				if d.Location != "" {
					d.Message = d.Location + ": " + d.Message
				}
				lines = append(lines, d.Message)
			}
			if len(lines) > 0 && p.Detail != "" && len(lines) != 1 {
				lines = append([]string{p.Detail}, lines...)
			}
		}
		if len(lines) > 0 {
			return strings.Join(lines, "\n")
		}
	}
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	s := strings.TrimSpace(err.Error())
	if p != nil && p.Connection != "" && err == error(p) && !strings.Contains(s, p.Connection) {
		s = "connection " + p.Connection + ": " + s
	}
	return s
}

// kindName splits KIND/NAME. A kind may be given in the singular, as people do.
func kindName(s string) (kind, name string, err error) {
	kind, name, _ = strings.Cut(s, "/")
	if kind == "" || strings.HasSuffix(s, "/") {
		return "", "", usage("%q is neither KIND nor KIND/NAME, such as connections/crm", s)
	}
	if plural, ok := singular[kind]; ok {
		kind = plural
	}
	return kind, name, nil
}

var singular = map[string]string{"provider": "providers", "client": "clients", "connection": "connections", "webhook": "webhooks", "schedule": "schedules", "key": "keys", "table": "tables", "workflow": "workflows", "event": "events"}
