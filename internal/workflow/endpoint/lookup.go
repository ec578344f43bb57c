package endpoint

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/table"
	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

// A Lookup resolves references in the server's tables and connections.
type Lookup struct {
	Tables interface {
		ForRun(by string, learn func(values ...string)) *table.Session
	}
	Connections interface {
		Connection(ctx context.Context, name string) (upstream.Connection, error)
	}
}

var _ References = Lookup{}

// Cell returns a text in a table, of the one row that has the key in its title
// column.
func (l Lookup) Cell(ctx context.Context, name, key, column string) (freshet.Secret, bool, error) {
	if l.Tables == nil {
		return freshet.Secret{}, false, errors.New("there are no tables here")
	}
	// Title is what any table's title column is called, whatever its name.
	rows, err := l.Tables.ForRun("endpoint", nil).List(ctx, name, table.Query{Filter: table.TitleAlias + " eq '" + strings.ReplaceAll(key, "'", "''") + "'", Limit: 2})
	if err != nil {
		return freshet.Secret{}, false, err
	}
	switch len(rows) {
	case 0:
		return freshet.Secret{}, false, nil
	case 2:
		return freshet.Secret{}, false, fmt.Errorf("several rows of table %s have the key %s", name, key)
	}
	v, ok := rows[0].Values[column]
	if !ok {
		return freshet.Secret{}, false, fmt.Errorf("table %s has no column %s", name, column)
	}
	text, err := content.Scalar(v)
	if err != nil {
		return freshet.Secret{}, false, fmt.Errorf("table %s, column %s: %w", name, column, err)
	}
	return freshet.NewSecret(text), true, nil
}

// Token returns a connection's access token, refreshed first if it has to be.
func (l Lookup) Token(ctx context.Context, name string) (freshet.Secret, bool, error) {
	if l.Connections == nil {
		return freshet.Secret{}, false, errors.New("there are no connections here")
	}
	conn, err := l.Connections.Connection(ctx, name)
	if err != nil {
		return freshet.Secret{}, false, err
	}
	tok, err := conn.Token(ctx, 0)
	if err != nil {
		return freshet.Secret{}, false, err
	}
	return tok.Access, true, nil
}
