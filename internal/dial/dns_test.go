package dial

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A zone is a name server in memory. Each question about a name takes the next
// of its answers; the last one stays.
type zone struct {
	mu      sync.Mutex
	answers map[string][][]netip.Addr
	asked   int
}

func newZone() *zone { return &zone{answers: map[string][][]netip.Addr{}} }

// set gives a name its answers, each a list of addresses.
func (z *zone) set(name string, answers ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	var all [][]netip.Addr
	for _, a := range answers {
		var one []netip.Addr
		for s := range strings.SplitSeq(a, " ") {
			one = append(one, netip.MustParseAddr(s))
		}
		all = append(all, one)
	}
	z.answers[name] = all
}

// next returns what the name has now. IPv4 and IPv6 questions come in pairs;
// the A question is the one that moves on.
func (z *zone) next(name string, v6 bool) (out []netip.Addr, known bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	list, known := z.answers[name]
	if !known {
		return nil, false
	}
	for _, a := range list[0] {
		if a.Is4() != v6 {
			out = append(out, a)
		}
	}
	if !v6 {
		z.asked++
		if len(list) > 1 {
			z.answers[name] = list[1:]
		}
	}
	return out, true
}

// resolver returns a resolver that asks z and nobody else.
func (z *zone) resolver(t *testing.T) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close() })
		go z.serve(ours)
		return theirs, nil
	}}
}

func (z *zone) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		msg := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, msg); err != nil {
			return
		}
		answer, err := z.answer(msg)
		if err != nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

func (z *zone) answer(msg []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	h.Response, h.Authoritative = true, true
	addrs, known := z.next(strings.TrimSuffix(q.Name.String(), "."), q.Type == dnsmessage.TypeAAAA)
	if !known {
		h.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, h)
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	for _, a := range addrs {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
		if a.Is4() {
			err = b.AResource(rh, dnsmessage.AResource{A: a.As4()})
		} else {
			err = b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		if err != nil {
			return nil, err
		}
	}
	return b.Finish()
}
