package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"runtime"
	"time"

	"github.com/freshet-dev/freshet/api"
)

type connectCmd struct {
	remote       `embed:""`
	Name         string `arg:"" name:"NAME" help:"The connection."`
	Device       bool   `help:"Finish on another device: type a code there. For machines without a browser."`
	Print        bool   `help:"Print the link and open no browser."`
	OtherAccount bool   `help:"The account may be another one than the connection had."`
}

// Help gives the example that --help shows.
func (connectCmd) Help() string {
	return example("freshet connect crm", "Opens the provider's page in a browser, waits until a person has agreed, and reports. The link is good for ten minutes and for one browser.")
}

// Run takes a person through an authorization.
func (c *connectCmd) Run(e *env) error {
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	f, err := cl.Connect(e.ctx, c.Name, api.ConnectRequest{Device: c.Device, OtherAccount: c.OtherAccount})
	if err != nil {
		var cn api.Connection
		if cl.Get(e.ctx, "connections", c.Name, &cn) == nil {
			if other := authorize(&cn); other != "freshet connect "+c.Name {
				return withHint(err, "its grant is a token set that was obtained elsewhere: %s", other)
			}
		}
		return err
	}
	c.show(e, f)
	f, err = c.wait(e, cl, f)
	if err != nil {
		return err
	}
	if f.State != api.FlowDone {
		detail := f.Detail
		if detail == "" {
			detail = "it ended without a token"
		}
		return coded{error: fmt.Errorf("connection %s is not authorized: %s", c.Name, plain(detail)), code: exitPerson, hint: "start again with: freshet connect " + c.Name}
	}
	fmt.Fprintf(e.stdout, "connected: %s", c.Name)
	var cn api.Connection
	if cl.Get(e.ctx, "connections", c.Name, &cn) == nil {
		fmt.Fprintf(e.stdout, " is %s", plain(standing(&cn)))
		if cn.ExpiresAt != nil {
			fmt.Fprintf(e.stdout, ", its token expires %s and is refreshed before", relative(cn.ExpiresAt, time.Now()))
		}
	}
	fmt.Fprintln(e.stdout)
	return nil
}

// show tells the person what to do.
func (c *connectCmd) show(e *env, f *api.Flow) {
	if f.UserCode != "" {
		fmt.Fprintf(e.stdout, "open   %s\ntype   %s\n", plain(f.VerificationURI), plain(f.UserCode))
		if f.VerificationURIComplete != "" {
			fmt.Fprintf(e.stdout, "or     %s\n", plain(f.VerificationURIComplete))
		}
		return
	}
	if f.RedirectURI != "" {
		fmt.Fprintf(e.stdout, "the provider must know this redirect URI: %s\n", plain(f.RedirectURI))
	}
	if !c.Print {
		if err := openBrowser(f.URL); err == nil {
			fmt.Fprintf(e.stdout, "a browser opens; if it does not, open this link:\n\n  %s\n\n", plain(f.URL))
			return
		}
	}
	fmt.Fprintf(e.stdout, "open this link in a browser:\n\n  %s\n\n", plain(f.URL))
}

// wait asks until the flow ends. A server that restarts meanwhile is waited
// for: the flow is kept.
func (c *connectCmd) wait(e *env, cl *api.Client, f *api.Flow) (*api.Flow, error) {
	p := newProgress(e.stderr)
	defer p.done()
	if p.terminal {
		p.step("waiting for somebody to agree…")
	} else {
		p.step("waiting")
	}
	id, until := f.Flow, time.Now().Add(20*time.Minute)
	if f.ExpiresAt != nil {
		until = f.ExpiresAt.Add(30 * time.Second)
	}
	for {
		now, err := cl.Flow(e.ctx, id, 25*time.Second)
		var gone *api.UnreachableError
		switch {
		case errors.Is(e.ctx.Err(), context.Canceled):
			return nil, coded{error: errors.New("interrupted; the link goes on being good"), code: exitPerson}
		case errors.As(err, &gone) && time.Now().Before(until):
			if err := sleep(e.ctx, 2*time.Second); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		case now.State != "" && now.State != api.FlowPending:
			return now, nil
		case time.Now().After(until):
			return nil, coded{error: fmt.Errorf("connection %s is not authorized: nobody finished it in time", c.Name), code: exitPerson, hint: "start again with: freshet connect " + c.Name}
		}
	}
}

// openBrowser shows a link to the person at this machine, where there is one.
func openBrowser(link string) error {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("not a link for a browser")
	}
	var name string
	var args []string
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler"}
	default:
		name = "xdg-open"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	// The link is spent by its first browser and needs this machine's user to
	// agree, so that other users who see the arguments gain nothing.
	cmd := exec.Command(path, append(args, u.String())...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait()
	return nil
}
