package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/freshet-dev/freshet/api"
)

type tokenCmd struct {
	remote `embed:""`
	Name   string        `arg:"" name:"NAME" help:"The connection."`
	MinTTL time.Duration `name:"min-ttl" placeholder:"60s" help:"Refresh first if it would live for less than this."`
	JSON   bool          `name:"json" help:"The whole answer: expiry, scope, generation, where it may go."`
}

// Help gives the example that --help shows.
func (tokenCmd) Help() string {
	return example("freshet token crm --min-ttl 5m", "Prints the token and nothing else. Exit code 3 says that somebody has to authorize the connection first.")
}

// Run prints a token.
func (c *tokenCmd) Run(e *env) error {
	if c.MinTTL < 0 {
		return usage("--min-ttl is a length of time, such as 60s")
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	path := "/api/v1/connections/" + url.PathEscape(c.Name) + "/token"
	if c.MinTTL > 0 {
		path += "?min_ttl=" + c.MinTTL.String()
	}
	var t api.Token
	if err := cl.Do(e.ctx, http.MethodGet, path, nil, &t); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.stdout, t)
	}
	if t.Stale {
		fmt.Fprintln(e.stderr, "warning: the token lives, but refreshing it is failing: freshet get connections/"+c.Name)
	}
	_, err = fmt.Fprintln(e.stdout, t.AccessToken)
	return err
}
