package postgres

import (
	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/store"
)

// Conn returns the connection that a transaction of Tx runs on, for libraries
// that speak pgx themselves and write in the same transaction. It is good until
// the function that was given to Tx returns. nil: q is no such transaction.
func Conn(q store.Querier) *pgx.Conn {
	if t, ok := q.(*txn); ok {
		return t.c.Conn()
	}
	return nil
}
