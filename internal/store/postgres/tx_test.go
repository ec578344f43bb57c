package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/postgres/pgtest"
)

func setting(t *testing.T, q store.Querier, name string) string {
	t.Helper()
	var v string
	if err := q.QueryRow(t.Context(), `SELECT current_setting($1)`, name).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// Whatever the server's default is, a transaction is durable when it is
// acknowledged; what an operator has set above that stays.
func TestTransactionsAreDurable(t *testing.T) {
	s := pgtest.Shared(t)
	for was, want := range map[string]string{"off": "on", "local": "on", "remote_write": "on", "on": "on", "remote_apply": "remote_apply"} {
		url := fresh(t, s)
		s.Exec(t, url, fmt.Sprintf(`ALTER DATABASE %s SET synchronous_commit = %s`, pgtest.Name(url), was))
		st := open(t, postgres.Options{URL: url})
		if err := st.DB().Tx(t.Context(), func(tx store.Querier) error {
			if got := setting(t, tx, "synchronous_commit"); got != want {
				t.Errorf("with the server at %s a transaction has %s, want %s", was, got, want)
			}
			if got := setting(t, tx, "lock_timeout"); got != "8s" {
				t.Errorf("lock_timeout %s", got)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for range 20 { // whichever connection it was
			if got := setting(t, st.DB().Read(), "synchronous_commit") + setting(t, st.DB().Read(), "lock_timeout"); got != was+"0" {
				t.Fatalf("a setting outlived its transaction: %s", got)
			}
		}
	}
}

// F69: with synchronous_commit=off as the server's default, a server that is
// killed in the middle of many commits has every one that it acknowledged.
func TestF69_a_killed_server_has_what_it_acknowledged(t *testing.T) {
	s := pgtest.Start(t, "synchronous_commit=off", "wal_writer_delay=10s")
	st := open(t, postgres.Options{URL: fresh(t, s)})
	const writers = 6
	names := make([]string, writers)
	for i := range names {
		names[i] = fmt.Sprint("c", i)
	}
	connect(t, st, names...)
	var acked [writers]atomic.Int64
	kills := 5
	if testing.Short() {
		kills = 2
	}
	for kill := range kills {
		var wg sync.WaitGroup
		for i, n := range names {
			wg.Go(func() {
				for gen := acked[i].Load(); ; gen++ {
					err := st.Put(t.Context(), store.Commit{ID: freshet.ConnectionID("id-" + n), Gen: gen, Sealed: fmt.Append(nil, gen+1)})
					if errors.Is(err, store.ErrStale) {
						continue // the one that nobody acknowledged was stored
					} else if err != nil {
						if !errors.Is(err, store.ErrReadOnly) {
							t.Error(err)
						}
						return
					}
					acked[i].Store(gen + 1)
				}
			})
		}
		for goal := int64(20 * (kill + 1)); acked[0].Load() < goal; {
			time.Sleep(time.Millisecond)
			if t.Failed() {
				t.FailNow()
			}
		}
		s.Kill9(t)
		wg.Wait()
		s.Restart(t)
		for i, n := range names {
			r, err := st.TokenByName(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if a := acked[i].Load(); r.Gen < a || r.Gen > a+1 {
				t.Errorf("kill %d: %s is at generation %d, acknowledged were %d", kill, n, r.Gen, a)
			}
			acked[i].Store(r.Gen)
		}
	}
}

// After a restart of the server the connections that lie in the pool are dead;
// nobody sees that.
func TestARestartIsNotSeen(t *testing.T) {
	s := pgtest.Start(t)
	st := open(t, postgres.Options{URL: fresh(t, s)})
	for range 3 {
		// Fill the pool.
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := st.DB().Read().QueryRow(t.Context(), `SELECT pg_sleep(0.02)::text`).Scan(new(string)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s.Restart(t)
		if _, err := st.Tokens(t.Context(), "", "", 1); err != nil {
			t.Errorf("read: %v", err)
		}
		s.Restart(t)
		if err := st.Writable(t.Context()); err != nil {
			t.Errorf("write: %v", err)
		}
	}
	s.Stop(t)
	err := st.Writable(t.Context())
	says2(t, err, store.ErrReadOnly, "does not answer")
	_, err = st.Tokens(t.Context(), "", "", 1)
	says2(t, err, store.ErrReadOnly, "does not answer")
	s.Restart(t)
	if err := st.Writable(t.Context()); err != nil {
		t.Error(err)
	}
}

func says2(t *testing.T, err, want error, words string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), pgtest.Password) {
		t.Errorf("got %v", err)
	}
}

// A server that hangs holds callers up for as long as they wait, no longer.
func TestAPausedServer(t *testing.T) {
	s := pgtest.Start(t)
	st := open(t, postgres.Options{URL: fresh(t, s)})
	s.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := st.Writable(ctx); !errors.Is(err, store.ErrReadOnly) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if _, err := st.Tokens(ctx, "", "", 1); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("%v", err)
	}
	s.Resume(t)
	if err := st.Writable(t.Context()); err != nil {
		t.Error(err)
	}
}

// F66: a database that is set to read only while it is in use takes no claim.
func TestF66_read_only(t *testing.T) {
	s := pgtest.Shared(t)
	url := fresh(t, s)
	st := open(t, postgres.Options{URL: url})
	connect(t, st, "crm")
	s.Exec(t, url, fmt.Sprintf(`ALTER DATABASE %s SET default_transaction_read_only = on`, pgtest.Name(url)),
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	err := st.Claim(t.Context(), store.Claim{ID: "id-crm", Attempt: "a", Owner: "me", Lease: time.Minute})
	says2(t, err, store.ErrReadOnly, "takes no writes")
	if r, err := st.TokenByName(t.Context(), "crm"); err != nil || r.Attempt != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

// Transactions that are in each other's way both come to their end.
func TestDeadlock(t *testing.T) {
	st := open(t, postgres.Options{URL: fresh(t, pgtest.Shared(t))})
	connect(t, st, "a", "b")
	var ran atomic.Int64
	var wg, both sync.WaitGroup
	both.Add(2)
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			first := true
			if err := st.DB().Tx(t.Context(), func(tx store.Querier) error {
				ran.Add(1)
				for i, n := range order {
					if _, err := tx.Exec(t.Context(), `UPDATE tokens SET failures = failures + 1 WHERE name = $1`, n); err != nil {
						return err
					}
					if i == 0 && first {
						first = false
						both.Done()
						both.Wait() // each holds what the other wants
					}
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, n := range []string{"a", "b"} {
		if r, err := st.TokenByName(t.Context(), n); err != nil || r.Failures != 2 {
			t.Errorf("%s was changed %d times, %v", n, r.Failures, err)
		}
	}
	if ran.Load() != 3 {
		t.Errorf("it ran %d times; there was no deadlock, or it was not resolved by one more run", ran.Load())
	}
}

// As many writers as there are connections, each of which reads outside its
// transaction, do not wait for each other for ever.
func TestWritersThatRead(t *testing.T) {
	st := open(t, postgres.Options{URL: fresh(t, pgtest.Shared(t)) + "&pool_max_conns=4"})
	connect(t, st, "crm")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if err := st.DB().Tx(ctx, func(store.Querier) error {
				_, err := st.TokenByName(ctx, "crm")
				return err
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// F06: a COMMIT whose answer is lost is an error, is not run again, and may
// have been carried out: the row tells.
func TestF06_the_answer_to_a_commit_is_lost(t *testing.T) {
	s := pgtest.Shared(t)
	url := fresh(t, s)
	cut := newCut(t, fmt.Sprint("127.0.0.1:", s.Port()))
	st := open(t, postgres.Options{URL: strings.Replace(url, fmt.Sprint("127.0.0.1:", s.Port()), cut.addr, 1)})
	connect(t, st, "crm")
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	ran := 0
	for n := range rounds {
		cut.armed.Store(true)
		err := st.DB().Tx(t.Context(), func(tx store.Querier) error {
			ran++
			_, err := tx.Exec(t.Context(), `UPDATE tokens SET gen = gen + 1 WHERE name = 'crm'`)
			return err
		})
		if !errors.Is(err, store.ErrReadOnly) {
			t.Fatalf("round %d: %v", n, err)
		}
		r, err := st.TokenByName(t.Context(), "crm")
		if err != nil || r.Gen != int64(n+1) || ran != n+1 {
			t.Fatalf("round %d: generation %d after %d runs, %v", n, r.Gen, ran, err)
		}
	}
}

// A cut passes bytes on to a server, and hangs up instead of bringing the
// answer to a COMMIT when it is armed.
type cut struct {
	addr  string
	armed atomic.Bool
}

func newCut(t *testing.T, to string) *cut {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &cut{addr: l.Addr().String()}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				return
			}
			var quiet atomic.Bool
			pass := func(from, to net.Conn, look bool) {
				defer from.Close()
				defer to.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := from.Read(b)
					if err != nil {
						return
					}
					if look && strings.Contains(string(b[:n]), "COMMIT\x00") && c.armed.Swap(false) {
						quiet.Store(true)
					}
					if !look && quiet.Load() {
						return // the server has answered, so that it has committed
					}
					if _, err := to.Write(b[:n]); err != nil {
						return
					}
				}
			}
			go pass(in, out, true)
			go pass(out, in, false)
		}
	}()
	return c
}

// What bounds a single statement does not bound a transaction of many.
func TestALongTransaction(t *testing.T) {
	st, err := postgres.OpenImpatient(t.Context(), postgres.Options{URL: fresh(t, pgtest.Shared(t))}, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.DB().Tx(t.Context(), func(tx store.Querier) error {
		for range 10 {
			if _, err := tx.Exec(context.Background(), `SELECT pg_sleep(0.1)`); err != nil {
				return err
			}
		}
		_, err := tx.Exec(context.Background(), `INSERT INTO meta (key, value, revision) VALUES ('long', ''::bytea, 1)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := st.Meta(t.Context(), "long"); err != nil {
		t.Error(err)
	}
	began := time.Now()
	if err := st.DB().Tx(t.Context(), func(tx store.Querier) error {
		_, err := tx.Exec(context.Background(), `SELECT pg_sleep(20)`)
		return err
	}); !errors.Is(err, store.ErrReadOnly) || time.Since(began) > 10*time.Second {
		t.Errorf("a statement that hangs: %v after %v", err, time.Since(began))
	}
}

func TestText(t *testing.T) {
	st := open(t, postgres.Options{URL: fresh(t, pgtest.Shared(t))})
	if err := st.Post(t.Context(), store.Letter{ID: "l", Kind: "webhook", Target: "ops", Payload: "{}", NextAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := st.Returned(t.Context(), "l", "what \x00 a server \xff says", time.Now()); err != nil {
		t.Fatal(err)
	}
	got, err := st.Letters(t.Context(), 1)
	if err != nil || len(got) != 1 || got[0].Error != "what \uFFFD a server \uFFFD says" {
		t.Errorf("%+v, %v", got, err)
	}
}

// The clock of a transaction is the server's.
func TestClock(t *testing.T) {
	st := open(t, postgres.Options{URL: fresh(t, pgtest.Shared(t))})
	if err := st.DB().Tx(t.Context(), func(tx store.Querier) error {
		counted, err := st.DB().Now(t.Context(), tx)
		if err != nil {
			return err
		}
		asked, err := st.DB().Now(t.Context(), st.DB().Read())
		if d := asked.Sub(counted); d < -5*time.Second || d > 5*time.Second {
			t.Errorf("%v, %v", counted, asked)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// Other users of the cluster may have set the isolation that no one can work
// with.
func TestIsolation(t *testing.T) {
	s := pgtest.Shared(t)
	url := fresh(t, s)
	s.Exec(t, url, fmt.Sprintf(`ALTER DATABASE %s SET default_transaction_isolation = 'serializable'`, pgtest.Name(url)))
	st := open(t, postgres.Options{URL: url})
	if err := st.DB().Tx(t.Context(), func(tx store.Querier) error {
		if got := setting(t, tx, "transaction_isolation"); got != "read committed" {
			t.Error(got)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestNotify(t *testing.T) {
	s := pgtest.Start(t)
	p := s.PgBouncer(t, 4)
	url := fresh(t, s)
	behind := open(t, postgres.Options{URL: p.URL(url)}).DB().(*postgres.DB)
	if err := behind.Listen(t.Context(), func() {}, func(string) {}); !errors.Is(err, postgres.ErrNoListening) {
		t.Errorf("behind a pooler: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	begun, heard := make(chan bool, 100), make(chan string, 100)
	ended := make(chan error, 1)
	around := open(t, postgres.Options{URL: p.URL(url), DirectURL: url}).DB().(*postgres.DB)
	go func() {
		ended <- around.Listen(ctx, func() { begun <- true }, func(p string) { heard <- p })
	}()
	<-begun
	for i := range 3 {
		long := strings.Repeat("x", 7990)
		if err := behind.Announce(ctx, fmt.Sprint("one ", i), long); err != nil {
			t.Fatal(err)
		}
		if got := <-heard; got != fmt.Sprint("one ", i) {
			t.Errorf("heard %q", got)
		}
		if got := <-heard; got != long {
			t.Errorf("heard %d bytes", len(got))
		}
		s.Restart(t)
		<-begun // and says so
	}
	if err := behind.Announce(ctx, strings.Repeat("x", 8000)); err == nil {
		t.Error("it took what PostgreSQL does not take")
	}
	// Another schema of the same database is another installation.
	s.Exec(t, url, `CREATE SCHEMA other AUTHORIZATION freshet`)
	other := open(t, postgres.Options{URL: url + "&search_path=other"}).DB().(*postgres.DB)
	if err := other.Announce(ctx, "elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := behind.Announce(ctx, "here"); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "here" {
		t.Errorf("heard %q", got)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
