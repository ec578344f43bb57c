package upstream

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// maxReplay is how much of a request body is kept for a second send.
const maxReplay = 1 << 20

// maxKept bounds what all calls together keep. Beyond it, bodies stream through
// and are not replayed.
const maxKept = 256 << 20

var kept atomic.Int64

var errAbandoned = errors.New("the call has ended")

// A recorder passes a request body on as it arrives and keeps what has passed,
// so that it can be sent once more. An API may refuse a request before it has
// read all of it: the second send then begins with what was kept and goes on
// with what is still to come.
type recorder struct {
	src io.Reader

	reading sync.Mutex // held while src is read
	mu      sync.Mutex // guards what follows; never held over a read
	buf     []byte
	lost    bool  // buf is not the whole beginning any more
	end     error // what ended src
	turn    int   // which send may read
	sends   int
	charged int64
}

// newRecorder keeps nothing if keep is false.
func newRecorder(src io.Reader, length int64, keep bool) *recorder {
	r := &recorder{src: src, lost: !keep || length > maxReplay}
	if !r.lost && length > 0 {
		r.charge(length)
		if !r.lost {
			r.buf = make([]byte, 0, length)
		}
	}
	return r
}

// charge takes n more bytes from the common budget. The caller holds mu, or is
// alone.
func (r *recorder) charge(n int64) {
	if kept.Add(n) > maxKept {
		kept.Add(-n)
		r.forget()
		return
	}
	r.charged += n
}

func (r *recorder) forget() {
	r.lost, r.buf = true, nil
	kept.Add(-r.charged)
	r.charged = 0
}

// attempt returns the body for the next send. For any but the first, hold must
// have been asked.
func (r *recorder) attempt() io.ReadCloser {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn++
	r.sends++
	return &attempt{r: r, turn: r.turn}
}

// hold reports whether everything that has passed is still there, and if so
// keeps it that way: the send before reads no more, and a read of its that is
// under way adds what it brings.
func (r *recorder) hold() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost {
		return false
	}
	r.turn++
	return true
}

// settle tells that there will be no other send. Reading goes on.
func (r *recorder) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A second send may still be giving what was kept.
	if r.sends == 1 && !r.lost {
		r.forget()
	}
}

// failed returns what broke src, if something did.
func (r *recorder) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end == io.EOF {
		return nil
	}
	return r.end
}

// close ends all reading; the source itself is its owner's.
func (r *recorder) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn++
	if !r.lost {
		r.forget()
	}
}

type attempt struct {
	r    *recorder
	turn int
	at   int // how much of buf was given
	done atomic.Bool
}

// Read gives what was kept, then what still comes.
func (a *attempt) Read(p []byte) (int, error) {
	r := a.r
	if n, err, ok := a.fromBuffer(p); ok {
		return n, err
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	// A read of the send before may have ended while this one waited.
	if n, err, ok := a.fromBuffer(p); ok {
		return n, err
	}
	n, err := r.src.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	stale := a.turn != r.turn
	switch {
	case r.lost || n == 0:
	case stale:
		// The send that takes over needs what this read took.
		r.buf = append(r.buf, p[:n]...)
	case len(r.buf)+n > maxReplay:
		r.forget()
	default:
		if grow := int64(len(r.buf)+n) - r.charged; grow > 0 {
			r.charge(max(grow, min(r.charged, maxReplay-r.charged)))
		}
		if !r.lost {
			r.buf = append(r.buf, p[:n]...)
			a.at += n
		}
	}
	if err != nil {
		r.end = err
	}
	if stale {
		return 0, errAbandoned
	}
	return n, err
}

// fromBuffer gives what needs no reading of the source.
func (a *attempt) fromBuffer(p []byte) (n int, err error, ok bool) {
	r := a.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.turn != r.turn || a.done.Load() {
		return 0, errAbandoned, true
	}
	if !r.lost && a.at < len(r.buf) {
		n = copy(p, r.buf[a.at:])
		a.at += n
		return n, nil, true
	}
	if r.end != nil {
		return 0, r.end, true
	}
	return 0, nil, false
}

// Close ends this send's reading. The source stays open for the next.
func (a *attempt) Close() error {
	a.done.Store(true)
	return nil
}
