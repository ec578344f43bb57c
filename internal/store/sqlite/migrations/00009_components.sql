-- +goose Up

-- Messages of component actions that have not ended well: under way, waiting for
-- another attempt, or failed and kept. Those that end well are deleted. The
-- message is sealed, bound to ("component_messages", id, "message", 0).
CREATE TABLE component_messages (
	id         TEXT PRIMARY KEY,
	component  TEXT NOT NULL,             -- id of the resource
	name       TEXT NOT NULL,             -- of the component
	action     TEXT NOT NULL,
	sealed     BLOB NOT NULL,
	state      TEXT NOT NULL,             -- running, waiting, failed
	attempts   INTEGER NOT NULL,          -- begun so far
	run        TEXT NOT NULL,             -- of the latest attempt
	error      TEXT NOT NULL DEFAULT '',  -- of the latest attempt, masked
	due_at     INTEGER,                   -- of the next attempt, while it waits
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX component_messages_name ON component_messages (name, state, id);
CREATE UNIQUE INDEX component_messages_run ON component_messages (run);

-- What an action keeps from message to message, sealed, bound to
-- ("component_snapshots", id, "snapshot", revision).
CREATE TABLE component_snapshots (
	id        TEXT PRIMARY KEY,           -- COMPONENT-ID/ACTION
	component TEXT NOT NULL,
	sealed    BLOB NOT NULL,
	revision  INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE component_snapshots;
DROP TABLE component_messages;
