-- +goose Up
-- What ran. Ids sort by the instant of the start. Everything here is masked.
CREATE TABLE runs (
	id          TEXT COLLATE "C" PRIMARY KEY,
	kind        TEXT NOT NULL,
	name        TEXT COLLATE "C" NOT NULL,
	version     BIGINT NOT NULL,
	status      TEXT COLLATE "C" NOT NULL,
	owner       TEXT COLLATE "C" NOT NULL,    -- the process that runs it, or ran it last
	correlation TEXT NOT NULL,
	former      TEXT,                         -- a JSON list of earlier correlation ids
	parent      TEXT COLLATE "C" NOT NULL,
	parent_step BIGINT NOT NULL,
	started_by  TEXT NOT NULL,
	road        TEXT NOT NULL,
	key         TEXT COLLATE "C" NOT NULL,
	started_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	ended_at    BIGINT,
	steps       BIGINT NOT NULL,
	input       TEXT,
	output      TEXT,
	result      TEXT                          -- JSON: outcomes, fault, warnings
);
CREATE INDEX runs_name ON runs (name, id);
CREATE INDEX runs_status ON runs (status, id);
CREATE INDEX runs_faulted ON runs (name, id) WHERE status = 'faulted';
CREATE INDEX runs_parent ON runs (parent, id) WHERE parent <> '';
CREATE UNIQUE INDEX runs_key ON runs (key) WHERE key <> '';

-- What happened within a run: many steps to a row.
CREATE TABLE run_steps (
	run   TEXT COLLATE "C" NOT NULL,
	first BIGINT NOT NULL,                    -- number of the first one
	steps TEXT NOT NULL,                      -- a JSON list
	PRIMARY KEY (run, first)
);

-- Every correlation id that a run ever had, by its first bytes.
CREATE TABLE run_correlations (
	head TEXT COLLATE "C" NOT NULL,
	run  TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (head, run)
);

-- Processes that run something, and until when they are believed to live.
CREATE TABLE run_owners (
	owner       TEXT COLLATE "C" PRIMARY KEY,
	lease_until BIGINT NOT NULL
);

-- +goose Down
DROP TABLE run_owners;
DROP TABLE run_correlations;
DROP TABLE run_steps;
DROP TABLE runs;
