package redact

import (
	"net/url"
	"sync"
)

// head is how many bytes of a value are its key. Shorter values are not kept:
// they would turn up in ordinary words.
const head = 6

// Values is a bounded set of live secrets. When it is full the oldest one gives
// way. It is safe for concurrent use; the nil *Values is empty and stays so.
type Values struct {
	limit int

	mu     sync.RWMutex
	ring   []string            // in order of arrival, from next on the oldest
	next   int                 // where the next one goes
	byHead map[uint64][]string // first bytes → values that begin so
	filter [1 << 10]uint64     // which heads may be there, 64 Ki bits
	gone   int                 // values dropped since the filter was built
}

// NewValues returns a set for at most limit values; 0 is 8,192.
func NewValues(limit int) *Values {
	if limit <= 0 {
		limit = 8192
	}
	return &Values{limit: limit, byHead: map[uint64][]string{}}
}

// Add puts values into the set. It is cheap, but not free: call it when a secret
// is first revealed, not each time it is used.
func (v *Values) Add(values ...string) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range values {
		v.addLocked(s)
		if q := url.QueryEscape(s); q != s {
			v.addLocked(q)
		}
	}
}

func (v *Values) addLocked(s string) {
	if len(s) < head {
		return
	}
	h := headOf(s)
	for _, known := range v.byHead[h] {
		if known == s {
			return
		}
	}
	if len(v.ring) < v.limit {
		v.ring = append(v.ring, s)
	} else {
		v.dropLocked(v.ring[v.next])
		v.ring[v.next] = s
		v.next = (v.next + 1) % v.limit
	}
	v.byHead[h] = append(v.byHead[h], s)
	v.markLocked(h)
}

func (v *Values) dropLocked(s string) {
	h := headOf(s)
	list := v.byHead[h]
	for i := range list {
		if list[i] == s {
			list[i] = list[len(list)-1]
			list[len(list)-1] = ""
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(v.byHead, h)
	} else {
		v.byHead[h] = list
	}
	// Bits of the filter are shared, so they go all at once now and then.
	if v.gone++; v.gone > v.limit {
		v.gone = 0
		v.filter = [1 << 10]uint64{}
		for h := range v.byHead {
			v.markLocked(h)
		}
	}
}

func (v *Values) markLocked(h uint64) { v.filter[h>>6&1023] |= 1 << (h & 63) }

func (v *Values) mayHave(h uint64) bool { return v.filter[h>>6&1023]&(1<<(h&63)) != 0 }

// headOf spreads the first bytes of s over 64 bits.
func headOf(s string) uint64 {
	h := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// Scrub returns s with every value of the set replaced by Mark.
func (v *Values) Scrub(s string) string {
	if v == nil || len(s) < head {
		return s
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	if len(v.ring) == 0 {
		return s
	}
	var out []byte
	from := 0
	for i := 0; i+head <= len(s); i++ {
		h := headOf(s[i:])
		if !v.mayHave(h) {
			continue
		}
		longest := 0
		for _, known := range v.byHead[h] {
			if n := len(known); n > longest && n <= len(s)-i && s[i:i+n] == known {
				longest = n
			}
		}
		if longest == 0 {
			continue
		}
		out = append(out, s[from:i]...)
		out = append(out, Mark...)
		i += longest - 1
		from = i + 1
	}
	if out == nil {
		return s
	}
	return string(append(out, s[from:]...))
}
