-- +goose Up

-- Names in the library of workflows; the id is that of the resource.
CREATE TABLE workflows (
	id         TEXT PRIMARY KEY,
	name       TEXT NOT NULL UNIQUE,
	latest     INTEGER NOT NULL,
	published  INTEGER NOT NULL DEFAULT 0,
	updated_at INTEGER NOT NULL
) STRICT;

-- One row per version: the file and what is attached to it, sealed as one,
-- because foreign files hold old credentials in the oddest places.
CREATE TABLE workflow_versions (
	id            TEXT PRIMARY KEY,
	workflow      TEXT NOT NULL REFERENCES workflows (id) ON DELETE CASCADE,
	number        INTEGER NOT NULL,
	hash          TEXT NOT NULL,
	size          INTEGER NOT NULL,
	definition_id TEXT NOT NULL DEFAULT '',
	tag           TEXT NOT NULL DEFAULT '',
	sealed        BLOB NOT NULL,
	created_at    INTEGER NOT NULL,
	created_by    TEXT NOT NULL DEFAULT '',
	published_at  INTEGER,
	UNIQUE (workflow, number)
) STRICT;

-- +goose Down
DROP TABLE workflow_versions;
DROP TABLE workflows;
