package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// childEnv tells a process of this binary to be a baseline, and which.
const childEnv = "FRESHET_BENCH_CHILD"

// Child serves a baseline if this process was started as one, until its
// standard input ends, and reports whether it was.
func Child(stdin io.Reader, stdout io.Writer, getenv func(string) string) (bool, error) {
	kind, arg, _ := strings.Cut(getenv(childEnv), " ")
	if kind == "" {
		return false, nil
	}
	var h http.Handler
	switch kind {
	case "bare": // answers the given bytes
		b, err := os.ReadFile(arg)
		if err != nil {
			return true, err
		}
		length := strconv.Itoa(len(b))
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Content-Length", length)
			w.Write(b)
		})
	case "proxy": // a reverse proxy that injects a token, and nothing else
		u, err := url.Parse(arg)
		if err != nil {
			return true, err
		}
		h = &httputil.ReverseProxy{
			Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(u) },
			BufferPool: &buffers{},
			Transport: &oauth2.Transport{
				Source: oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "a-token-of-the-usual-length-0123456789", Expiry: time.Now().Add(time.Hour)}, nil),
				Base:   &http.Transport{MaxIdleConns: 0, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true},
			},
		}
	default:
		return true, fmt.Errorf("no baseline %q", kind)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return true, err
	}
	fmt.Fprintln(stdout, l.Addr())
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		io.Copy(io.Discard, stdin)
		srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return true, err
	}
	return true, nil
}

type buffers struct{ p sync.Pool }

// Get hands out 32 KiB.
func (b *buffers) Get() []byte {
	if v, ok := b.p.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

// Put takes them back.
func (b *buffers) Put(v []byte) { b.p.Put(&v) }

// A process is a child of the bench.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	addr string
}

// baseline starts this binary as a baseline.
func (r *runner) baseline(kind, arg string) (*process, error) {
	cmd := exec.Command(r.o.Exe, "bench")
	cmd.Env = append(os.Environ(), childEnv+"="+kind+" "+arg)
	cmd.Stderr = r.o.Log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("baseline %s: %w", kind, err)
	}
	p.addr = strings.TrimSpace(line)
	r.later(p.stop)
	return p, nil
}

func (p *process) stop() {
	p.in.Close()
	done := make(chan struct{})
	go func() {
		p.cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-done
	}
}

// A served is a Freshet server process with a data directory.
type served struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	url  string
	addr string
	key  string
	took time.Duration // from exec to the first answer of /readyz
}

// serve starts the server and waits until it is ready.
func (r *runner) serve(ctx context.Context, dir string, args ...string) (*served, error) {
	urlFile := dir + "/server.url"
	os.Remove(urlFile)
	cmd := exec.Command(r.o.Exe, append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--log-level", "error"}, args...)...)
	cmd.Stderr = r.o.Log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &served{cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(s.done)
	}()
	r.later(s.stop)
	for ctx.Err() == nil && time.Since(began) < 15*time.Minute {
		select {
		case <-s.done:
			return nil, fmt.Errorf("the server ended at its start: %s", cmd.ProcessState)
		default:
		}
		if b, err := os.ReadFile(urlFile); err == nil {
			s.url = strings.TrimSpace(string(b))
			s.addr = strings.TrimPrefix(s.url, "http://")
			if res, err := http.Get(s.url + "/readyz"); err == nil {
				res.Body.Close()
				if res.StatusCode == http.StatusOK {
					s.took = time.Since(began)
					key, err := os.ReadFile(dir + "/admin.key")
					if errors.Is(err, fs.ErrNotExist) {
						err = nil // the first of several replicas has it
					}
					s.key = strings.TrimSpace(string(key))
					return s, err
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil, fmt.Errorf("the server did not become ready: %w", context.Cause(ctx))
}

func (s *served) stop() {
	s.cmd.Process.Signal(os.Interrupt)
	select {
	case <-s.done:
	case <-time.After(35 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
	}
}

// rss returns a process's resident memory in bytes, 0 where it cannot be read.
func rss(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}
