package store

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// A Key is an API key's row: everything but the key.
type Key struct {
	ID        string
	Name      string
	Hash      []byte // keyed hash of the secret part
	Scopes    []string
	Addresses []string // CIDRs it may be used from; empty: any
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	LastUsed  time.Time
	RevokedAt time.Time
}

const keyColumns = `id, name, hash, scopes, addresses, created_at, expires_at, last_used, revoked_at`

func scanKey(r Scanner) (Key, error) {
	var k Key
	var scopes, addresses string
	var created, expires, used, revoked *int64
	if err := r.Scan(&k.ID, &k.Name, &k.Hash, &scopes, &addresses, &created, &expires, &used, &revoked); err != nil {
		return k, err
	}
	k.CreatedAt, k.ExpiresAt, k.LastUsed, k.RevokedAt = at(created), at(expires), at(used), at(revoked)
	if err := json.Unmarshal([]byte(scopes), &k.Scopes); err != nil {
		return k, err
	}
	return k, json.Unmarshal([]byte(addresses), &k.Addresses)
}

// Key returns a key's row by its id, or ErrNotFound.
func (s *Store) Key(ctx context.Context, id string) (Key, error) {
	return scanKey(s.db.Read().QueryRow(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE id = $1`, id))
}

// Keys lists all keys in order of name.
func (s *Store) Keys(ctx context.Context) ([]Key, error) {
	var out []Key
	rows, err := s.db.Read().Query(ctx, `SELECT `+keyColumns+` FROM api_keys ORDER BY name`)
	err = each(rows, err, func(r Scanner) error {
		k, err := scanKey(r)
		out = append(out, k)
		return err
	})
	return out, err
}

// AddKey stores a new key. ErrExists: the name is taken.
func (s *Store) AddKey(ctx context.Context, k Key) error {
	scopes, err := json.Marshal(k.Scopes)
	if err != nil {
		return err
	}
	addresses, err := json.Marshal(append([]string{}, k.Addresses...))
	if err != nil {
		return err
	}
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO api_keys (id, name, hash, scopes, addresses, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			k.ID, k.Name, k.Hash, string(scopes), string(addresses), now.UnixMilli(), ms(k.ExpiresAt))
		if s.db.IsUnique(err) {
			return ErrExists
		}
		return err
	})
}

// RevokeKey ends a key by its name and returns its id. ErrNotFound: there is
// none, or it is revoked already.
func (s *Store) RevokeKey(ctx context.Context, name string) (id string, err error) {
	err = s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		// The name becomes free again; the row stays for the audit.
		return tx.QueryRow(ctx, `UPDATE api_keys SET revoked_at = $1, name = name || ' (revoked ' || id || ')'
			WHERE name = $2 AND revoked_at IS NULL RETURNING id`, now.UnixMilli(), name).Scan(&id)
	})
	return id, err
}

// TouchKeys records when keys were last used, never an earlier instant than is
// there already.
func (s *Store) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	return s.db.Tx(ctx, func(tx Querier) error {
		// In one order everywhere, so that two replicas that record the same keys
		// do not wait for each other's rows.
		for _, id := range slices.Sorted(maps.Keys(used)) {
			if _, err := tx.Exec(ctx, `UPDATE api_keys SET last_used = $1 WHERE id = $2 AND (last_used IS NULL OR last_used < $1)`,
				used[id].UnixMilli(), id); err != nil {
				return err
			}
		}
		return nil
	})
}
