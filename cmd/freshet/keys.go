package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/api"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make an API key. It is shown this once."`
	List   keysListCmd   `cmd:"" help:"List API keys."`
	Revoke keysRevokeCmd `cmd:"" help:"End an API key at once."`
}

type keysCreateCmd struct {
	remote  `embed:""`
	format  `embed:""`
	Name    string   `arg:"" name:"NAME" help:"What to call it."`
	Scope   []string `required:"" placeholder:"SCOPE" help:"token:GLOB, call:GLOB, run:GLOB, read or admin. Repeatable."`
	Expires string   `placeholder:"90d" help:"How long it is good; for ever without it."`
	Address []string `placeholder:"CIDR" help:"Only from these addresses. Repeatable."`
}

// Help gives the example that --help shows.
func (keysCreateCmd) Help() string {
	return example("freshet keys create billing --scope token:crm --scope 'call:crm' --expires 90d")
}

// Run makes the key.
func (c *keysCreateCmd) Run(e *env) error {
	r := api.KeyRequest{Name: c.Name, Scopes: c.Scope, Addresses: c.Address}
	if c.Expires != "" {
		d, err := freshet.ParseDuration(c.Expires)
		if err != nil || d <= 0 {
			return usage("--expires %s: write 12h or 90d", c.Expires)
		}
		t := time.Now().Add(d.D()).UTC().Truncate(time.Second)
		r.ExpiresAt = &t
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	k, err := cl.CreateKey(e.ctx, r)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(e.stdout, k)
	}
	fmt.Fprintln(e.stdout, k.Key)
	fmt.Fprintf(e.stderr, "key %s may: %s. It is shown this once; hand it to programs as %s\n", plain(k.Name), plain(strings.Join(k.Scopes, " ")), envKey)
	return nil
}

type keysListCmd struct {
	remote `embed:""`
	format `embed:""`
}

// Help gives the example that --help shows.
func (keysListCmd) Help() string { return example("freshet keys list") }

// Run lists keys.
func (c *keysListCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	return listKeys(e, cl, c.format)
}

func listKeys(e *env, cl *api.Client, f format) error {
	all := []json.RawMessage{}
	now := time.Now()
	t := newTable("NAME", "SCOPES", "EXPIRES", "LAST USED", "ADDRESSES")
	err := cl.List(e.ctx, "/api/v1/keys", "keys", func(raw json.RawMessage) error {
		var k api.Key
		if err := json.Unmarshal(raw, &k); err != nil {
			return fmt.Errorf("GET /api/v1/keys: %w", err)
		}
		all = append(all, raw)
		expires := relative(k.ExpiresAt, now)
		switch {
		case k.RevokedAt != nil:
			expires = "revoked " + relative(k.RevokedAt, now)
		case expires == "":
			expires = "never"
		}
		used := relative(k.LastUsed, now)
		if used == "" {
			used = "never"
		}
		t.add(k.Name, strings.Join(k.Scopes, " "), expires, used, strings.Join(k.Addresses, " "))
		return nil
	})
	if err != nil {
		return err
	}
	if f.json() {
		return printJSON(e.stdout, map[string]any{"keys": all})
	}
	return t.print(e.stdout)
}

type keysRevokeCmd struct {
	remote `embed:""`
	Name   string `arg:"" name:"NAME" help:"The key."`
}

// Help gives the example that --help shows.
func (keysRevokeCmd) Help() string {
	return example("freshet keys revoke billing", "Streams and calls that the key has open are ended.")
}

// Run revokes the key.
func (c *keysRevokeCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	if err := cl.RevokeKey(e.ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "revoked    key %s\n", c.Name)
	return nil
}
