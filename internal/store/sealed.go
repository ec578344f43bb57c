package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-dev/freshet"
)

// LoadKeyring returns the vault's keyring and its revision, nil and 0 if none
// was saved yet.
func (s *Store) LoadKeyring(ctx context.Context) ([]byte, int64, error) {
	b, rev, err := s.Meta(ctx, "keyring")
	if errors.Is(err, ErrNotFound) {
		return nil, 0, nil
	}
	return b, rev, err
}

// SaveKeyring writes the vault's keyring if its revision is the one given.
func (s *Store) SaveKeyring(ctx context.Context, sealed []byte, revision int64) error {
	return s.PutMeta(ctx, "keyring", sealed, revision)
}

// sealedColumns are all places of the database that hold ciphertext, with what
// each is bound to.
var sealedColumns = []struct {
	table, column string
	row, gen      string // SQL of the binding's Row and Generation
	bind          freshet.Binding
}{
	{"tokens", "sealed", "id", "gen", freshet.Binding{Table: "tokens", Column: "token"}},
	{"orphans", "sealed", "connection", "gen", freshet.Binding{Table: "tokens", Column: "token"}},
	{"resources", "secrets", "id", "revision", freshet.Binding{Table: "resources", Column: "secrets"}},
	{"flows", "sealed", "id", "0", freshet.Binding{Table: "flows", Column: "flow"}},
	{"outbox", "sealed", "id", "0", freshet.Binding{Table: "outbox", Column: "letter"}},
	{"table_secrets", "sealed", "CAST(row_id AS TEXT)", "version", freshet.Binding{Table: "table_rows", Column: "secrets"}},
	{"workflow_versions", "sealed", "id", "number", freshet.Binding{Table: "workflow_versions", Column: "version"}},
	{"instances", "state", "id", "revision", freshet.Binding{Table: "instances", Column: "state"}},
	{"process_instances", "sealed", "id", "revision", freshet.Binding{Table: "process_instances", Column: "fields"}},
	{"component_messages", "sealed", "id", "0", freshet.Binding{Table: "component_messages", Column: "message"}},
	{"component_snapshots", "sealed", "id", "revision", freshet.Binding{Table: "component_snapshots", Column: "snapshot"}},
	{"app_stores", "sealed", "id", "revision", freshet.Binding{Table: "app_stores", Column: "values"}},
}

// SealedAfter lists ciphertexts that do not begin with prefix, after a cursor.
func (s *Store) SealedAfter(ctx context.Context, prefix []byte, cursor string, limit int) (values []freshet.SealedValue, next string, err error) {
	table, after, _ := strings.Cut(cursor, ":")
	for i, c := range sealedColumns {
		if cursor != "" && c.table != table {
			continue
		}
		rows, err := s.db.Read().Query(ctx, fmt.Sprintf(`SELECT id, %s, %s, %s FROM %s WHERE id > $1 AND %s IS NOT NULL ORDER BY id LIMIT $2`,
			c.row, c.gen, c.column, c.table, c.column), after, limit)
		last, n := "", 0
		err = each(rows, err, func(r Scanner) error {
			v := freshet.SealedValue{Binding: c.bind}
			if err := r.Scan(&last, &v.Row, &v.Generation, &v.Sealed); err != nil {
				return err
			}
			n++
			v.Handle = c.table + ":" + last
			if len(v.Sealed) > 0 && !bytes.HasPrefix(v.Sealed, prefix) {
				values = append(values, v)
			}
			return nil
		})
		if err != nil {
			return nil, "", err
		}
		if n == limit {
			return values, c.table + ":" + last, nil
		}
		if i+1 < len(sealedColumns) {
			return values, sealedColumns[i+1].table + ":", nil
		}
	}
	return values, "", nil
}

// ReplaceSealed writes re-sealed values where the old ones still stand, and
// returns how many it wrote.
func (s *Store) ReplaceSealed(ctx context.Context, changes []freshet.Resealed) (replaced int, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		replaced = 0
		for _, ch := range changes {
			table, id, _ := strings.Cut(ch.From.Handle, ":")
			for _, c := range sealedColumns {
				if c.table != table {
					continue
				}
				n, err := tx.Exec(ctx, fmt.Sprintf(`UPDATE %s SET %s = $1 WHERE id = $2 AND %s = $3`, c.table, c.column, c.column), ch.To, id, ch.From.Sealed)
				if err != nil {
					return err
				}
				replaced += int(n)
			}
		}
		return nil
	})
	return replaced, err
}
