package main

import "fmt"

type deleteCmd struct {
	remote `embed:""`
	What   string `arg:"" name:"KIND/NAME" help:"The resource."`
}

// Help gives the example that --help shows.
func (deleteCmd) Help() string {
	return example("freshet delete connections/crm", "A connection's tokens go with it, and its provider is asked to revoke them. What others refer to is not deleted.")
}

// Run deletes.
func (c *deleteCmd) Run(e *env) error {
	kind, name, err := kindName(c.What)
	if err != nil {
		return err
	}
	if name == "" && kind != "network" {
		return usage("delete removes one resource: write %s/NAME", kind)
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	if err := cl.Delete(e.ctx, kind, name); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "deleted    %s\n", c.What)
	return nil
}
