//go:build failpoints && unix

package failpoint

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled reports whether this build has fail points.
const Enabled = true

type rule struct {
	action string
	only   int // 0: every hit
	hits   int
}

var (
	mu    sync.Mutex
	rules = parse(os.Getenv("FRESHET_FAILPOINTS"))
)

var wrong, _ = time.ParseDuration(os.Getenv("FRESHET_CLOCK"))

// Now is the time that this process believes in.
func Now() time.Time { return time.Now().Add(wrong) }

func parse(env string) map[string]*rule {
	m := map[string]*rule{}
	for pair := range strings.SplitSeq(env, ",") {
		name, action, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok {
			continue
		}
		r := &rule{action: action}
		if a, n, ok := strings.Cut(action, "#"); ok {
			r.action = a
			r.only, _ = strconv.Atoi(n)
		}
		m[name] = r
	}
	return m
}

// Set replaces the rules, in the form of the environment variable. It serves
// tests inside the process.
func Set(env string) {
	mu.Lock()
	defer mu.Unlock()
	rules = parse(env)
}

// Hit marks an instant and carries out the action that was asked for there.
func Hit(name string) error {
	mu.Lock()
	r := rules[name]
	if r == nil {
		mu.Unlock()
		return nil
	}
	r.hits++
	act := r.only == 0 || r.hits == r.only
	mu.Unlock()
	if !act {
		return nil
	}
	verb, arg, _ := strings.Cut(r.action, ":")
	switch verb {
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stop":
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "error":
		return errors.New("fail point " + name)
	case "stall":
		d, _ := time.ParseDuration(arg)
		time.Sleep(d)
	case "hold":
		os.WriteFile(arg, nil, 0o600)
		for range 60_000 {
			if _, err := os.Stat(arg); err != nil {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}
