-- +goose Up

-- Names in the library of workflows; the id is that of the resource.
CREATE TABLE workflows (
	id         TEXT COLLATE "C" PRIMARY KEY,
	name       TEXT COLLATE "C" NOT NULL UNIQUE,
	latest     BIGINT NOT NULL,
	published  BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL
);

-- One row per version: the file and what is attached to it, sealed as one,
-- because foreign files hold old credentials in the oddest places.
CREATE TABLE workflow_versions (
	id            TEXT COLLATE "C" PRIMARY KEY,
	workflow      TEXT COLLATE "C" NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
	number        BIGINT NOT NULL,
	hash          TEXT NOT NULL,
	size          BIGINT NOT NULL,
	definition_id TEXT NOT NULL DEFAULT '',
	tag           TEXT NOT NULL DEFAULT '',
	sealed        BYTEA NOT NULL,
	created_at    BIGINT NOT NULL,
	created_by    TEXT NOT NULL DEFAULT '',
	published_at  BIGINT,
	UNIQUE (workflow, number)
);

-- +goose Down
DROP TABLE workflow_versions;
DROP TABLE workflows;
