-- +goose Up

-- What the scripts of an app keep: appsmith.store, sealed as one. The app's id is
-- that of its resource.
CREATE TABLE app_stores (
	id         TEXT COLLATE "C" PRIMARY KEY,
	sealed     BYTEA NOT NULL,
	revision   BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE app_stores;
