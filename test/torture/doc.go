// Package torture lets several replicas share one PostgreSQL and one provider,
// has callers ask them for tokens all the while, and does to them what happens
// to machines: processes are killed and stopped past their leases, links are
// cut, slow and half open, the database is killed, full, read-only, and its
// clock jumps. Then it asks whether a promise was broken:
//
//	O1  at most one request in flight per refresh token
//	O2  no refresh token presented twice, unless the first attempt was
//	    recorded as open
//	O3  no family of tokens revoked, unless by an answer that was lost on the
//	    wire to a provider that forgives nothing, and the connection says so
//	O4  one more refresh works
//	O5  a token that a caller got was good when he got it
//	O6  no byte of a token in a log, in the database, in metrics
//	    and no generation that a caller has seen is gone
//
// Everything that is left to chance follows from a seed, which is printed: the
// same seed makes the same plan, though machines never run it alike.
//
// A short run is part of the tests. A long one writes a report:
//
//	FRESHET_TORTURE_REFRESHES=10000 FRESHET_TORTURE_KILLS=1000 FRESHET_TORTURE_PG_KILLS=100 \
//	  FRESHET_TORTURE_CONNECTIONS=200 FRESHET_TORTURE_REPORT=$PWD/docs/torture-report.md \
//	  go test -timeout 3h -run TestTorture ./test/torture
//
// FRESHET_TORTURE_SEED=N repeats a plan.
package torture
