package httpapi_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/proxy"
)

// hammer makes n requests over connections of its own, which cost the machine
// as little as can be: what is measured is the server.
func hammer(b *testing.B, base, path, key string, conns, n int) {
	u, err := url.Parse(base)
	if err != nil {
		b.Fatal(err)
	}
	request := []byte(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUser-Agent: bench\r\nAccept-Encoding: gzip\r\n\r\n", path, u.Host, key))
	var wg sync.WaitGroup
	for c := range conns {
		share := n / conns
		if c < n%conns {
			share++
		}
		wg.Go(func() {
			conn, err := net.Dial("tcp", u.Host)
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			r := bufio.NewReaderSize(conn, 8<<10)
			for range share {
				if _, err := conn.Write(request); err != nil {
					b.Error(err)
					return
				}
				if err := skip(r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// skip reads one answer of status 200.
func skip(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && string(line[9:12]) != "200" {
			return fmt.Errorf("answered %s", line)
		}
		if len(line) == 2 {
			break
		}
		if len(line) > 16 && string(line[:16]) == "Content-Length: " {
			length = 0
			for _, c := range line[16 : len(line)-2] {
				length = length*10 + int(c-'0')
			}
		}
	}
	_, err := r.Discard(length)
	return err
}

// BenchmarkTokenRead compares a token read, with key check, host check, audit
// row and metrics, with a bare handler that answers the same bytes. The figure
// is "ratio", the median over paired rounds.
func BenchmarkTokenRead(b *testing.B) {
	w := newWorld(b)
	w.declare(declared)
	const path = "/api/v1/connections/crm/token"
	key := w.key("bench", "token:*")
	a := w.with(key, "GET", path, "")
	if a.status != 200 {
		b.Fatalf("%d %s", a.status, a.body)
	}
	body := []byte(a.body)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	length := fmt.Sprint(len(body))
	bare := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Length", length)
		w.Write(body)
	})}
	proxy.Harden(bare)
	go bare.Serve(l)
	defer bare.Close()
	const conns, slice = 32, 4000
	round := func(base string) float64 {
		begin := time.Now()
		hammer(b, base, path, key, conns, slice)
		return time.Since(begin).Seconds()
	}
	other := "http://" + l.Addr().String()
	round(w.url)
	round(other)
	var ours, theirs, ratios []float64
	for b.Loop() {
		// In pairs, in both orders: whatever else the machine does meets both.
		t := round(other)
		o := round(w.url)
		o2 := round(w.url)
		t2 := round(other)
		ours, theirs, ratios = append(ours, o+o2), append(theirs, t+t2), append(ratios, (t+t2)/(o+o2))
	}
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(2*slice/median(ours), "reads/s")
	b.ReportMetric(2*slice/median(theirs), "bare/s")
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
