package sqlite

import (
	"context"
	"database/sql/driver"
)

// tripConnector calls trip before each statement, each beginning and each end
// of a transaction.
type tripConnector struct {
	driver.Connector
	trip func()
}

func (c tripConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return tripConn{conn.(fullConn), c.trip}, nil
}

// fullConn is what the driver's connections can do.
type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Validator
	driver.SessionResetter
}

type tripConn struct {
	fullConn
	trip func()
}

func (c tripConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.trip()
	return c.fullConn.ExecContext(ctx, query, args)
}

func (c tripConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.trip()
	return c.fullConn.QueryContext(ctx, query, args)
}

func (c tripConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.trip()
	tx, err := c.fullConn.BeginTx(ctx, o)
	return tripTx{tx, c.trip}, err
}

type tripTx struct {
	driver.Tx
	trip func()
}

func (t tripTx) Commit() error {
	t.trip()
	return t.Tx.Commit()
}
