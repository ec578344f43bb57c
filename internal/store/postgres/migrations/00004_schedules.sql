-- +goose Up
-- What fires at instants: schedules of people, start activities of workflows,
-- timers of suspended runs. next_at is NULL for what waits for nobody's clock:
-- paused, ended, on demand.
CREATE TABLE timers (
	id         TEXT COLLATE "C" PRIMARY KEY,
	kind       TEXT COLLATE "C" NOT NULL,
	name       TEXT COLLATE "C" NOT NULL,
	ref        TEXT COLLATE "C" NOT NULL DEFAULT '',
	target     TEXT COLLATE "C" NOT NULL,
	subject    TEXT COLLATE "C" NOT NULL DEFAULT '',
	spec       TEXT NOT NULL,
	anchor     BIGINT NOT NULL,
	next_at    BIGINT,
	paused     BIGINT NOT NULL DEFAULT 0,
	seq        BIGINT NOT NULL DEFAULT 0,
	fired      BIGINT NOT NULL DEFAULT 0,
	open       TEXT COLLATE "C" NOT NULL DEFAULT '',
	revision   BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX timers_due ON timers (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX timers_name ON timers (kind, name);
CREATE INDEX timers_ref ON timers (kind, ref);

-- What has fired. The second key is what makes an instant fire once.
CREATE TABLE firings (
	id         TEXT COLLATE "C" PRIMARY KEY,
	timer      TEXT COLLATE "C" NOT NULL,
	seq        BIGINT NOT NULL,
	key        TEXT COLLATE "C" NOT NULL,
	cause      TEXT COLLATE "C" NOT NULL,
	nominal    BIGINT NOT NULL,
	missed     BIGINT NOT NULL DEFAULT 0,
	status     TEXT COLLATE "C" NOT NULL,
	attempts   BIGINT NOT NULL DEFAULT 0,
	input      TEXT NOT NULL DEFAULT '',
	run        TEXT NOT NULL DEFAULT '',
	message    TEXT NOT NULL DEFAULT '',
	created_at BIGINT NOT NULL,
	started_at BIGINT,
	ended_at   BIGINT,
	UNIQUE (timer, key)
);
CREATE INDEX firings_timer ON firings (timer, seq);

-- Work of the in-process runner: a job names what to do and is gone when it is
-- done.
CREATE TABLE jobs (
	id         TEXT COLLATE "C" PRIMARY KEY,
	kind       TEXT COLLATE "C" NOT NULL,
	ref        TEXT COLLATE "C" NOT NULL,
	status     TEXT COLLATE "C" NOT NULL,
	owner      TEXT COLLATE "C" NOT NULL DEFAULT '',
	attempts   BIGINT NOT NULL DEFAULT 0,
	run_at     BIGINT NOT NULL,
	error      TEXT NOT NULL DEFAULT '',
	created_at BIGINT NOT NULL
);
CREATE INDEX jobs_due ON jobs (run_at, id) WHERE status = 'queued';
CREATE INDEX jobs_running ON jobs (owner) WHERE status = 'running';

-- +goose Down
DROP TABLE jobs;
DROP TABLE firings;
DROP TABLE timers;
