package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet-dev/freshet/internal/store"
)

var (
	// ErrNewer says that a newer Freshet wrote the database.
	ErrNewer = errors.New("the database was written by a newer version of freshet")
	// ErrForeign says that another program has tables of the same names.
	ErrForeign = errors.New("the database holds tables of another program")
	// ErrRefused says that the server let nobody in: the password, the name of
	// the database, the number of connections.
	ErrRefused = errors.New("the database server refuses")
	// ErrUnreachable says that no server answers.
	ErrUnreachable = errors.New("the database server does not answer")
	// ErrUnfit says that the server or the database cannot be used as it is set
	// up.
	ErrUnfit = errors.New("the database cannot be used as it is set up")
	// ErrFailover says that another server has taken the former one's place
	// since the last write. The transaction that notices it writes nothing.
	ErrFailover = errors.New("another server has taken the database's place")
)

// An Error is why a database cannot be opened, or what it would not do. Its
// text names the place and holds no password.
type Error struct {
	Place string // user@host:port/database
	What  string
	Do    string // what to do about it, "" if nothing special
	is    error
	cause error // the driver's
}

func (e *Error) Error() string {
	if e.Place == "" {
		return e.What
	}
	return "database " + e.Place + ": " + e.What
}

// Hint says what a person can do.
func (e *Error) Hint() string { return e.Do }

// Unwrap gives what it is, and the cause.
func (e *Error) Unwrap() []error {
	var out []error
	for _, err := range []error{e.is, e.cause} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

// code is the SQLSTATE of err, "" if it is not the server's.
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// undone reports whether the server has undone a transaction because of
// another one: nothing of it is left.
func undone(err error) bool { c := code(err); return c == "40001" || c == "40P01" }

// broken reports whether a connection ended rather than a statement.
func broken(err error) bool {
	switch code(err) {
	case "":
	case "57P01", "57P02", "08000", "08003", "08006", "08P01", "25P03", "57P05":
		return true
	default:
		return false
	}
	var dial *pgconn.ConnectError
	if errors.As(err, &dial) {
		return false // there is no connection that could be better
	}
	var netErr *net.OpError
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || pgconn.SafeToRetry(err)
}

// words are the server's codes that mean that it takes nothing just now, and
// what they mean to people.
var words = map[string]string{
	"25006": "it takes no writes: it is a standby, or set to read only",
	"53100": "its disk is full",
	"53200": "it is out of memory",
	"53300": "it has no connection left",
	"53400": "it has reached a configured limit",
	"57P01": "it is being shut down",
	"57P02": "it has crashed and is starting again",
	"57P03": "it is starting or stopping",
	"57P05": "it closed an idle session",
	"25P03": "this process stood still in the middle of a transaction, which was undone",
	"55P03": "a row stayed locked for too long",
	"57014": "a statement took too long",
	"58030": "it cannot read or write its files",
	"40001": "it kept undoing the transaction in favour of others",
	"40P01": "it kept undoing the transaction in favour of others",
	"28P01": "the password is not the user's",
	"28000": "it does not let this user in from here",
	"3D000": "there is no such database",
	"42501": "the user may not do that",
}

// describe turns the driver's errors into the store's words.
func (d *DB) describe(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return store.ErrNotFound
	case errors.Is(err, context.Canceled):
		return err
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	if c := code(err); c != "" {
		if w, ok := words[c]; ok {
			return &Error{Place: d.place, What: w, is: store.ErrReadOnly, cause: err}
		}
		return fmt.Errorf("database %s: %w", d.place, err)
	}
	var dial *pgconn.ConnectError
	var netErr net.Error
	if errors.As(err, &dial) || errors.As(err, &netErr) || broken(err) || errors.Is(err, context.DeadlineExceeded) {
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return &Error{Place: d.place, What: "it does not answer", is: store.ErrReadOnly, cause: errors.Join(ErrUnreachable, err)}
	}
	return err
}
