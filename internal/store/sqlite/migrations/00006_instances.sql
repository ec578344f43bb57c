-- +goose Up
-- Runs of workflows whose state outlives the memory of a process: they wait,
-- failed, have not begun, or save each step. What they hold is sealed and bound
-- to ("instances", id, "state", revision).
CREATE TABLE instances (
	id         TEXT PRIMARY KEY,      -- the run
	workflow   TEXT NOT NULL,         -- its id in the library
	version    INTEGER NOT NULL,
	status     TEXT NOT NULL,         -- idle, running, suspended, faulted, ended
	singleton  TEXT,                  -- set while the run keeps others of its workflow away
	parent     TEXT NOT NULL,         -- the run that waits for its end; '' if none does
	state      BLOB NOT NULL,
	revision   INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX instances_singleton ON instances (singleton) WHERE singleton IS NOT NULL;
CREATE INDEX instances_status ON instances (status, id);

-- What runs wait for.
CREATE TABLE bookmarks (
	id       TEXT PRIMARY KEY,
	run      TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
	activity TEXT NOT NULL,
	kind     TEXT NOT NULL,           -- timer, signal, child, http
	key      TEXT NOT NULL,
	due      INTEGER                  -- of a timer
) STRICT;
CREATE INDEX bookmarks_run ON bookmarks (run);
CREATE INDEX bookmarks_key ON bookmarks (kind, key, id);
CREATE INDEX bookmarks_due ON bookmarks (due, id) WHERE due IS NOT NULL;

-- Who holds a lock of a workflow, and until when the holder is believed to live.
CREATE TABLE workflow_locks (
	key         TEXT PRIMARY KEY,
	owner       TEXT NOT NULL,
	lease_until INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE workflow_locks;
DROP TABLE bookmarks;
DROP TABLE instances;
