-- +goose Up
CREATE TABLE tables (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	name       TEXT NOT NULL UNIQUE,
	spec       TEXT NOT NULL,
	row_count  INTEGER NOT NULL,
	revision   INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;

-- A row's number is never given again, by no table.
CREATE TABLE table_rows (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	table_id   INTEGER NOT NULL REFERENCES tables (id) ON DELETE CASCADE,
	version    INTEGER NOT NULL,
	data       TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX table_rows_table ON table_rows (table_id, id);

-- What filters and orders look up: one cell for each value of an indexed
-- column, none where a row has no value.
CREATE TABLE table_cells (
	row_id    INTEGER NOT NULL REFERENCES table_rows (id) ON DELETE CASCADE,
	column_id INTEGER NOT NULL,
	table_id  INTEGER NOT NULL,
	num       INTEGER,
	txt       TEXT,
	PRIMARY KEY (row_id, column_id)
) STRICT;
CREATE INDEX table_cells_num ON table_cells (table_id, column_id, num, row_id) WHERE num IS NOT NULL;
CREATE INDEX table_cells_txt ON table_cells (table_id, column_id, txt, row_id) WHERE txt IS NOT NULL;

-- The secret columns of one version of a row, sealed as one map and bound to
-- ("table_rows", row_id, "secrets", version).
CREATE TABLE table_secrets (
	id       TEXT PRIMARY KEY,
	row_id   INTEGER NOT NULL,
	version  INTEGER NOT NULL,
	table_id INTEGER NOT NULL REFERENCES tables (id) ON DELETE CASCADE,
	sealed   BLOB NOT NULL,
	UNIQUE (row_id, version)
) STRICT;
CREATE INDEX table_secrets_table ON table_secrets (table_id);

-- Every version of a row, those of deleted ones too.
CREATE TABLE table_history (
	row_id   INTEGER NOT NULL,
	version  INTEGER NOT NULL,
	table_id INTEGER NOT NULL REFERENCES tables (id) ON DELETE CASCADE,
	action   TEXT NOT NULL,
	data     TEXT NOT NULL,
	at       INTEGER NOT NULL,
	actor    TEXT NOT NULL,
	PRIMARY KEY (row_id, version)
) STRICT;
CREATE INDEX table_history_table ON table_history (table_id);

-- +goose Down
DROP TABLE table_history;
DROP TABLE table_secrets;
DROP TABLE table_cells;
DROP TABLE table_rows;
DROP TABLE tables;
