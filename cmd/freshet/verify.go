package main

import "fmt"

type verifyCmd struct {
	remote `embed:""`
	format `embed:""`
	Name   string `arg:"" name:"NAME" help:"The connection."`
}

// Help gives the example that --help shows.
func (verifyCmd) Help() string {
	return example("freshet verify crm", "Makes the request that the connection declares as api.verify. Exit code 1 if the API does not accept the credential.")
}

// Run checks the credential.
func (c *verifyCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	v, err := cl.Verify(e.ctx, c.Name)
	if err != nil {
		return err
	}
	if c.json() {
		if err := printJSON(e.stdout, v); err != nil {
			return err
		}
	} else if v.Verified {
		fmt.Fprintf(e.stdout, "verified: %s %s answered %d", plain(v.Method), plain(v.Path), v.Status)
		if v.Refreshed {
			fmt.Fprint(e.stdout, " (after the token was renewed)")
		}
		fmt.Fprintln(e.stdout)
	}
	if !v.Verified {
		return withHint(fmt.Errorf("not verified: %s", plain(v.Detail)), "look at it with: freshet get connections/%s; if the grant is gone: freshet connect %s", c.Name, c.Name)
	}
	return nil
}
