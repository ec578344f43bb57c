// Package pgtest starts a real PostgreSQL, and PgBouncer before it, from the
// programs that are installed: a cluster of its own on a free port of
// 127.0.0.1, in a temporary directory, as a user without rights.
//
// Most tests want an empty database on the cluster that a test binary shares:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	url := pgtest.Database(t)
//
// A test that kills, stops or sets up a server starts one for itself:
//
//	s := pgtest.Start(t, "synchronous_commit=off")
//	url := s.Database(t)
//	s.Kill9(t)
//	s.Restart(t)
//
// Databases belong to the user freshet, who is no superuser. Where the programs
// are not installed a test is skipped and says what to install; with CI=true it
// fails.
package pgtest
