//go:build unix

package torture

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A link carries bytes between two ends and can be made a bad one.
type link struct {
	l  net.Listener
	to string

	delay atomic.Int64 // nanoseconds that each piece waits
	down  atomic.Bool  // new connections end at once
	mute  atomic.Bool  // answers are swallowed: what was sent arrives, what comes back does not

	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// newLink carries to an address, from a port of its own.
func newLink(t *testing.T, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{l: l, to: to, conns: map[net.Conn]bool{}}
	k.wg.Go(k.accept)
	t.Cleanup(func() {
		l.Close()
		k.cut()
		k.wg.Wait()
	})
	return k
}

func (k *link) addr() string { return k.l.Addr().String() }

func (k *link) accept() {
	for {
		in, err := k.l.Accept()
		if err != nil {
			return
		}
		if k.down.Load() {
			in.Close()
			continue
		}
		out, err := net.Dial("tcp", k.to)
		if err != nil {
			in.Close()
			continue
		}
		k.mu.Lock()
		k.conns[in], k.conns[out] = true, true
		k.mu.Unlock()
		k.wg.Go(func() { k.carry(out, in, nil) })
		k.wg.Go(func() { k.carry(in, out, &k.mute) })
	}
}

// carry copies until either end is gone, and then ends the other.
func (k *link) carry(to, from net.Conn, mute *atomic.Bool) {
	defer func() {
		to.Close()
		from.Close()
		k.mu.Lock()
		delete(k.conns, to)
		delete(k.conns, from)
		k.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if d := k.delay.Load(); d > 0 {
				time.Sleep(time.Duration(d)) // the slow link itself
			}
			if mute == nil || !mute.Load() {
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			}
		}
		if err != nil {
			if err == io.EOF {
				if half, ok := to.(*net.TCPConn); ok {
					half.CloseWrite()
				}
			}
			return
		}
	}
}

// cut ends every connection as a broken cable does: with a reset.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c.Close()
	}
}

func (k *link) heal() {
	k.down.Store(false)
	k.mute.Store(false)
	k.delay.Store(0)
}
