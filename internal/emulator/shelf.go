package emulator

// A shelf is a map that forgets its oldest entry when it is full. Its owner
// holds a lock.
type shelf[V any] struct {
	max   int
	m     map[string]V
	order []string // oldest first; may name entries that are gone
	drop  func(string, V)
	lost  int64 // entries forgotten for want of room
}

func newShelf[V any](max int) *shelf[V] {
	return &shelf[V]{max: max, m: map[string]V{}}
}

func (s *shelf[V]) get(k string) (V, bool) {
	v, ok := s.m[k]
	return v, ok
}

func (s *shelf[V]) put(k string, v V) {
	if _, there := s.m[k]; !there {
		s.order = append(s.order, k)
	}
	s.m[k] = v
	for len(s.m) > s.max {
		oldest := s.order[0]
		s.order = s.order[1:]
		if old, there := s.m[oldest]; there {
			delete(s.m, oldest)
			s.lost++
			if s.drop != nil {
				s.drop(oldest, old)
			}
		}
	}
	if len(s.order) > 2*s.max+16 {
		s.compact()
	}
}

func (s *shelf[V]) delete(k string) { delete(s.m, k) }

// compact leaves in order what is still there, once each: an entry that was
// deleted and put again is as old as its first name.
func (s *shelf[V]) compact() {
	kept := make([]string, 0, len(s.m))
	seen := make(map[string]bool, len(s.m))
	for _, k := range s.order {
		if _, there := s.m[k]; there && !seen[k] {
			seen[k] = true
			kept = append(kept, k)
		}
	}
	s.order = kept
}

// A ring holds the last max values.
type ring[V any] struct {
	max  int
	v    []V
	next int
	lost int64 // values that were overwritten
}

func (r *ring[V]) add(v V) {
	if r.max <= 0 {
		r.lost++
		return
	}
	if len(r.v) < r.max {
		r.v = append(r.v, v)
		return
	}
	r.v[r.next] = v
	r.next = (r.next + 1) % r.max
	r.lost++
}

// all returns a copy, oldest first.
func (r *ring[V]) all() []V {
	out := make([]V, 0, len(r.v))
	out = append(out, r.v[r.next:]...)
	return append(out, r.v[:r.next]...)
}
