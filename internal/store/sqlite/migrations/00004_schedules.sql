-- +goose Up
-- What fires at instants: schedules of people, start activities of workflows,
-- timers of suspended runs. next_at is NULL for what waits for nobody's clock:
-- paused, ended, on demand.
CREATE TABLE timers (
	id         TEXT PRIMARY KEY,
	kind       TEXT NOT NULL,
	name       TEXT NOT NULL,
	ref        TEXT NOT NULL DEFAULT '',
	target     TEXT NOT NULL,
	subject    TEXT NOT NULL DEFAULT '',
	spec       TEXT NOT NULL,
	anchor     INTEGER NOT NULL,
	next_at    INTEGER,
	paused     INTEGER NOT NULL DEFAULT 0,
	seq        INTEGER NOT NULL DEFAULT 0,
	fired      INTEGER NOT NULL DEFAULT 0,
	open       TEXT NOT NULL DEFAULT '',
	revision   INTEGER NOT NULL DEFAULT 1,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX timers_due ON timers (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX timers_name ON timers (kind, name);
CREATE INDEX timers_ref ON timers (kind, ref);

-- What has fired. The second key is what makes an instant fire once.
CREATE TABLE firings (
	id         TEXT PRIMARY KEY,
	timer      TEXT NOT NULL,
	seq        INTEGER NOT NULL,
	key        TEXT NOT NULL,
	cause      TEXT NOT NULL,
	nominal    INTEGER NOT NULL,
	missed     INTEGER NOT NULL DEFAULT 0,
	status     TEXT NOT NULL,
	attempts   INTEGER NOT NULL DEFAULT 0,
	input      TEXT NOT NULL DEFAULT '',
	run        TEXT NOT NULL DEFAULT '',
	message    TEXT NOT NULL DEFAULT '',
	created_at INTEGER NOT NULL,
	started_at INTEGER,
	ended_at   INTEGER,
	UNIQUE (timer, key)
) STRICT;
CREATE INDEX firings_timer ON firings (timer, seq);

-- Work of the in-process runner: a job names what to do and is gone when it is
-- done.
CREATE TABLE jobs (
	id         TEXT PRIMARY KEY,
	kind       TEXT NOT NULL,
	ref        TEXT NOT NULL,
	status     TEXT NOT NULL,
	owner      TEXT NOT NULL DEFAULT '',
	attempts   INTEGER NOT NULL DEFAULT 0,
	run_at     INTEGER NOT NULL,
	error      TEXT NOT NULL DEFAULT '',
	created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_due ON jobs (run_at, id) WHERE status = 'queued';
CREATE INDEX jobs_running ON jobs (owner) WHERE status = 'running';

-- +goose Down
DROP TABLE jobs;
DROP TABLE firings;
DROP TABLE timers;
