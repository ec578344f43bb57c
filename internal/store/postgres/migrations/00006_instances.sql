-- +goose Up
-- Runs of workflows whose state outlives the memory of a process: they wait,
-- failed, have not begun, or save each step. What they hold is sealed and bound
-- to ("instances", id, "state", revision).
CREATE TABLE instances (
	id         TEXT COLLATE "C" PRIMARY KEY,      -- the run
	workflow   TEXT COLLATE "C" NOT NULL,         -- its id in the library
	version    BIGINT NOT NULL,
	status     TEXT COLLATE "C" NOT NULL,         -- idle, running, suspended, faulted, ended
	singleton  TEXT COLLATE "C",                  -- set while the run keeps others of its workflow away
	parent     TEXT COLLATE "C" NOT NULL,         -- the run that waits for its end; '' if none does
	state      BYTEA NOT NULL,
	revision   BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX instances_singleton ON instances (singleton) WHERE singleton IS NOT NULL;
CREATE INDEX instances_status ON instances (status, id);

-- What runs wait for.
CREATE TABLE bookmarks (
	id       TEXT COLLATE "C" PRIMARY KEY,
	run      TEXT COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
	activity TEXT COLLATE "C" NOT NULL,
	kind     TEXT COLLATE "C" NOT NULL,           -- timer, signal, child, http
	key      TEXT COLLATE "C" NOT NULL,
	due      BIGINT                  -- of a timer
);
CREATE INDEX bookmarks_run ON bookmarks (run);
CREATE INDEX bookmarks_key ON bookmarks (kind, key, id);
CREATE INDEX bookmarks_due ON bookmarks (due, id) WHERE due IS NOT NULL;

-- Who holds a lock of a workflow, and until when the holder is believed to live.
CREATE TABLE workflow_locks (
	key         TEXT COLLATE "C" PRIMARY KEY,
	owner       TEXT COLLATE "C" NOT NULL,
	lease_until BIGINT NOT NULL
);

-- +goose Down
DROP TABLE workflow_locks;
DROP TABLE bookmarks;
DROP TABLE instances;
