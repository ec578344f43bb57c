-- +goose Up

-- Processes and the number of their newest instance; the id is that of the
-- resource. Numbers are never given twice.
CREATE TABLE processes (
	id   TEXT COLLATE "C" PRIMARY KEY,
	name TEXT COLLATE "C" NOT NULL UNIQUE,
	last BIGINT NOT NULL DEFAULT 0
);

-- Saved instances. What their fields hold is sealed as one value, bound to
-- ("process_instances", id, "fields", revision).
CREATE TABLE process_instances (
	id              TEXT COLLATE "C" PRIMARY KEY,
	process         TEXT COLLATE "C" NOT NULL REFERENCES processes (id) ON DELETE CASCADE,
	number          BIGINT NOT NULL,
	name            TEXT COLLATE "C" NOT NULL UNIQUE, -- PROCESS-NUMBER
	sealed          BYTEA NOT NULL,
	revision        BIGINT NOT NULL,
	issued_at       BIGINT,              -- of the token that the fields hold, as far as they say
	expires_at      BIGINT,
	refresh_expires BIGINT,
	created_at      BIGINT NOT NULL,
	saved_at        BIGINT NOT NULL,
	saved_by        TEXT NOT NULL DEFAULT '',
	UNIQUE (process, number)
);

-- +goose Down
DROP TABLE process_instances;
DROP TABLE processes;
