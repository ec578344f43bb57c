package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

type tokensCmd struct {
	Import tokensImportCmd `cmd:"" help:"Paste a token set that was obtained elsewhere."`
}

type tokensImportCmd struct {
	remote       `embed:""`
	Name         string `arg:"" name:"NAME" help:"The connection."`
	File         string `short:"f" required:"" placeholder:"FILE" help:"A token endpoint's answer as JSON; - for the standard input."`
	OtherAccount bool   `help:"The account may be another one than the connection had."`
}

// Help gives the example that --help shows.
func (tokensImportCmd) Help() string {
	return example(`freshet tokens import crm -f tokens.json`, `tokens.json is {"access_token": …, "refresh_token": …, "expires_in": 3600}; expires_at takes the place of expires_in, and 0 or a past instant says that the access token has expired. Nothing is sent to the provider. There is no flag for a token: command lines are seen by others.`)
}

// maxTokenSet bounds what is read: a token set has some kilobytes.
const maxTokenSet = 1 << 20

// Run imports the set.
func (c *tokensImportCmd) Run(e *env) error {
	var r io.Reader = e.stdin
	from := "the standard input"
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return readError(err)
		}
		defer f.Close()
		r, from = f, c.File
	}
	b, err := io.ReadAll(io.LimitReader(r, maxTokenSet+1))
	if err != nil {
		return fmt.Errorf("%s: %w", from, cause(err))
	}
	var set map[string]json.RawMessage
	if err := json.Unmarshal(b, &set); err != nil || set == nil || len(b) > maxTokenSet {
		// The decoder's own text could quote a token.
		return withHint(fmt.Errorf("%s does not hold a token set", from), `it is a JSON object: {"access_token": "…", "refresh_token": "…", "expires_in": 3600}`)
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	cn, err := cl.ImportTokens(e.ctx, c.Name, b, c.OtherAccount)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "imported: %s", c.Name)
	if cn.State != "" {
		fmt.Fprintf(e.stdout, " is %s", plain(standing(cn)))
	}
	if cn.ExpiresAt != nil {
		fmt.Fprintf(e.stdout, ", token: %s", expiry(cn, time.Now()))
	}
	fmt.Fprintln(e.stdout)
	return nil
}
