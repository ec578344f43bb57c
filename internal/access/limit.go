package access

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// burst wrong keys are answered as such before an address has to wait;
	// from then on it may try once in every pace.
	burst    = 20
	pace     = 3 * time.Second
	maxPeers = 10_000
)

// failures counts wrong keys by address. Right keys are not its business: many
// callers may share an address with one who guesses, and 256 bits cannot be
// guessed. What it bounds is the work and the noise.
type failures struct {
	mu    sync.Mutex
	peers map[netip.Prefix]time.Time // when the address will have paid for its failures
}

// add counts a failure and returns how long the address has to wait before the
// next one would be answered; 0: not at all.
func (f *failures) add(remote string, now time.Time) time.Duration {
	p := peerOf(addressOf(remote))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peers == nil {
		f.peers = map[netip.Prefix]time.Time{}
	}
	if len(f.peers) >= maxPeers {
		f.sweepLocked(now)
	}
	debt := f.peers[p]
	if debt.Before(now) {
		debt = now
	}
	if wait := debt.Sub(now) - (burst-1)*pace; wait > 0 {
		return wait
	}
	f.peers[p] = debt.Add(pace)
	return 0
}

// sweepLocked forgets who has paid. An attack from very many addresses ends in
// forgetting all: the limit is a courtesy, not the lock.
func (f *failures) sweepLocked(now time.Time) {
	for p, debt := range f.peers {
		if debt.Before(now) {
			delete(f.peers, p)
		}
	}
	if len(f.peers) >= maxPeers {
		clear(f.peers)
	}
}

// peerOf is whom an address belongs to: itself, or the /64 that one IPv6
// subscriber has.
func peerOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
