-- +goose Up

-- What the scripts of an app keep: appsmith.store, sealed as one. The app's id is
-- that of its resource.
CREATE TABLE app_stores (
	id         TEXT PRIMARY KEY,
	sealed     BLOB NOT NULL,
	revision   INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;

-- +goose Down
DROP TABLE app_stores;
