package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoListening says that only a pooler of transactions leads to the server,
// through which nobody can listen.
var ErrNoListening = errors.New("the database is behind a pooler, and no way around it is known")

// longest is what PostgreSQL takes as one notification.
const longest = 7999

// Announce tells all who listen, this process among them. A payload has up to
// 7,999 bytes.
//
// It is a transaction of its own: PostgreSQL commits transactions that notify
// one after the other, each waiting for the disk, so that a notification within
// a token's transaction would make every commit of every replica wait for all
// others. A notification that is lost between the two is what polls are for.
func (d *DB) Announce(ctx context.Context, payloads ...string) error {
	if len(payloads) == 0 {
		return nil
	}
	for _, p := range payloads {
		if len(p) > longest {
			return errors.New("postgres: a notification is too long")
		}
	}
	ctx, cancel := bounded(ctx, d.patience)
	defer cancel()
	// Nor does it wait for the disk itself: nothing is in it that could be lost.
	_, err := d.pool.Exec(ctx, `WITH hurry AS (SELECT set_config('synchronous_commit', 'off', true))
		SELECT pg_notify($1, p) FROM hurry, unnest($2::text[]) p`, d.channel, payloads)
	return d.describe(ctx, err)
}

// Listen calls heard for every notification until ctx ends, and begun each time
// that it has begun to listen: what was said before was missed. It connects
// again, less and less often, for as long as it takes. It returns ctx's error,
// or ErrNoListening at once.
func (d *DB) Listen(ctx context.Context, begun func(), heard func(payload string)) error {
	if d.direct == nil {
		return ErrNoListening
	}
	const soonest, latest = 250 * time.Millisecond, 15 * time.Second
	wait := soonest
	for {
		began := time.Now()
		err := d.listen(ctx, begun, heard)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > latest {
			wait = soonest
		}
		d.log.Warn("changes of other replicas are not heard just now, but looked for", "error", d.describe(ctx, err), "again in", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, latest)
	}
}

func (d *DB) listen(ctx context.Context, begun func(), heard func(payload string)) error {
	cfg := d.direct.Copy()
	cfg.RuntimeParams["application_name"] += " listener"
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		c.Close(end)
	}()
	if _, err := c.Exec(ctx, "LISTEN "+pgx.Identifier{d.channel}.Sanitize()); err != nil {
		return err
	}
	begun()
	for {
		// A connection that lost its other end looks like one on which nothing
		// is said: ask now and then.
		quiet, cancel := context.WithTimeout(ctx, 20*time.Second)
		n, err := c.WaitForNotification(quiet)
		cancel()
		switch {
		case err == nil:
			heard(n.Payload)
		case ctx.Err() != nil:
			return ctx.Err()
		case quiet.Err() != nil && !c.IsClosed():
			ask, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := c.Ping(ask)
			cancel()
			if err != nil {
				return err
			}
		default:
			return err
		}
	}
}
