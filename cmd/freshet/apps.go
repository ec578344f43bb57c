package main

import (
	"context"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/app"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/workflow/outbound"
)

// appChecks checks apps as they are declared.
type appChecks struct{}

// CheckApp says what is wrong with an app.
func (appChecks) CheckApp(ctx context.Context, a *freshet.App, say func(field, detail string, warn bool)) error {
	findings, err := app.Check(ctx, a)
	for _, f := range findings {
		say(f.Field, f.Detail, f.Warn)
	}
	return err
}

// runApps makes what runs apps.
func (s *server) runApps(h house) error {
	places := connections{s.source}
	record := admitted(h.Trail)
	var err error
	s.apps, err = app.New(app.Options{Definitions: s.Book, Store: h.Store, Sealer: h.Vault, Journal: s.journal, Connections: places, Values: h.Values, Now: failpoint.Now, Log: s.log,
		Sender: outbound.Options{Transport: h.Dialer.Transport(dial.Upstream), Caller: h.Upstream, Connections: places, Admit: record},
		Admit: func(ctx context.Context, run, connection string) error {
			return record(ctx, outbound.Entry{Run: run, Connection: connection})
		}})
	if err != nil {
		return err
	}
	s.later("apps", s.apps.Close)
	return nil
}
