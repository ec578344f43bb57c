package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Standby starts a server that follows this one and takes reads. It is removed
// with the test.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	f := &Server{bin: s.bin, who: s.who, prepared: map[string]string{}}
	var err error
	if f.dir, err = tempDir("freshet-pg", s.who); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.remove)
	cmd := f.command("pg_basebackup", "-D", f.data(), "-d", strings.TrimSuffix(s.SuperURL("postgres"), "?sslmode=disable"), "-R", "-c", "fast")
	cmd.Env = append(cmd.Env, "PGPASSWORD="+Password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pgtest: pg_basebackup: %v: %s", err, out)
	}
	if f.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	conf, err := os.OpenFile(filepath.Join(f.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conf, "port = %d\nhot_standby = on\n", f.port); err != nil {
		t.Fatal(err)
	}
	if err := conf.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.begin(); err != nil {
		t.Fatal(err)
	}
	return f
}

// Lag has a standby receive nothing more of what its primary commits. It
// returns when nothing more comes.
func (s *Server) Lag(t testing.TB) {
	t.Helper()
	s.streams(t, "=")
	s.Set(t, "primary_conninfo", "host=127.0.0.1 port=1")
	// One that was about to begin by the former setting begins once more.
	for range 30 {
		s.streams(t, "<>")
		time.Sleep(10 * time.Millisecond)
	}
}

// streams waits until the number of those who stream to a standby is 1, or is
// not.
func (s *Server) streams(t testing.TB, is string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		// A division by zero says no.
		err := s.exec("postgres", `SELECT 1 / (CASE WHEN (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming') `+is+` 1 THEN 1 ELSE 0 END)`)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("pgtest: the standby does not come to stream, or to stop: %v", err)
		}
	}
}

// Promote makes a standby take its primary's place, and returns when it takes
// writes.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if err := s.exec("postgres", `SELECT pg_promote(true, 60)`); err != nil {
		t.Fatal(err)
	}
}

// Either is a URL by which a client finds the one of several servers that takes
// writes.
func Either(database string, servers ...*Server) string {
	hosts := make([]string, len(servers))
	for i, s := range servers {
		hosts[i] = fmt.Sprint("127.0.0.1:", s.port)
	}
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable&target_session_attrs=read-write", User, Password, strings.Join(hosts, ","), database)
}
