package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/backup"
	"github.com/freshet-dev/freshet/internal/dial"
	"github.com/freshet-dev/freshet/internal/doctor"
	"github.com/freshet-dev/freshet/internal/failpoint"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/replica"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/postgres"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
)

// A guard notices that a store is not the one that was there last.
type guard interface {
	Check(ctx context.Context) (paused bool, reason string, err error)
	Confirm(ctx context.Context) error
	Advance(ctx context.Context) error
}

// store opens the database: the embedded one of the data directory, or the one
// that replicas share. The directory is this process's alone either way.
func (c *serveCmd) store(ctx context.Context, s *server) (*store.Store, error) {
	if c.DatabaseURL == "" {
		if c.DatabaseDirectURL != "" {
			return nil, usage("--database-direct-url leads around a pooler: give --database-url, too")
		}
		return sqlite.Open(ctx, c.Data, sqlite.Options{})
	}
	unlock, err := sqlite.Lock(c.Data)
	if err != nil {
		return nil, err
	}
	s.later("data directory", func(context.Context) error { return unlock() })
	return postgres.Open(ctx, postgres.Options{URL: c.DatabaseURL, DirectURL: c.DatabaseDirectURL, Log: s.log})
}

// A cluster is what a server has beside where other processes use its database.
// The nil cluster is that of an embedded store.
type cluster struct {
	db    *postgres.DB
	self  store.Replica
	guard *backup.SharedGuard
	group *replica.Group

	others atomic.Pointer[[]string] // ids of the replicas that live, this one's among them, in order
	paused atomic.Bool              // the guard has the background rest
	ahead  atomic.Int64             // nanoseconds that the database's clock shows more than this machine's
}

// now is the time by the database's clock, which the instants in rows are told
// by: a replica whose own clock is wrong would take another's tokens for fresh
// when they are spent.
func (sh *cluster) now() time.Time {
	if sh == nil {
		return failpoint.Now()
	}
	return failpoint.Now().Add(time.Duration(sh.ahead.Load()))
}

// setClock compares the two clocks. An answer that took long tells little.
func (sh *cluster) setClock(ctx context.Context, st *store.Store, log *slog.Logger) error {
	asked := failpoint.Now()
	theirs, err := st.Now(ctx)
	if err != nil {
		return err
	}
	took := failpoint.Now().Sub(asked)
	ahead := theirs.Sub(asked.Add(took / 2))
	if off := ahead - time.Duration(sh.ahead.Load()); off.Abs() < took+500*time.Millisecond {
		return nil
	}
	sh.ahead.Store(int64(ahead))
	if ahead.Abs() > 5*time.Second {
		log.Warn("the clocks of this machine and of the database differ; the database's counts", "ahead", ahead.Round(time.Millisecond))
	}
	return nil
}

// join makes this process one of those that share the database, before it
// refreshes anything. It returns nil for an embedded store.
func (c *serveCmd) join(ctx context.Context, s *server, st *store.Store, v *vault.Vault) (*cluster, error) {
	db, ok := st.DB().(*postgres.DB)
	if !ok {
		return nil, nil
	}
	self, err := replica.Identify(ctx, st, c.Data, store.Replica{Version: version, Protocol: store.Protocol})
	if err != nil {
		return nil, err
	}
	sh := &cluster{db: db, self: self}
	sh.others.Store(&[]string{self.ID})
	if err := sh.setClock(ctx, st, s.log); err != nil {
		return nil, err
	}
	sh.guard = backup.NewSharedGuard(st, c.Data, func(ctx context.Context) (o backup.Origin, err error) {
		o.Server, o.Timeline, o.Synced, err = db.Origin(ctx)
		return o, err
	})
	v.Share(func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return sh.count(ctx, st) == nil && len(*sh.others.Load()) == 1
	})
	s.log.Info("one of several", "replica", self.ID, "place", self.Place, "database", db.Place(), "pooled", db.Pooled())
	return sh, nil
}

// owner names the leases of this process.
func (sh *cluster) owner() string {
	if sh == nil {
		return "local"
	}
	return sh.self.ID
}

// looks is how often the background looks for rows that others have written.
func (sh *cluster) looks() time.Duration {
	if sh == nil {
		return 0
	}
	return 5 * time.Second
}

// mine reports whether the background of this process looks after a connection:
// the replicas that live share them out without talking about it.
func (sh *cluster) mine() func(freshet.ConnectionID) bool {
	if sh == nil {
		return nil
	}
	return func(id freshet.ConnectionID) bool {
		var best uint64
		who := sh.self.ID
		for i, r := range *sh.others.Load() {
			h := fnv.New64a()
			h.Write([]byte(r))
			h.Write([]byte{0})
			h.Write([]byte(id))
			if n := h.Sum64() * 0x9e3779b97f4a7c15; i == 0 || n > best {
				best, who = n, r
			}
		}
		return who == sh.self.ID
	}
}

// guardian returns the guard of the store.
func (sh *cluster) guardian(st *store.Store, dir string) guard {
	if sh == nil {
		return backup.NewGuard(st, dir)
	}
	return sh.guard
}

// follow begins to tell the others and to hear from them. Everything that
// caches is there by then.
func (sh *cluster) follow(ctx context.Context, s *server, st *store.Store, v *vault.Vault, guard *dial.Guard) error {
	if sh == nil {
		return nil
	}
	sh.paused.Store(s.source.Paused() != "")
	sh.db.OnFailover(func(lossless bool) {
		if lossless {
			s.log.Warn("another server has taken the database's place; a standby had confirmed every commit, so that work goes on")
			return
		}
		const why = "another server has taken the database's place, and the last commits may be missing"
		sh.rest(s, why)
		go func() { // it comes in the middle of a transaction
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if _, err := sh.guard.Distrust(ctx, why); err != nil {
				s.log.Warn("the other replicas do not know yet that "+why, "error", err)
			}
		}()
	})
	var err error
	sh.group, err = replica.Start(ctx, replica.Options{
		Self: sh.self, Store: st, Bus: sh.db, Log: s.log,
		Token:     s.source.Moved,
		Resources: func(kind string, names []string) { s.heard(st, guard, kind, names) },
		Keyring:   v.Reload,
		Spilled:   func() int64 { return s.source.Gauges().Spilled },
		Look: func(ctx context.Context) error {
			return errors.Join(s.source.Reload(ctx), sh.look(ctx, s, st), sh.count(ctx, st))
		},
	})
	if err != nil {
		return err
	}
	s.later("replicas", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := sh.group.Close(ctx)
		if s.source.Gauges().Spilled == 0 {
			err = errors.Join(err, st.Discharge(ctx, sh.self.ID))
		}
		if err != nil {
			// The others find out by themselves.
			s.log.Warn("the other replicas were not told that this one stops", "error", err)
		}
		return nil
	})
	return nil
}

// rest has the background of this process rest.
func (sh *cluster) rest(s *server, why string) {
	sh.paused.Store(true)
	s.source.Distrust(why)
	s.log.Error("nothing is refreshed by itself until somebody has looked", "reason", why, "to go on", "freshet resume")
}

// look follows what another replica has found or a person has confirmed there.
func (sh *cluster) look(ctx context.Context, s *server, st *store.Store) error {
	if err := sh.setClock(ctx, st, s.log); err != nil {
		return err
	}
	paused, why, err := sh.guard.Look(ctx)
	switch {
	case err != nil:
		return err
	case paused && s.source.Paused() == "":
		sh.rest(s, why)
	case !paused && sh.paused.Swap(false):
		s.source.Resume()
	}
	return nil
}

// count lists the replicas that live.
func (sh *cluster) count(ctx context.Context, st *store.Store) error {
	all, err := st.Replicas(ctx)
	if err != nil {
		return err
	}
	ids := []string{sh.self.ID}
	for _, r := range all {
		if r.ID != sh.self.ID && r.Silent < replica.Gone {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	sh.others.Store(&ids)
	return nil
}

// observe tells the others what became of a connection.
func (sh *cluster) observe(e refresh.Event) {
	if sh == nil || sh.group == nil || e.Connection == "" || e.Type == refresh.EventClaimLost {
		return
	}
	sh.group.Token(e.Connection, replica.Generation(e.Type, map[string]any{"generation": float64(e.Generation)}))
}

// changed tells the others of resources that this process has written. The
// revision may be a later one by now; then nobody has told what came between,
// and the others find out when they look.
func (sh *cluster) changed(st *store.Store, log *slog.Logger, kind string, names []string) {
	if sh == nil || sh.group == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := st.Resource(ctx, "epoch", "resources")
	if err != nil {
		log.Debug("a change is left to the others' looks", "kind", kind, "error", err)
		return
	}
	sh.group.Changed(r.Revision, kind, names)
}

// heard puts in force what another process has changed; kind "" is anything.
func (s *server) heard(st *store.Store, guard *dial.Guard, kind string, names []string) {
	if kind != "" {
		s.Book.Invalidate(kind, names...)
		s.changed(st, guard, kind, names)
		return
	}
	s.Book.InvalidateAll()
	for _, k := range []string{"network", "providers", "workflows"} {
		s.changed(st, guard, k, nil)
	}
}

// findings is what doctor says of the replicas.
func (sh *cluster) findings(examine func(context.Context) (doctor.Report, error)) func(context.Context) (doctor.Report, error) {
	if sh == nil {
		return examine
	}
	return func(ctx context.Context) (doctor.Report, error) {
		n := len(*sh.others.Load())
		r := doctor.Report{{Check: "database", Level: doctor.OK, Detail: sh.db.Place()},
			{Check: "replicas", Level: doctor.OK, Detail: fmt.Sprintf("%d live, this one is %s at %s", n, sh.self.ID, sh.self.Place)}}
		if sh.group != nil && !sh.group.Listening() {
			f := doctor.Finding{Check: "replicas", Level: doctor.Warning, Detail: "changes of other replicas are looked for every few seconds, not heard at once", Do: "name a way around the pooler with --database-direct-url"}
			if sh.db.Direct() != nil {
				f.Do = "look at the connection to the database; it is tried again"
			}
			r = append(r, f)
		}
		if sh.group != nil {
			for _, v := range sh.group.Silent() {
				r = append(r, doctor.Finding{Check: "replica " + v.ID, Level: doctor.Warning,
					Detail: fmt.Sprintf("left without a word at %s; answers that it could not store are in the spill file at %s (%d when it was last seen)", v.SeenAt.Format(time.RFC3339), v.Place, v.Spilled),
					Do:     "start it again with its data directory, which has them stored; where that is lost its connections show as uncertain or lost_in_flight"})
			}
		}
		more, err := examine(ctx)
		return append(r, more...), err
	}
}

// collectors are the metrics of the database and the replicas.
func (sh *cluster) collectors() []prometheus.Collector {
	if sh == nil {
		return nil
	}
	gauge := func(name, help string, v func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, v)
	}
	group := func(v func(g *replica.Group) float64) func() float64 {
		return func() float64 {
			if sh.group == nil {
				return 0
			}
			return v(sh.group)
		}
	}
	pool := sh.db.Pool()
	return []prometheus.Collector{
		gauge("freshet_replicas", "Replicas that live, this one among them.", func() float64 { return float64(len(*sh.others.Load())) }),
		gauge("freshet_replicas_silent", "Replicas that left without a word; their spill files may hold answers.", group(func(g *replica.Group) float64 { return float64(len(g.Silent())) })),
		gauge("freshet_replica_listening", "1 while changes of other replicas are heard, 0 while they are only looked for.", group(func(g *replica.Group) float64 {
			if g.Listening() {
				return 1
			}
			return 0
		})),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "freshet_replica_missed_total", Help: "Changes that nobody had told and a look found."},
			group(func(g *replica.Group) float64 { return float64(g.Missed()) })),
		gauge("freshet_database_connections", "Connections of this replica to the database.", func() float64 { return float64(pool.Stat().TotalConns()) }),
		gauge("freshet_database_connections_busy", "Those of them that are in use.", func() float64 { return float64(pool.Stat().AcquiredConns()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "freshet_database_waits_total", Help: "Times that all connections were in use."},
			func() float64 { return float64(pool.Stat().EmptyAcquireCount()) }),
	}
}
