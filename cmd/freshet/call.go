package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"strings"

	"github.com/freshet-dev/freshet/api"
)

type callCmd struct {
	remote `embed:""`
	Name   string   `arg:"" name:"NAME" help:"The connection."`
	Method string   `arg:"" name:"METHOD" help:"GET, POST, …"`
	Path   string   `arg:"" name:"PATH" help:"Path and query below the connection's base URL; they go out byte for byte."`
	Body   string   `short:"d" name:"body" placeholder:"BODY" help:"The body; @FILE reads it from a file, @- from the standard input."`
	Header []string `short:"H" sep:"none" placeholder:"HEADER" help:"A header, \"Name: value\". Repeatable."`
}

// Help gives the example that --help shows.
func (callCmd) Help() string {
	return example("freshet call crm POST /contacts -d @contact.json -H 'Content-Type: application/json'", "The answer's body goes to the standard output, its status to the standard error. Exit code 1 for an answer of 400 and above.")
}

// Run makes the call.
func (c *callCmd) Run(e *env) error {
	if !strings.HasPrefix(c.Path, "/") {
		return usage("PATH begins with /: it is what follows the connection's base URL")
	}
	method := strings.ToUpper(c.Method)
	header, err := headers(c.Header)
	if err != nil {
		return err
	}
	body, err := c.body(e)
	if err != nil {
		return err
	}
	if body != nil && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	cl, err := c.client(e)
	if err != nil {
		return err
	}
	res, err := cl.Call(e.ctx, c.Name, api.Call{Method: method, Target: c.Path, Header: header, Body: body})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	status := "HTTP " + plain(res.Status)
	if res.Header.Get("Freshet-Refreshed") == "true" {
		status += " (the token was refused, renewed, and the call made again)"
	}
	if v := res.Header.Get("Freshet-Retry"); v != "" {
		status += " (the token was refused; not made again: " + plain(v) + ")"
	}
	fmt.Fprintln(e.stderr, status)
	if _, err := io.Copy(e.stdout, res.Body); err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	if res.StatusCode >= 400 {
		return coded{error: fmt.Errorf("the API answered %s", plain(res.Status)), code: exitFailed}
	}
	return nil
}

// body is what to send. One in memory can be sent again after a refresh.
func (c *callCmd) body(e *env) (io.Reader, error) {
	file, ok := strings.CutPrefix(c.Body, "@")
	switch {
	case c.Body == "":
		return nil, nil
	case !ok:
		return strings.NewReader(c.Body), nil
	case file == "-":
		b, err := io.ReadAll(e.stdin)
		return bytes.NewReader(b), err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, readError(err)
	}
	return bytes.NewReader(b), nil
}

func headers(lines []string) (http.Header, error) {
	h := http.Header{}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		name = textproto.TrimString(name)
		if !ok || name == "" || strings.ContainsAny(l, "\r\n") {
			return nil, usage("%q is not a header: write -H 'Name: value'", l)
		}
		h.Add(name, textproto.TrimString(value))
	}
	return h, nil
}
