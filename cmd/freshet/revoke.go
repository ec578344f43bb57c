package main

import "fmt"

type revokeCmd struct {
	remote `embed:""`
	format `embed:""`
	Name   string `arg:"" name:"NAME" help:"The connection."`
}

// Help gives the example that --help shows.
func (revokeCmd) Help() string {
	return example("freshet revoke crm", "The token is forgotten here at once; the provider is asked to forget it too. The connection stays, and can be authorized again.")
}

// Run revokes.
func (c *revokeCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	r, err := cl.Revoke(e.ctx, c.Name)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, r)
	}
	if r.Revoked {
		fmt.Fprintf(e.stdout, "revoked: %s is forgotten here and at the provider\n", c.Name)
	} else {
		fmt.Fprintf(e.stdout, "forgotten: %s has no token any more; the provider has not confirmed (yet)\n", c.Name)
	}
	return nil
}
