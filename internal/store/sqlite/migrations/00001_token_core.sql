-- +goose Up
CREATE TABLE meta (
	key      TEXT PRIMARY KEY,
	value    BLOB NOT NULL,
	revision INTEGER NOT NULL
) STRICT;

-- What people declare. The spec holds no secret; secrets are one sealed map
-- from path to value, bound to the row and its revision.
CREATE TABLE resources (
	id         TEXT PRIMARY KEY,
	kind       TEXT NOT NULL,
	name       TEXT NOT NULL,
	spec       TEXT NOT NULL,
	secrets    BLOB,
	revision   INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL,
	UNIQUE (kind, name)
) STRICT;

CREATE TABLE resource_refs (
	id   TEXT NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
	kind TEXT NOT NULL,
	name TEXT NOT NULL,
	PRIMARY KEY (id, kind, name)
) STRICT;
CREATE INDEX resource_refs_target ON resource_refs (kind, name);

-- One row per connection: its token, and the attempt that may be replacing it.
CREATE TABLE tokens (
	id              TEXT PRIMARY KEY,
	name            TEXT NOT NULL UNIQUE,
	client          TEXT NOT NULL,
	provider        TEXT NOT NULL,
	gen             INTEGER NOT NULL DEFAULT 0,
	sealed          BLOB,
	digest          BLOB,
	state           TEXT NOT NULL,
	reason          TEXT NOT NULL DEFAULT '',
	error           TEXT NOT NULL DEFAULT '',
	failures        INTEGER NOT NULL DEFAULT 0,
	attempt         TEXT NOT NULL DEFAULT '',
	attempt_at      INTEGER,
	lost_at         INTEGER,
	lease_owner     TEXT NOT NULL DEFAULT '',
	lease_until     INTEGER,
	not_before      INTEGER,
	next_at         INTEGER,
	issued_at       INTEGER,
	expires_at      INTEGER,
	refresh_expires INTEGER,
	definition      INTEGER NOT NULL DEFAULT 0,
	protocol        INTEGER NOT NULL DEFAULT 1,
	updated_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_due ON tokens (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX tokens_open ON tokens (lease_until) WHERE attempt <> '';
CREATE INDEX tokens_lapse ON tokens (refresh_expires) WHERE refresh_expires IS NOT NULL;
CREATE INDEX tokens_client ON tokens (client);
CREATE INDEX tokens_state ON tokens (state, name);
CREATE INDEX tokens_digest ON tokens (provider, digest) WHERE digest IS NOT NULL;

-- A registration's own trouble, shared by all its connections.
CREATE TABLE clients (
	key        TEXT PRIMARY KEY,
	state      TEXT NOT NULL,
	reason     TEXT NOT NULL DEFAULT '',
	error      TEXT NOT NULL DEFAULT '',
	not_before INTEGER,
	since      INTEGER NOT NULL
) STRICT;

-- Answers that came too late to be the current one, kept for a day.
CREATE TABLE orphans (
	id         TEXT PRIMARY KEY,
	connection TEXT NOT NULL,
	gen        INTEGER NOT NULL,
	sealed     BLOB NOT NULL,
	reason     TEXT NOT NULL,
	created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	at         INTEGER NOT NULL,
	connection TEXT NOT NULL DEFAULT '',
	type       TEXT NOT NULL,
	detail     TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX events_connection ON events (connection, seq);

CREATE TABLE audit ( -- a page of rows each, see store.AuditRow
	first   INTEGER PRIMARY KEY, -- number of its first row
	entries TEXT NOT NULL,
	hashes  BLOB NOT NULL
) STRICT;

CREATE TABLE api_keys (
	id         TEXT PRIMARY KEY,
	name       TEXT NOT NULL UNIQUE,
	hash       BLOB NOT NULL,
	scopes     TEXT NOT NULL,
	addresses  TEXT NOT NULL DEFAULT '[]',
	created_at INTEGER NOT NULL,
	expires_at INTEGER,
	last_used  INTEGER,
	revoked_at INTEGER
) STRICT;

-- Authorizations under way: the key is a keyed hash of the state.
CREATE TABLE flows (
	id         TEXT PRIMARY KEY,
	connection TEXT NOT NULL,
	kind       TEXT NOT NULL,
	sealed     BLOB NOT NULL,
	status     TEXT NOT NULL,
	detail     TEXT NOT NULL DEFAULT '',
	created_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	poll_at    INTEGER
) STRICT;

-- What must still be told to somebody outside: webhooks, revocations.
CREATE TABLE outbox (
	id         TEXT PRIMARY KEY,
	kind       TEXT NOT NULL,
	target     TEXT NOT NULL,
	payload    TEXT NOT NULL,
	sealed     BLOB,
	attempts   INTEGER NOT NULL DEFAULT 0,
	next_at    INTEGER NOT NULL,
	error      TEXT NOT NULL DEFAULT '',
	created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (next_at);

-- The processes that share the database. One that stops with nothing left to
-- store takes its row away.
CREATE TABLE replicas (
	id         TEXT PRIMARY KEY,
	place      TEXT NOT NULL,
	version    TEXT NOT NULL,
	protocol   INTEGER NOT NULL,
	spilled    INTEGER NOT NULL DEFAULT 0,
	started_at INTEGER NOT NULL,
	seen_at    INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE replicas;
DROP TABLE outbox;
DROP TABLE flows;
DROP TABLE api_keys;
DROP TABLE audit;
DROP TABLE events;
DROP TABLE orphans;
DROP TABLE clients;
DROP TABLE tokens;
DROP TABLE resource_refs;
DROP TABLE resources;
DROP TABLE meta;
