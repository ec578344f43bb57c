package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/redact"
	rows "github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/workflow/check"
)

// secretsTable is the table whose rows are stored secrets: a title column with
// the name, and a column Value that should be secret.
const secretsTable = "Secrets"

// secrets are what the syntax Secret refers to.
//
//	OAuth2:NAME           "Bearer " and the fresh token of the connection
//	Authorization:NAME    the row NAME of the table Secrets, else as OAuth2
//	anything else         the row of the table Secrets
type secrets struct {
	tables      *rows.Tables
	connections connections
	trail       *audit.Log
	values      *redact.Values
}

// of resolves a reference; ok is false if nothing goes by it. A connection that
// has no token to give is an error that says why.
func (s secrets) of(ctx context.Context, typ, name string) (freshet.Secret, bool, error) {
	if !strings.EqualFold(typ, "OAuth2") {
		full := name
		if typ != "" {
			full = typ + ":" + name
		}
		for _, title := range []string{full, name} {
			if v, ok, err := s.stored(ctx, title); ok || err != nil {
				return v, ok, err
			}
		}
	}
	switch {
	case strings.EqualFold(typ, "OAuth2"), strings.EqualFold(typ, "Authorization"):
		return s.token(ctx, name)
	}
	return freshet.Secret{}, false, nil
}

// there reports whether a reference Type:Name resolves, without reading anything
// secret.
func (s secrets) there(ctx context.Context, reference string) bool {
	typ, name, ok := strings.Cut(reference, ":")
	if !ok {
		typ, name = "", reference
	}
	if typ == "Table" { // what an endpoint expects of its callers
		table, _, _ := strings.Cut(name, "/")
		_, err := s.tables.Schema(ctx, table)
		return err == nil
	}
	if !strings.EqualFold(typ, "OAuth2") {
		for _, title := range []string{reference, name} {
			if list, err := s.tables.As("check").List(ctx, secretsTable, titled(title)); err == nil && len(list) == 1 {
				return true
			}
		}
	}
	for _, n := range []string{name, check.ConnectionName(name)} {
		if _, err := s.connections.Connection(ctx, n); err == nil {
			return typ != ""
		}
	}
	return false
}

func titled(title string) rows.Query {
	return rows.Query{Filter: rows.TitleAlias + " eq '" + strings.ReplaceAll(title, "'", "''") + "'", Limit: 2}
}

func (s secrets) stored(ctx context.Context, title string) (freshet.Secret, bool, error) {
	list, err := s.tables.ForRun("workflow", s.values.Add).List(ctx, secretsTable, titled(title))
	switch {
	case errors.Is(err, rows.ErrNoTable):
		return freshet.Secret{}, false, nil
	case err != nil:
		return freshet.Secret{}, false, fmt.Errorf("stored secret %s: %w", title, err)
	case len(list) == 0:
		return freshet.Secret{}, false, nil
	case len(list) > 1:
		return freshet.Secret{}, false, fmt.Errorf("stored secret %s: several rows of table %s have the name", title, secretsTable)
	}
	v, ok := list[0].Values["Value"].(string)
	if !ok {
		return freshet.Secret{}, false, fmt.Errorf("stored secret %s: table %s has no text in its column Value", title, secretsTable)
	}
	return freshet.NewSecret(v), true, nil
}

func (s secrets) token(ctx context.Context, name string) (freshet.Secret, bool, error) {
	for _, n := range []string{name, check.ConnectionName(name)} {
		conn, err := s.connections.Connection(ctx, n)
		if errors.Is(err, freshet.ErrNotFound) {
			continue
		}
		if err != nil {
			return freshet.Secret{}, false, err
		}
		if err := s.trail.Record(ctx, audit.Entry{Actor: "workflow", Action: audit.TokenRead, Subject: n}); err != nil {
			return freshet.Secret{}, false, fmt.Errorf("connection %s: the use could not be put on record, so no token was read: %w", n, err)
		}
		tok, err := conn.Token(ctx, 0)
		if err != nil {
			return freshet.Secret{}, false, err
		}
		access := tok.Access.Reveal()
		s.values.Add(access)
		return freshet.NewSecret(tok.Scheme + " " + access), true, nil
	}
	return freshet.Secret{}, false, nil
}
