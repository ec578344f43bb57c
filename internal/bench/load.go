package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A load is one request, sent over and over on kept connections.
type load struct {
	addr    string
	request []byte
	conns   int
}

// get builds a GET request.
func get(addr, path string, header ...string) load {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", path, addr)
	for _, h := range header {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n")
	return load{addr: addr, request: b.Bytes(), conns: 32}
}

// A round is what came of a load.
type round struct {
	perSecond float64
	p50, p99  time.Duration
}

// run sends for d on all connections at once. An answer other than 200 ends it.
func (l load) run(ctx context.Context, d time.Duration) (round, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var mu sync.Mutex
	var all []time.Duration
	var errs []error
	var wg sync.WaitGroup
	began := time.Now()
	for range l.conns {
		wg.Go(func() {
			took, err := l.loop(ctx)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if len(errs) > 0 {
		return round{}, errs[0]
	}
	if len(all) == 0 {
		return round{}, errors.New("no request was answered")
	}
	slices.Sort(all)
	return round{perSecond: float64(len(all)) / elapsed.Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100]}, nil
}

func (l load) loop(ctx context.Context) ([]time.Duration, error) {
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := bufio.NewReaderSize(c, 16<<10)
	took := make([]time.Duration, 0, 1<<14)
	for ctx.Err() == nil {
		began := time.Now()
		if _, err := c.Write(l.request); err != nil {
			return took, err
		}
		if err := discard(r); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// discard reads one answer with a Content-Length.
func discard(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("answer: %s", bytes.TrimSpace(line))
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	_, err = r.Discard(length)
	return err
}

// body returns one answer's body.
func (l load) body() ([]byte, error) {
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write(bytes.Replace(l.request, []byte("\r\n\r\n"), []byte("\r\nConnection: close\r\n\r\n"), 1)); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return nil, err
	}
	_, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	return body, nil
}

// A pair is two loads measured in turn.
type pair struct {
	ours, base []round
}

// compare alternates rounds, so that whatever else the machine does meets both.
func compare(ctx context.Context, ours, base load, rounds int, each time.Duration) (pair, error) {
	var p pair
	for _, l := range []load{ours, base} { // warm up
		if _, err := l.run(ctx, each/2); err != nil {
			return p, err
		}
	}
	for i := range rounds {
		order := []load{ours, base}
		if i%2 == 1 {
			order = []load{base, ours}
		}
		var got [2]round
		for j, l := range order {
			r, err := l.run(ctx, each)
			if err != nil {
				return p, err
			}
			got[j] = r
		}
		if i%2 == 1 {
			got[0], got[1] = got[1], got[0]
		}
		p.ours, p.base = append(p.ours, got[0]), append(p.base, got[1])
	}
	return p, nil
}

// ratio is the median of the pairs' ratios of throughput.
func (p pair) ratio() float64 {
	var rs []float64
	for i := range p.ours {
		rs = append(rs, p.ours[i].perSecond/p.base[i].perSecond)
	}
	return median(rs)
}

// typical returns medians over rounds.
func typical(rs []round) round {
	var rate, p50, p99 []float64
	for _, r := range rs {
		rate, p50, p99 = append(rate, r.perSecond), append(p50, float64(r.p50)), append(p99, float64(r.p99))
	}
	return round{perSecond: median(rate), p50: time.Duration(median(p50)), p99: time.Duration(median(p99))}
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
