package emulator

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultListen is where Run serves if nothing is said, so that curl lines can
// be copied from the documentation.
const DefaultListen = "127.0.0.1:9400"

// A Command is what `freshet emulator` needs to know.
type Command struct {
	Listen string    // empty: DefaultListen; port 0 takes a free one
	Script string    // a file; empty: the zero Options
	Out    io.Writer // banner, and a line for each request
	Quiet  bool      // no lines for requests
}

// Run serves an emulator until ctx ends. Its errors say what to do.
func Run(ctx context.Context, c Command) error {
	var o Options
	if c.Script != "" {
		data, err := os.ReadFile(c.Script)
		if err != nil {
			return fmt.Errorf("emulator script: %w", err)
		}
		if o, err = ParseScript(c.Script, data); err != nil {
			return err
		}
	}
	or(&c.Listen, DefaultListen)
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("emulator: --listen %s: %w", c.Listen, err)
	}
	var mu sync.Mutex
	if !c.Quiet {
		o.Trace = func(r Request) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(c.Out, traceLine(r))
		}
	}
	e, err := New(o)
	if err != nil {
		return err
	}
	mu.Lock() // no request's line before the banner
	base, err := e.Start(c.Listen)
	if err != nil {
		mu.Unlock()
		e.Close()
		return fmt.Errorf("%w; take another port with --listen 127.0.0.1:0", err)
	}
	fmt.Fprint(c.Out, Banner(base))
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		fmt.Fprintf(c.Out, "\nwarning: %s can be reached from other machines; the emulator believes everybody\n", c.Listen)
	}
	fmt.Fprintln(c.Out)
	mu.Unlock()
	<-ctx.Done()
	return e.Close()
}

// Banner is what a person sees first.
func Banner(base string) string {
	return strings.ReplaceAll(`Freshet provider emulator: BASE

  authorization  BASE/authorize
  token          BASE/token
  metadata       BASE/.well-known/openid-configuration
  API            BASE/api/me
  everything     curl BASE/

Any client id and secret will do; an id that begins with a model (strict-1, grace-1, static-1, …) is treated so.

  curl -u crm:secret -d grant_type=password -d username=alice -d password=pw BASE/token
  curl -u crm:secret -d grant_type=refresh_token -d refresh_token=… BASE/token
  curl -H 'Authorization: Bearer …' BASE/api/me
  curl -d '{"at":"refresh","mode":"drop"}' BASE/_next
  curl BASE/_stats
`, "BASE", base)
}

// traceLine tells of one request, without a secret.
func traceLine(r Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-6s %s", r.At.UTC().Format("15:04:05.000"), r.Method, r.Path)
	if r.Grant != "" {
		fmt.Fprintf(&b, " %s", r.Grant)
	}
	if r.Client != "" {
		fmt.Fprintf(&b, " client=%s", printable(r.Client))
	}
	if r.Refresh != "" {
		fmt.Fprintf(&b, " refresh_token=%s", r.Refresh)
	}
	if r.Status == 0 {
		b.WriteString(" no answer")
	} else {
		fmt.Fprintf(&b, " %d", r.Status)
	}
	if r.Error != "" {
		fmt.Fprintf(&b, " %s", r.Error)
	}
	if r.Outcome != "" {
		fmt.Fprintf(&b, " %s", r.Outcome)
	}
	if len(r.Faults) > 0 {
		fmt.Fprintf(&b, " [%s]", printable(strings.Join(r.Faults, " ")))
	}
	fmt.Fprintf(&b, " %s", time.Duration(r.End-r.Start).Round(10*time.Microsecond))
	return b.String()
}

// printable keeps what a request made up from steering a terminal.
func printable(s string) string {
	if plain(s) {
		return s
	}
	return strconv.Quote(s)
}
