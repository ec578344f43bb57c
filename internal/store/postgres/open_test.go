package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
	"github.com/freshet-dev/freshet/internal/vault"
)

// contents are the tables of a database with their rows, and how many
// transactions have written anything.
func contents(t *testing.T, s *pgtest.Server, url string) string {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.SuperURL(pgtest.Name(url)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, `SELECT table_name::text, query_to_xml('SELECT * FROM ' || quote_ident(table_name), true, true, '')::text
		FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			t.Fatal(err)
		}
		b.WriteString(name + text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// says fails the test unless err is want, says the words and what to do, and
// keeps the password to itself.
func says(t *testing.T, err, want error, words string) {
	t.Helper()
	var e *postgres.Error
	switch {
	case !errors.Is(err, want) || !errors.As(err, &e):
		t.Fatalf("got %v, want %v", err, want)
	case !strings.Contains(err.Error(), words):
		t.Errorf("%q does not say %q", err, words)
	case e.Hint() == "":
		t.Errorf("%q does not say what to do", err)
	case strings.Contains(err.Error()+e.Hint()+fmt.Sprintf("%v %+v", err, e), pgtest.Password):
		t.Errorf("%q shows the password", err)
	}
}

func refuse(t *testing.T, o postgres.Options, want error, words string) {
	t.Helper()
	st, err := postgres.Open(t.Context(), o)
	if err == nil {
		st.Close()
		t.Fatal("it was opened")
	}
	says(t, err, want, words)
}

func TestOpenRefuses(t *testing.T) {
	s := pgtest.Shared(t)
	good := s.Database(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	real := fmt.Sprint("127.0.0.1:", s.Port())
	for name, c := range map[string]struct {
		url   string
		want  error
		words string
	}{
		"a URL of another database":   {"mysql://freshet:" + pgtest.Password + "@host/db", postgres.ErrRefused, "postgres://"},
		"no URL at all":               {"host=127.0.0.1 password=" + pgtest.Password, postgres.ErrRefused, "postgres://"},
		"a URL that does not read":    {"postgres://freshet:" + pgtest.Password + "@host:port/%zz", postgres.ErrRefused, "URL"},
		"a wrong parameter":           {good + "&sslmode=perhaps", postgres.ErrRefused, "sslmode"},
		"a pool that is too small":    {good + "&pool_max_conns=2", postgres.ErrRefused, "pool_max_conns is 2"},
		"nobody listens":              {strings.Replace(good, real, nobody, 1), postgres.ErrUnreachable, nobody},
		"a host that nobody knows":    {strings.Replace(good, real, "database.invalid", 1), postgres.ErrUnreachable, "database.invalid"},
		"a wrong password":            {strings.Replace(good, pgtest.Password, "wrong-"+pgtest.Password, 1), postgres.ErrRefused, "password"},
		"a user that is not there":    {strings.Replace(good, "//freshet:", "//nobody:", 1), postgres.ErrRefused, "nobody@"},
		"a database that is not":      {s.URL("none"), postgres.ErrRefused, "no such database"},
		"a server that wants no TLS":  {strings.Replace(good, "sslmode=disable", "sslmode=require", 1), postgres.ErrUnreachable, real},
		"a direct URL that is wrong":  {good, postgres.ErrRefused, "postgres://"},
		"a direct URL to another one": {good, postgres.ErrUnfit, "another database"},
	} {
		t.Run(name, func(t *testing.T) {
			o := postgres.Options{URL: c.url}
			switch name {
			case "a direct URL that is wrong":
				o.DirectURL = "localhost"
			case "a direct URL to another one":
				o.DirectURL = s.Database(t)
			}
			refuse(t, o, c.want, c.words)
		})
	}
	if got := contents(t, s, good); got != "" {
		t.Errorf("something was written: %s", got)
	}
}

func TestOpenRefusesADatabase(t *testing.T) {
	s := pgtest.Shared(t)
	for name, c := range map[string]struct {
		sql   []string
		want  error
		words string
	}{
		"F11 of a newer version":   {[]string{`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`}, postgres.ErrNewer, "9999"},
		"of another program":       {[]string{`DROP TABLE goose_db_version`}, postgres.ErrForeign, "tokens"},
		"that is set to read only": {[]string{`ALTER ROLE freshet SET default_transaction_read_only = on`}, store.ErrReadOnly, "read only"},
		"without a schema":         {[]string{`ALTER ROLE freshet SET search_path = nowhere`}, postgres.ErrUnfit, "schema"},
		"with too few connections": {[]string{`ALTER ROLE freshet CONNECTION LIMIT 2`}, postgres.ErrRefused, "2 connections left"},
		"without connections":      {[]string{`ALTER ROLE freshet CONNECTION LIMIT 0`}, postgres.ErrRefused, "0 connections left"},
	} {
		t.Run(name, func(t *testing.T) {
			url := fresh(t, s)
			s.Exec(t, url, c.sql...)
			defer s.Exec(t, url, `ALTER ROLE freshet RESET ALL`, `ALTER ROLE freshet CONNECTION LIMIT -1`)
			before := contents(t, s, url)
			refuse(t, postgres.Options{URL: url}, c.want, c.words)
			if after := contents(t, s, url); before != after {
				t.Error("something was written")
			}
		})
	}
	t.Run("of another encoding", func(t *testing.T) {
		s.Exec(t, s.URL("postgres"), `CREATE DATABASE ascii OWNER freshet ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0`)
		defer s.Exec(t, s.URL("postgres"), `DROP DATABASE ascii WITH (FORCE)`)
		refuse(t, postgres.Options{URL: s.URL("ascii")}, postgres.ErrUnfit, "SQL_ASCII")
	})
	t.Run("that the user may not make tables in", func(t *testing.T) {
		url := s.Database(t)
		s.Exec(t, url, `REVOKE ALL ON SCHEMA public FROM PUBLIC`, `GRANT USAGE ON SCHEMA public TO freshet`, `ALTER SCHEMA public OWNER TO postgres`)
		refuse(t, postgres.Options{URL: url}, postgres.ErrUnfit, "permission denied")
	})
	t.Run("that is only looked at and has no schema", func(t *testing.T) {
		url := s.Database(t)
		refuse(t, postgres.Options{URL: url, Look: true}, postgres.ErrOlder, "older")
		if got := contents(t, s, url); got != "" {
			t.Errorf("something was written: %s", got)
		}
	})
}

// Two installations with master keys of their own that are pointed at one
// database: the second is refused before it has written anything.
func TestF74_two_clusters_on_one_database(t *testing.T) {
	s := pgtest.Shared(t)
	url := fresh(t, s)
	first, second := open(t, postgres.Options{URL: url}), open(t, postgres.Options{URL: url})
	if _, err := vault.Open(t.Context(), first, vault.MasterKeyFile(filepath.Join(t.TempDir(), "one.key"))); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "two.key")
	elsewhere := open(t, postgres.Options{URL: fresh(t, s)})
	if _, err := vault.Open(t.Context(), elsewhere, vault.MasterKeyFile(other)); err != nil {
		t.Fatal(err)
	}
	before := contents(t, s, url)
	for _, key := range []string{other, filepath.Join(t.TempDir(), "none.key")} {
		_, err := vault.Open(t.Context(), second, vault.MasterKeyFile(key))
		var e *vault.KeyError
		if !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("%v", err)
		}
	}
	if after := contents(t, s, url); before != after {
		t.Error("something was written")
	}
}

func TestOpenWarns(t *testing.T) {
	for setting, words := range map[string][]string{
		"fsync":            {"fsync=off", "tokens that providers have rotated are lost"},
		"full_page_writes": {"full_page_writes=off", "torn"},
	} {
		t.Run(setting, func(t *testing.T) {
			s := pgtest.Start(t, setting+"=off")
			var log bytes.Buffer
			open(t, postgres.Options{URL: s.Database(t), Log: slog.New(slog.NewTextHandler(&log, nil))})
			for _, w := range append(words, "level=WARN") {
				if !strings.Contains(log.String(), w) {
					t.Errorf("it does not say %q: %s", w, log.String())
				}
			}
			if strings.Contains(log.String(), pgtest.Password) {
				t.Error("the log shows the password")
			}
		})
	}
	t.Run("nothing of a server that is set up well", func(t *testing.T) {
		var log bytes.Buffer
		open(t, postgres.Options{URL: pgtest.Database(t), Log: slog.New(slog.NewTextHandler(&log, nil))})
		if log.Len() > 0 {
			t.Error(log.String())
		}
	})
	t.Run("few connections", func(t *testing.T) {
		s := pgtest.Start(t, "max_connections=12")
		var log bytes.Buffer
		open(t, postgres.Options{URL: s.Database(t), Log: slog.New(slog.NewTextHandler(&log, nil))})
		if !strings.Contains(log.String(), "fewer connections left") {
			t.Error(log.String())
		}
	})
}

// Replicas that start together on an empty database make one schema.
func TestStartTogether(t *testing.T) {
	s := pgtest.Shared(t)
	p := s.PgBouncer(t, 10)
	direct, pooled, both := s.Database(t), s.Database(t), s.Database(t)
	for name, o := range map[string]postgres.Options{
		"direct":                       {URL: direct},
		"behind a pooler":              {URL: p.URL(pooled)},
		"a pooler and a way around it": {URL: p.URL(both), DirectURL: both},
	} {
		t.Run(name, func(t *testing.T) {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					st, err := postgres.Open(t.Context(), o)
					if err != nil {
						t.Error(err)
						return
					}
					if err := st.Writable(t.Context()); err != nil {
						t.Error(err)
					}
					d := st.DB().(*postgres.DB)
					if d.Pooled() != (name != "direct") || (d.Direct() == nil) != (name == "behind a pooler") {
						t.Errorf("pooled %v, direct %v", d.Pooled(), d.Direct() != nil)
					}
					st.Close()
				})
			}
			wg.Wait()
			n := strings.Count(contents(t, s, o.URL), "<version_id>1</version_id>")
			if n != 1 {
				t.Errorf("the first migration ran %d times", n)
			}
		})
	}
}

// A migration that fails leaves the schema before it, and the next start goes
// on from there.
func TestF11_a_migration_that_fails(t *testing.T) {
	s := pgtest.Shared(t)
	url := s.Database(t)
	one := &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE meta (key TEXT PRIMARY KEY);\n")}
	dir := func(second string) fstest.MapFS {
		return fstest.MapFS{"00001_a.sql": one, "00002_b.sql": {Data: []byte("-- +goose Up\nCREATE TABLE b (x BIGINT);\n" + second)}}
	}
	_, err := postgres.OpenWith(t.Context(), postgres.Options{URL: url}, dir("SELECT 1 / 0;\n"))
	says(t, err, store.ErrReadOnly, "its schema stays at 1")
	if got := contents(t, s, url); strings.Contains(got, "<table name=\"b\"") || strings.Contains(got, "<version_id>2<") {
		t.Errorf("half a migration: %s", got)
	}
	st, err := postgres.OpenWith(t.Context(), postgres.Options{URL: url}, dir(""))
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	if got := contents(t, s, url); strings.Count(got, "<version_id>2<") != 1 {
		t.Error(got)
	}
	// An older binary keeps away.
	_, err = postgres.OpenWith(t.Context(), postgres.Options{URL: url}, fstest.MapFS{"00001_a.sql": one})
	says(t, err, postgres.ErrNewer, "schema is 2")
}
