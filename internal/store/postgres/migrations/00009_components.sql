-- +goose Up

-- Messages of component actions that have not ended well: under way, waiting for
-- another attempt, or failed and kept. Those that end well are deleted. The
-- message is sealed, bound to ("component_messages", id, "message", 0).
CREATE TABLE component_messages (
	id         TEXT COLLATE "C" PRIMARY KEY,
	component  TEXT COLLATE "C" NOT NULL,             -- id of the resource
	name       TEXT COLLATE "C" NOT NULL,             -- of the component
	action     TEXT COLLATE "C" NOT NULL,
	sealed     BYTEA NOT NULL,
	state      TEXT NOT NULL,             -- running, waiting, failed
	attempts   BIGINT NOT NULL,          -- begun so far
	run        TEXT COLLATE "C" NOT NULL,             -- of the latest attempt
	error      TEXT NOT NULL DEFAULT '',  -- of the latest attempt, masked
	due_at     BIGINT,                   -- of the next attempt, while it waits
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);
CREATE INDEX component_messages_name ON component_messages (name, state, id);
CREATE UNIQUE INDEX component_messages_run ON component_messages (run);

-- What an action keeps from message to message, sealed, bound to
-- ("component_snapshots", id, "snapshot", revision).
CREATE TABLE component_snapshots (
	id        TEXT COLLATE "C" PRIMARY KEY,           -- COMPONENT-ID/ACTION
	component TEXT COLLATE "C" NOT NULL,
	sealed    BYTEA NOT NULL,
	revision  BIGINT NOT NULL
);

-- +goose Down
DROP TABLE component_snapshots;
DROP TABLE component_messages;
