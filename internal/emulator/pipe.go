package emulator

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// A Pipe is a network of one address: connections to the emulator that touch
// no socket, for tests inside a synctest bubble.
type Pipe struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// StartPipe serves on a Pipe instead of a port, until Close. Its base URL is
// http://emulator.test. Connections cannot be reset there: a reset is a close.
func (e *Emulator) StartPipe() (*Pipe, error) {
	p := &Pipe{conns: make(chan net.Conn), done: make(chan struct{})}
	return p, e.serve(p, "http://emulator.test")
}

// DialContext connects to the emulator, whatever the address.
func (p *Pipe) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, errors.New("the emulator was closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Transport returns a transport over the pipe. Its owner closes idle
// connections.
func (p *Pipe) Transport() *http.Transport {
	return &http.Transport{DialContext: p.DialContext}
}

// Accept, Close and Addr make a Pipe a net.Listener.
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close ends the listening.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Addr is a name only.
func (p *Pipe) Addr() net.Addr { return &net.UnixAddr{Name: "emulator", Net: "pipe"} }
