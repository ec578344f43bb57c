-- +goose Up
-- What ran. Ids sort by the instant of the start. Everything here is masked.
CREATE TABLE runs (
	id          TEXT PRIMARY KEY,
	kind        TEXT NOT NULL,
	name        TEXT NOT NULL,
	version     INTEGER NOT NULL,
	status      TEXT NOT NULL,
	owner       TEXT NOT NULL,    -- the process that runs it, or ran it last
	correlation TEXT NOT NULL,
	former      TEXT,             -- a JSON list of earlier correlation ids
	parent      TEXT NOT NULL,
	parent_step INTEGER NOT NULL,
	started_by  TEXT NOT NULL,
	road        TEXT NOT NULL,
	key         TEXT NOT NULL,
	started_at  INTEGER NOT NULL,
	updated_at  INTEGER NOT NULL,
	ended_at    INTEGER,
	steps       INTEGER NOT NULL,
	input       TEXT,
	output      TEXT,
	result      TEXT              -- JSON: outcomes, fault, warnings
) STRICT;
CREATE INDEX runs_name ON runs (name, id);
CREATE INDEX runs_status ON runs (status, id);
CREATE INDEX runs_faulted ON runs (name, id) WHERE status = 'faulted';
CREATE INDEX runs_parent ON runs (parent, id) WHERE parent <> '';
CREATE UNIQUE INDEX runs_key ON runs (key) WHERE key <> '';

-- What happened within a run: many steps to a row.
CREATE TABLE run_steps (
	run   TEXT NOT NULL,
	first INTEGER NOT NULL,       -- number of the first one
	steps TEXT NOT NULL,          -- a JSON list
	PRIMARY KEY (run, first)
) STRICT;

-- Every correlation id that a run ever had, by its first bytes.
CREATE TABLE run_correlations (
	head TEXT NOT NULL,
	run  TEXT NOT NULL,
	PRIMARY KEY (head, run)
) STRICT, WITHOUT ROWID;

-- Processes that run something, and until when they are believed to live.
CREATE TABLE run_owners (
	owner       TEXT PRIMARY KEY,
	lease_until INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE run_owners;
DROP TABLE run_correlations;
DROP TABLE run_steps;
DROP TABLE runs;
