package main

import "github.com/freshet-dev/freshet/internal/emulator"

type emulatorCmd struct {
	Listen string `default:"127.0.0.1:9400" placeholder:"ADDR" help:"Where to serve; port 0 takes a free one."`
	Script string `placeholder:"FILE" help:"Clients, users and faults from the start; see docs/emulator.md."`
	Quiet  bool   `short:"q" help:"No line for each request."`
}

// Help gives the example that --help shows.
func (emulatorCmd) Help() string {
	return example("freshet emulator --listen 127.0.0.1:0 --script rehearsal.yaml", "A provider for rehearsals: it keeps everything in memory, believes everybody and speaks plain HTTP. Never show it to a network.")
}

// Run serves the emulator until interrupted.
func (c *emulatorCmd) Run(e *env) error {
	return emulator.Run(e.ctx, emulator.Command{Listen: c.Listen, Script: c.Script, Out: e.stdout, Quiet: c.Quiet})
}
