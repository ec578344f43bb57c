package upstream

import (
	"hash/maphash"
	"sync"

	"github.com/freshet-dev/freshet"
)

// plans keeps compiled plans by connection. They are cheap to make anew, so
// that a full shard loses any one of its own.
type plans struct {
	shards [64]struct {
		sync.RWMutex
		m map[freshet.ConnectionID]*plan
	}
}

const plansPerShard = 1024

var planSeed = maphash.MakeSeed()

// plan returns the plan of def, compiling it if def is new here.
func (t *Transport) plan(def *freshet.Definition) *plan {
	s := &t.plans.shards[maphash.String(planSeed, string(def.ID))%64]
	s.RLock()
	p := s.m[def.ID]
	s.RUnlock()
	if p != nil && p.of(def) {
		return p
	}
	p = t.compile(def)
	s.Lock()
	defer s.Unlock()
	if s.m == nil {
		s.m = map[freshet.ConnectionID]*plan{}
	}
	if _, known := s.m[def.ID]; !known && len(s.m) >= plansPerShard {
		for id := range s.m {
			delete(s.m, id)
			break
		}
	}
	s.m[def.ID] = p
	return p
}

// of reports whether p was compiled from what def says.
func (p *plan) of(def *freshet.Definition) bool {
	return p.def == def || p.def.ID == def.ID && p.def.Revision == def.Revision && def.Revision != 0
}
