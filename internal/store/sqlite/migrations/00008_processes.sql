-- +goose Up

-- Processes and the number of their newest instance; the id is that of the
-- resource. Numbers are never given twice.
CREATE TABLE processes (
	id   TEXT PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	last INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Saved instances. What their fields hold is sealed as one value, bound to
-- ("process_instances", id, "fields", revision).
CREATE TABLE process_instances (
	id              TEXT PRIMARY KEY,
	process         TEXT NOT NULL REFERENCES processes (id) ON DELETE CASCADE,
	number          INTEGER NOT NULL,
	name            TEXT NOT NULL UNIQUE, -- PROCESS-NUMBER
	sealed          BLOB NOT NULL,
	revision        INTEGER NOT NULL,
	issued_at       INTEGER,              -- of the token that the fields hold, as far as they say
	expires_at      INTEGER,
	refresh_expires INTEGER,
	created_at      INTEGER NOT NULL,
	saved_at        INTEGER NOT NULL,
	saved_by        TEXT NOT NULL DEFAULT '',
	UNIQUE (process, number)
) STRICT;

-- +goose Down
DROP TABLE process_instances;
DROP TABLE processes;
