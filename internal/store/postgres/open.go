package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/internal/store"
)

const (
	minVersion = 130000
	// minConns is what a replica needs at once: one that writes, one that reads
	// meanwhile, one that listens.
	minConns     = 3
	defaultConns = 10
)

// Options say where a database is; URL is required.
type Options struct {
	// URL is where the database is: postgres://user:password@host:port/name,
	// with what libpq knows as parameters, and pool_max_conns (10). It may lead
	// through a pooler of transactions.
	URL string
	// DirectURL leads around the pooler. "": there is none, or no way around it.
	DirectURL string
	// Log gets warnings about how the server is set up; nil: silence.
	Log *slog.Logger
	// Look opens a database as it is: nothing is migrated.
	Look bool

	migrations fs.FS         // nil: those of this binary
	patience   time.Duration // 0: patience
}

// Open connects to a database, makes sure that it can be used, brings its
// schema up to date, and returns a store over it. Whatever it refuses, it
// refuses before it has written anything; errors are *Error.
func Open(ctx context.Context, o Options) (*store.Store, error) {
	d, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	return store.New(d), nil
}

func open(ctx context.Context, o Options) (_ *DB, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.migrations == nil {
		o.migrations = builtin
	}
	if o.patience == 0 {
		o.patience = patience
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // a migration may take its time
	defer cancel()
	cfg, err := parse(o.URL)
	if err != nil {
		return nil, err
	}
	d := &DB{place: place(cfg.ConnConfig), patience: o.patience, log: o.Log}
	d.timeline.Store(new(string))
	direct := cfg.ConnConfig
	if o.DirectURL != "" {
		c, err := parse(o.DirectURL)
		if err != nil {
			return nil, err
		}
		direct = c.ConnConfig
	}
	if d.pooled, err = d.probe(ctx, cfg.ConnConfig); err != nil {
		return nil, err
	}
	if !strings.Contains(o.URL, "default_query_exec_mode=") {
		// A prepared statement halves the time of a read, and a pooler would lose
		// it: through one the description of a statement is kept, on this side
		// alone. Either way a statement is one round trip.
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
		if d.pooled {
			cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		}
	}
	if d.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, d.refused(err)
	}
	defer func() {
		if err != nil {
			d.pool.Close()
		}
	}()
	d.writes = make(chan struct{}, cfg.MaxConns-2)
	if err := d.reach(ctx, cfg); err != nil {
		return nil, err
	}
	if err := d.inspect(ctx, o); err != nil {
		return nil, err
	}
	if o.DirectURL != "" || !d.pooled {
		d.direct = direct
	}
	if o.DirectURL != "" {
		if err := d.sameDatabase(ctx, direct); err != nil {
			return nil, err
		}
	} else if d.pooled {
		o.Log.Info("a pooler lies before the database: changes of other replicas are looked for every few seconds; --database-direct-url names a way around it", "database", d.place)
	}
	if o.Look {
		return d, d.checkSchema(ctx, o.migrations, true)
	}
	return d, d.migrate(ctx, direct, o.migrations)
}

// parse reads a URL. Its errors do not repeat it: it holds a password.
func parse(url string) (*pgxpool.Config, error) {
	wrong := func(what string) error {
		return &Error{What: "the database URL is not usable: " + what, Do: "write it like postgres://user:password@host:5432/freshet?sslmode=verify-full", is: ErrRefused}
	}
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, wrong("it does not begin with postgres://")
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		var p *pgconn.ParseConfigError
		if errors.As(err, &p) && errors.Unwrap(p) != nil && !strings.Contains(errors.Unwrap(p).Error(), "://") {
			return nil, wrong(errors.Unwrap(p).Error())
		}
		return nil, wrong("it does not read as a URL")
	}
	if cfg.ConnConfig.Database == "" {
		return nil, wrong("it names no database")
	}
	if !strings.Contains(url, "pool_max_conns=") {
		cfg.MaxConns = defaultConns
	}
	if cfg.MaxConns < minConns {
		return nil, wrong(fmt.Sprintf("pool_max_conns is %d, and a replica needs %d connections", cfg.MaxConns, minConns))
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if cfg.PingTimeout == 0 {
		cfg.PingTimeout = 2 * time.Second
	}
	cfg.MaxConnIdleTime = 5 * time.Minute
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "freshet"
	}
	return cfg, nil
}

func place(c *pgx.ConnConfig) string {
	return c.User + "@" + net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))) + "/" + c.Database
}

// probe makes the first connection, and learns whether a pooler hands it out.
func (d *DB) probe(ctx context.Context, cfg *pgx.ConnConfig) (pooled bool, err error) {
	cfg = cfg.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	ctx, cancel := context.WithTimeout(ctx, 2*cfg.ConnectTimeout)
	defer cancel()
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return false, d.short(err, 0)
	}
	defer c.Close(ctx)
	var pid uint32
	if err := c.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		return false, d.short(err, 0)
	}
	// A pooler has numbers of its own for its clients.
	return pid != c.PgConn().PID(), nil
}

// reach makes the connections that a replica needs at the least.
func (d *DB) reach(ctx context.Context, cfg *pgxpool.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 2*cfg.ConnConfig.ConnectTimeout)
	defer cancel()
	for n := range minConns {
		c, err := d.pool.Acquire(ctx)
		if err != nil {
			return d.short(err, n)
		}
		defer c.Release()
	}
	return nil
}

// short says of too few connections how many there were.
func (d *DB) short(err error, had int) error {
	if code(err) == "53300" {
		most := int32(defaultConns)
		if d.pool != nil {
			most = d.pool.Config().MaxConns
		}
		return &Error{Place: d.place, What: fmt.Sprintf("it has %d connections left for this user, and a replica needs %d", had, minConns),
			Do: fmt.Sprintf("raise max_connections, or the user's CONNECTION LIMIT, so that each replica can have %d, or put PgBouncer in between", most), is: ErrRefused, cause: err}
	}
	return d.refused(err)
}

// refused says why nobody gets in.
func (d *DB) refused(err error) error {
	e := &Error{Place: d.place, is: ErrRefused, cause: err}
	switch code(err) {
	case "28P01":
		e.What, e.Do = "the password is not the user's", "correct the password in --database-url or its variable"
	case "28000":
		e.What, e.Do = "the server does not let this user in from here", "look at pg_hba.conf, and whether the server wants TLS (sslmode)"
	case "3D000":
		e.What, e.Do = "there is no such database", "make it first: CREATE DATABASE name OWNER user ENCODING 'UTF8' TEMPLATE template0"
	case "57P03":
		e.What, e.Do = "the server is starting or stopping", "start again in a moment"
	case "":
		e.is, e.What, e.Do = ErrUnreachable, "no server answers", "see that it runs and listens there, and that nothing in between keeps this machine away"
		var dns *net.DNSError
		if errors.As(err, &dns) {
			e.What = "nobody knows the host " + dns.Name
		}
	default:
		e.What = "the server refuses: " + err.Error()
	}
	return e
}

// inspect makes sure that the server is fit, and warns of what it would lose.
func (d *DB) inspect(ctx context.Context, o Options) error {
	unfit := func(what, do string) error { return &Error{Place: d.place, What: what, Do: do, is: ErrUnfit} }
	var version int
	var encoding, client, fsync, pages, commit, readOnly, schema, standbys string
	var recovering bool
	if err := d.pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('client_encoding'),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('transaction_read_only'),
		coalesce(current_schema(), ''), current_setting('synchronous_standby_names'), pg_is_in_recovery()`).Scan(
		&version, &encoding, &client, &fsync, &pages, &commit, &readOnly, &schema, &standbys, &recovering); err != nil {
		return d.refused(err)
	}
	switch {
	case version < minVersion:
		return unfit(fmt.Sprintf("the server is PostgreSQL %d.%d, and %d or newer is needed", version/10000, version%10000, minVersion/10000), "upgrade the server")
	case encoding != "UTF8" || client != "UTF8":
		return unfit("its encoding is "+encoding+" (client "+client+") and must be UTF8", "make the database anew: CREATE DATABASE name OWNER user ENCODING 'UTF8' TEMPLATE template0")
	case recovering:
		return &Error{Place: d.place, What: "it is a standby, which takes no writes", Do: "name the primary; with several hosts in the URL add target_session_attrs=read-write", is: store.ErrReadOnly}
	case readOnly == "on" && !o.Look:
		return &Error{Place: d.place, What: "it is set to read only", Do: "see default_transaction_read_only of the server, the database and the user", is: store.ErrReadOnly}
	case schema == "":
		return unfit("the user has no schema to make tables in", "give the user one: CREATE SCHEMA AUTHORIZATION user, or GRANT CREATE ON SCHEMA public TO user")
	}
	d.channel = "freshet_" + schema
	d.synced.Store(standbys != "")
	if fsync == "off" {
		o.Log.Warn("THE DATABASE SERVER RUNS WITH fsync=off: when its machine loses power or its system crashes, tokens that providers have rotated are lost and their grants with them, "+
			"or the whole database is; set fsync=on", "database", d.place)
	}
	if pages == "off" {
		o.Log.Warn("THE DATABASE SERVER RUNS WITH full_page_writes=off: when its machine loses power, pages of the database may be torn and everything in them lost; "+
			"set full_page_writes=on unless the file system never tears a page", "database", d.place)
	}
	// What is above on stays; what is below is raised.
	if commit != "remote_apply" {
		commit = "on"
	}
	d.begin = `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = ` + commit +
		`; SET LOCAL statement_timeout = '15s'; SET LOCAL lock_timeout = '8s'; SET LOCAL idle_in_transaction_session_timeout = '10s'; SELECT ` + clock + `, ` + d.timelineSQL(ctx) + `, current_setting('synchronous_standby_names') <> ''`
	return d.room(ctx, o)
}

// room warns when the server has fewer connections left than this process may
// come to use.
func (d *DB) room(ctx context.Context, o Options) error {
	var most, reserved, used int64
	if err := d.pool.QueryRow(ctx, `SELECT current_setting('max_connections')::bigint, current_setting('superuser_reserved_connections')::bigint,
		(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')`).Scan(&most, &reserved, &used); err != nil {
		return nil // a server that does not say is no reason to stay away
	}
	want := int64(d.pool.Config().MaxConns) + 1
	if left := most - reserved - used + int64(d.pool.Stat().TotalConns()); left < want && !d.pooled {
		o.Log.Warn("the database server has fewer connections left than this replica may use; requests may have to wait", "left", left, "may use", want)
	}
	return nil
}

// sameDatabase makes sure that the way around the pooler leads to the same
// database, by a lock that only one of the two can hold.
func (d *DB) sameDatabase(ctx context.Context, direct *pgx.ConnConfig) error {
	other := &DB{place: place(direct)}
	c, err := pgx.ConnectConfig(ctx, direct)
	if err != nil {
		return other.refused(err)
	}
	defer c.Close(ctx)
	const what = `SELECT system_identifier::text || '/' || (SELECT oid::text FROM pg_database WHERE datname = current_database()) FROM pg_control_system()`
	var a, b string
	if err := d.pool.QueryRow(ctx, what).Scan(&a); err != nil {
		return nil // a server that does not say; a wrong URL would show as missing tables
	}
	if err := c.QueryRow(ctx, what).Scan(&b); err != nil {
		return nil
	}
	if a != b {
		return &Error{Place: other.place, What: "--database-direct-url leads to another database than --database-url (" + d.place + ")", Do: "correct one of the two", is: ErrUnfit}
	}
	return nil
}

// timelineSQL says which server in a line of failovers answers, where it can be
// asked. The number is the first part of a log file's name.
func (d *DB) timelineSQL(ctx context.Context) string {
	var t string
	if err := d.pool.QueryRow(ctx, `SELECT `+askTimeline).Scan(&t); err != nil || t == "" {
		d.log.Debug("the server does not tell its timeline: a failover that loses commits is not noticed", "error", err)
		return `''`
	}
	d.timeline.Store(&t)
	return askTimeline
}

const askTimeline = `CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END`

// Timeline names the server that was written to last among those that have
// taken each other's place; "" if the server does not say.
func (d *DB) Timeline() string { return *d.timeline.Load() }

// OnFailover has f called when another server has taken the former one's place.
// Where a standby confirmed every commit of the former, lossless, work goes on.
// Otherwise commits may be missing: the transaction that finds out ends with
// ErrFailover before it has read or written anything, after f returned.
func (d *DB) OnFailover(f func(lossless bool)) { d.onFailover.Store(&f) }

// follow compares the timeline of a transaction with the one before.
func (d *DB) follow(now string, synced bool) error {
	lossless := d.synced.Swap(synced)
	was := d.timeline.Load()
	if *was == now || now == "" || *was == "" || !d.timeline.CompareAndSwap(was, &now) {
		return nil
	}
	if f := d.onFailover.Load(); f != nil {
		(*f)(lossless)
	}
	if lossless {
		return nil
	}
	return &Error{Place: d.place, What: "another server has taken its place (timeline " + *was + ", now " + now + ")", is: ErrFailover, cause: store.ErrReadOnly}
}

// Origin tells where the database lives: the cluster and the database in it,
// the timeline, and whether a standby confirms what is committed. What the
// server does not tell this user is "".
func (d *DB) Origin(ctx context.Context) (server, timeline string, synced bool, err error) {
	ctx, cancel := bounded(ctx, d.patience)
	defer cancel()
	if err := d.pool.QueryRow(ctx, `SELECT current_setting('synchronous_standby_names') <> ''`).Scan(&synced); err != nil {
		return "", "", false, d.describe(ctx, err)
	}
	_ = d.pool.QueryRow(ctx, `SELECT system_identifier::text || '/' || (SELECT oid::text FROM pg_database WHERE datname = current_database()) FROM pg_control_system()`).Scan(&server)
	_ = d.pool.QueryRow(ctx, `SELECT `+askTimeline).Scan(&timeline)
	return server, timeline, synced, ctx.Err()
}
