package store

import (
	"context"
	"errors"
	"time"

	"github.com/freshet-dev/freshet"
)

// A Token row is what the database knows of a connection's token and of the
// attempt that may be replacing it.
type Token struct {
	ID       freshet.ConnectionID
	Name     string
	Client   string // Definition.ClientKey
	Provider string
	Gen      int64  // 0: no answer was ever stored
	Sealed   []byte // bound to ("tokens", ID, "token", Gen)
	Digest   []byte // keyed hash of the refresh token

	State    freshet.State
	Reason   freshet.Reason
	Error    string // JSON of the last failure, "" after a success
	Failures int    // in a row

	Attempt    string    // the open attempt's id, "" for none
	AttemptAt  time.Time // when it was claimed
	LostAt     time.Time // when the first attempt began whose answer may have been lost
	LeaseOwner string
	LeaseUntil time.Time // by the database's clock

	NotBefore     time.Time // no automatic request before
	NextAt        time.Time // when the background looks at it; zero: never
	IssuedAt      time.Time
	ExpiresAt     time.Time
	RefreshExpiry time.Time
	Definition    int64 // revision of the definition that State was found with
	Protocol      int
	UpdatedAt     time.Time
}

const tokenColumns = `id, name, client, provider, gen, sealed, digest, state, reason, error, failures,
	attempt, attempt_at, lost_at, lease_owner, lease_until, not_before, next_at, issued_at, expires_at, refresh_expires,
	definition, protocol, updated_at`

func scanToken(r Scanner) (Token, error) {
	var t Token
	var attemptAt, lostAt, lease, notBefore, next, issued, expires, refreshExp, updated *int64
	err := r.Scan(&t.ID, &t.Name, &t.Client, &t.Provider, &t.Gen, &t.Sealed, &t.Digest, &t.State, &t.Reason, &t.Error, &t.Failures,
		&t.Attempt, &attemptAt, &lostAt, &t.LeaseOwner, &lease, &notBefore, &next, &issued, &expires, &refreshExp,
		&t.Definition, &t.Protocol, &updated)
	t.AttemptAt, t.LostAt, t.LeaseUntil, t.NotBefore, t.NextAt = at(attemptAt), at(lostAt), at(lease), at(notBefore), at(next)
	t.IssuedAt, t.ExpiresAt, t.RefreshExpiry, t.UpdatedAt = at(issued), at(expires), at(refreshExp), at(updated)
	return t, err
}

// Token returns the row of a connection, or ErrNotFound.
func (s *Store) Token(ctx context.Context, id freshet.ConnectionID) (Token, error) {
	return scanToken(s.db.Read().QueryRow(ctx, `SELECT `+tokenColumns+` FROM tokens WHERE id = $1`, string(id)))
}

// TokenByName returns the row of the connection with the name, or ErrNotFound.
func (s *Store) TokenByName(ctx context.Context, name string) (Token, error) {
	return scanToken(s.db.Read().QueryRow(ctx, `SELECT `+tokenColumns+` FROM tokens WHERE name = $1`, name))
}

// Tokens lists rows in order of name, after the given name, at most limit, of
// the given state if one is given. Sealed is left out.
func (s *Store) Tokens(ctx context.Context, after string, state freshet.State, limit int) ([]Token, error) {
	var out []Token
	query, args := `SELECT `+tokenColumns+` FROM tokens WHERE name > $1 ORDER BY name LIMIT $2`, []any{after, limit}
	if state != "" {
		query, args = `SELECT `+tokenColumns+` FROM tokens WHERE name > $1 AND state = $3 ORDER BY name LIMIT $2`, append(args, string(state))
	}
	rows, err := s.db.Read().Query(ctx, query, args...)
	err = each(rows, err, func(r Scanner) error {
		t, err := scanToken(r)
		t.Sealed = nil
		out = append(out, t)
		return err
	})
	return out, err
}

// CountTokens counts the connections of each state.
func (s *Store) CountTokens(ctx context.Context) (map[freshet.State]int64, error) {
	out := map[freshet.State]int64{}
	rows, err := s.db.Read().Query(ctx, `SELECT state, count(*) FROM tokens GROUP BY state`)
	err = each(rows, err, func(r Scanner) error {
		var st freshet.State
		var n int64
		err := r.Scan(&st, &n)
		out[st] = n
		return err
	})
	return out, err
}

// CountProvider counts the connections of a provider that hold a token.
func (s *Store) CountProvider(ctx context.Context, provider string) (n int64, err error) {
	err = s.db.Read().QueryRow(ctx, `SELECT count(*) FROM tokens WHERE provider = $1 AND gen > 0`, provider).Scan(&n)
	return n, err
}

// EnsureToken makes the row of a new connection, or brings name, client and
// provider of an existing one up to date; one that was misconfigured is looked
// at again at once, and one that never had a token begins anew. It belongs in the transaction that writes the connection.
func EnsureToken(ctx context.Context, tx Querier, t Token, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO tokens (id, name, client, provider, state, reason, next_at, protocol, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, client = excluded.client, provider = excluded.provider,
			state = CASE WHEN tokens.gen = 0 THEN excluded.state ELSE tokens.state END,
			reason = CASE WHEN tokens.gen = 0 THEN excluded.reason ELSE tokens.reason END,
			next_at = CASE WHEN tokens.state = 'misconfigured' THEN excluded.updated_at ELSE tokens.next_at END,
			updated_at = excluded.updated_at`,
		string(t.ID), t.Name, t.Client, t.Provider, string(t.State), string(t.Reason), ms(t.NextAt), Protocol, now.UnixMilli())
	return err
}

// DeleteToken removes a connection's row with all that was kept for it.
func DeleteToken(ctx context.Context, tx Querier, id freshet.ConnectionID) error {
	for _, q := range []string{`DELETE FROM tokens WHERE id = $1`, `DELETE FROM orphans WHERE connection = $1`} {
		if _, err := tx.Exec(ctx, q, string(id)); err != nil {
			return err
		}
	}
	return nil
}

// A Claim asks for the right to send one token request.
type Claim struct {
	ID      freshet.ConnectionID
	Gen     int64 // as read
	Attempt string
	Owner   string
	Lease   time.Duration
}

// Claim writes the attempt into the row if the generation is the one given and
// nobody else's lease holds. It is the write gate: a request may be sent only
// after Claim returned nil, because the database has then just taken a durable
// write to the very row that the answer will go to. ErrStale: the row moved or
// is leased.
func (s *Store) Claim(ctx context.Context, c Claim) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		return one(tx.Exec(ctx, `UPDATE tokens SET attempt = $1, attempt_at = $2, lease_owner = $3, lease_until = $4, protocol = $5, updated_at = $2
			WHERE id = $6 AND gen = $7 AND protocol <= $5 AND (attempt = '' OR lease_until IS NULL OR lease_until <= $2)`,
			c.Attempt, now.UnixMilli(), c.Owner, now.Add(c.Lease).UnixMilli(), Protocol, string(c.ID), c.Gen))
	})
}

// Unclaim takes back an attempt of which nothing was sent.
func (s *Store) Unclaim(ctx context.Context, id freshet.ConnectionID, attempt string) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		return one(tx.Exec(ctx, `UPDATE tokens SET attempt = '', attempt_at = NULL, lease_owner = '', lease_until = NULL
			WHERE id = $1 AND attempt = $2`, string(id), attempt))
	})
}

// A Commit stores an answer: generation Gen+1 of a connection.
type Commit struct {
	ID      freshet.ConnectionID
	Attempt string // the attempt that brought it; "" adopts over a row without an open attempt
	Gen     int64  // as read before the request
	Sealed  []byte // bound to Gen+1
	Digest  []byte

	IssuedAt, ExpiresAt, RefreshExpiry, NextAt time.Time
	Definition                                 int64
	Events                                     []Event
}

// Commit stores the answer if the row still is at the attempt and the
// generation that it was asked for with, and clears every failure. ErrStale:
// the row moved on.
func (s *Store) Commit(ctx context.Context, c Commit) error {
	return s.replace(ctx, c, 0)
}

// Put stores a token that a person or an authorization brought, whatever
// attempt is open: it wins, and the late answer of the attempt finds itself
// fenced. ErrStale: the generation is not the one given.
func (s *Store) Put(ctx context.Context, c Commit) error { return s.replace(ctx, c, 1) }

// replace makes c the next generation where the row is at c.Gen and, unless
// whatever is 1, at c.Attempt.
func (s *Store) replace(ctx context.Context, c Commit, whatever int) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		if err := one(tx.Exec(ctx, `UPDATE tokens SET gen = gen + 1, sealed = $1, digest = $2, state = 'ok', reason = '', error = '', failures = 0,
			attempt = '', attempt_at = NULL, lost_at = NULL, lease_owner = '', lease_until = NULL, not_before = NULL,
			issued_at = $3, expires_at = $4, refresh_expires = $5, next_at = $6, definition = $7, updated_at = $8
			WHERE id = $9 AND gen = $10 AND ($11 = 1 OR attempt = $12)`,
			c.Sealed, c.Digest, ms(c.IssuedAt), ms(c.ExpiresAt), ms(c.RefreshExpiry), ms(c.NextAt), c.Definition, now.UnixMilli(),
			string(c.ID), c.Gen, whatever, c.Attempt)); err != nil {
			return err
		}
		return appendEvents(ctx, tx, now, c.Events)
	})
}

// A Failure records an attempt that brought no usable access token. Sealed, if
// set, is the token with a salvaged refresh token, bound to Gen+1; it becomes
// the next generation.
type Failure struct {
	ID        freshet.ConnectionID
	Attempt   string
	Gen       int64
	State     freshet.State
	Reason    freshet.Reason
	Error     string
	Failures  int
	LostAt    time.Time
	NotBefore time.Time
	NextAt    time.Time
	Sealed    []byte
	Digest    []byte

	Definition int64
	Events     []Event
}

// Fail closes the attempt and stores what it means. ErrStale as in Commit.
func (s *Store) Fail(ctx context.Context, f Failure) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		salvaged := 0
		if f.Sealed != nil {
			salvaged = 1
		}
		if err := one(tx.Exec(ctx, `UPDATE tokens SET gen = gen + $1, sealed = COALESCE($2, sealed), digest = COALESCE($3, digest),
			state = $4, reason = $5, error = $6, failures = $7, lost_at = $8, not_before = $9, next_at = $10, definition = $11,
			attempt = '', attempt_at = NULL, lease_owner = '', lease_until = NULL, updated_at = $12
			WHERE id = $13 AND gen = $14 AND attempt = $15`,
			salvaged, f.Sealed, f.Digest, string(f.State), string(f.Reason), f.Error, f.Failures, ms(f.LostAt), ms(f.NotBefore), ms(f.NextAt),
			f.Definition, now.UnixMilli(), string(f.ID), f.Gen, f.Attempt)); err != nil {
			return err
		}
		return appendEvents(ctx, tx, now, f.Events)
	})
}

// Reschedule sets when the background looks at a connection next, if its
// generation is the one given.
func (s *Store) Reschedule(ctx context.Context, id freshet.ConnectionID, gen int64, next time.Time) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		return one(tx.Exec(ctx, `UPDATE tokens SET next_at = $1 WHERE id = $2 AND gen = $3`, ms(next), string(id), gen))
	})
}

// Forget removes the token of a connection and latches it: only a person can
// bring the next one. It wins over an open attempt. The letters, such as a
// revocation, are queued with it. ErrNotFound: there is no such connection.
func (s *Store) Forget(ctx context.Context, id freshet.ConnectionID, reason freshet.Reason, letters []Letter, events ...Event) error {
	return s.db.Tx(ctx, func(tx Querier) error {
		now, err := s.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE tokens SET gen = gen + 1, sealed = NULL, digest = NULL, state = 'reauth', reason = $1, error = '', failures = 0,
			attempt = '', attempt_at = NULL, lost_at = NULL, lease_owner = '', lease_until = NULL, not_before = NULL, next_at = NULL,
			issued_at = NULL, expires_at = NULL, refresh_expires = NULL, updated_at = $2 WHERE id = $3`,
			string(reason), now.UnixMilli(), string(id))
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		if err := s.PostTx(ctx, tx, letters...); err != nil {
			return err
		}
		return appendEvents(ctx, tx, now, events)
	})
}

// A Due is a connection that the background should look at.
type Due struct {
	ID       freshet.ConnectionID
	Name     string
	Client   string
	Provider string
	State    freshet.State
	NextAt   time.Time
}

// Due lists connections whose next_at has come and whose lease is free, the
// longest overdue first; those of a newer protocol are left to newer processes. Its cost follows the number of due rows, not of rows.
func (s *Store) Due(ctx context.Context, limit int) ([]Due, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	var out []Due
	rows, err := s.db.Read().Query(ctx, `SELECT id, name, client, provider, state, next_at FROM tokens
		WHERE next_at IS NOT NULL AND next_at <= $1 AND (attempt = '' OR lease_until IS NULL OR lease_until <= $1) AND protocol <= $3
		ORDER BY next_at LIMIT $2`, now.UnixMilli(), limit, Protocol)
	err = each(rows, err, func(r Scanner) error {
		var d Due
		var next *int64
		err := r.Scan(&d.ID, &d.Name, &d.Client, &d.Provider, &d.State, &next)
		d.NextAt = at(next)
		out = append(out, d)
		return err
	})
	return out, err
}

// NextDue returns when the next row is due, zero if none ever is.
func (s *Store) NextDue(ctx context.Context) (time.Time, error) {
	var next *int64
	err := s.db.Read().QueryRow(ctx, `SELECT min(next_at) FROM tokens WHERE next_at IS NOT NULL`).Scan(&next)
	return at(next), err
}

// OpenAttempts lists rows whose attempt is open although its lease is over,
// and, with mine set, also those whose lease that owner holds: after a restart
// the former process is known to be dead. Those of a newer protocol are left to
// newer processes.
func (s *Store) OpenAttempts(ctx context.Context, mine string, limit int) ([]Token, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	var out []Token
	rows, err := s.db.Read().Query(ctx, `SELECT `+tokenColumns+` FROM tokens
		WHERE attempt <> '' AND (lease_until IS NULL OR lease_until <= $1 OR ($2 <> '' AND lease_owner = $2)) AND protocol <= $4 LIMIT $3`,
		now.UnixMilli(), mine, limit, Protocol)
	err = each(rows, err, func(r Scanner) error {
		t, err := scanToken(r)
		out = append(out, t)
		return err
	})
	return out, err
}

// SameRefreshToken returns the name of another connection of the provider
// whose refresh token has the digest, "" if there is none.
func (s *Store) SameRefreshToken(ctx context.Context, provider string, digest []byte, except freshet.ConnectionID) (name string, err error) {
	err = s.db.Read().QueryRow(ctx, `SELECT name FROM tokens WHERE provider = $1 AND digest = $2 AND id <> $3 LIMIT 1`,
		provider, digest, string(except)).Scan(&name)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return name, err
}

// Lapsing lists connections whose refresh token ends after from and not after
// to, the first to end first.
func (s *Store) Lapsing(ctx context.Context, from, to time.Time, limit int) ([]Token, error) {
	var out []Token
	rows, err := s.db.Read().Query(ctx, `SELECT `+tokenColumns+` FROM tokens
		WHERE refresh_expires > $1 AND refresh_expires <= $2 ORDER BY refresh_expires, id LIMIT $3`, from.UnixMilli(), to.UnixMilli(), limit)
	err = each(rows, err, func(r Scanner) error {
		t, err := scanToken(r)
		t.Sealed = nil
		out = append(out, t)
		return err
	})
	return out, err
}
