//go:build failpoints && unix

package kill

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/api"
	"github.com/freshet-dev/freshet/internal/failpoint"
)

// held starts a server whose refresh stops at a point, lets it come there, and
// returns what lets it go on.
func (w *world) held(t *testing.T, set, name string) (s *server, release func(), answered chan error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "held")
	s = w.start(t, set+"=hold:"+file)
	answered = make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	go func() {
		answered <- s.client.Do(ctx, "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, nil)
	}()
	for {
		if _, err := os.Stat(file); err == nil {
			break
		}
		select {
		case err := <-answered:
			t.Fatalf("the refresh passed %s: %v\n%s", set, err, w.logs.String())
		case <-ctx.Done():
			t.Fatalf("the refresh did not come to %s\n%s", set, w.logs.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return s, func() { os.Remove(file) }, answered
}

// TestStops asks servers to end in the middle of a refresh, with a provider
// that forgives nothing.
func TestStops(t *testing.T) {
	strict := models[len(models)-1]
	w := newWorld(t, strict, len(failpoint.Points)+1)
	for i, at := range failpoint.Points {
		t.Run("F92 SIGTERM at "+at, func(t *testing.T) {
			name := fmt.Sprintf("c%04d", i)
			set := at
			if at == failpoint.SpillAfter {
				set = failpoint.CommitBefore + "=error," + at
			}
			s, release, answered := w.held(t, set, name)
			s.cmd.Process.Signal(syscall.SIGTERM)
			select {
			case err := <-s.done:
				t.Fatalf("the server ended while an answer was under way: %v", err)
			case <-time.After(50 * time.Millisecond): // time to make that mistake
			}
			release()
			<-answered
			select {
			case err := <-s.done:
				if err != nil {
					t.Errorf("the server ended with %v\n%s", err, w.logs.String())
				}
			case <-time.After(30 * time.Second):
				t.Fatal("the server did not end")
			}
			s = w.start(t, "")
			defer s.stop(t)
			var c api.Connection
			if err := s.client.Do(t.Context(), "GET", "/api/v1/connections/"+name, nil, &c); err != nil {
				t.Fatal(err)
			}
			if c.State != "ok" {
				t.Errorf("after the stop: %s (%s), generation %d", c.State, c.Reason, c.Generation)
			}
			if err := s.client.Do(t.Context(), "POST", "/api/v1/connections/"+name+"/refresh", map[string]any{}, nil); err != nil {
				t.Errorf("one more refresh: %v", err)
			}
		})
	}
	t.Run("F92 a second SIGTERM ends it at once", func(t *testing.T) {
		s, release, _ := w.held(t, failpoint.CommitAfter, "c0009")
		defer release()
		s.cmd.Process.Signal(syscall.SIGTERM)
		time.Sleep(50 * time.Millisecond) // two signals at once would be one
		s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.done:
		case <-time.After(10 * time.Second):
			t.Fatal("the server goes on")
		}
		s = w.start(t, "")
		defer s.stop(t)
		if err := s.client.Do(t.Context(), "POST", "/api/v1/connections/c0009/refresh", map[string]any{}, nil); err != nil {
			t.Errorf("one more refresh: %v", err)
		}
	})
	if bad := w.em.CheckOracles(nil); len(bad) > 0 {
		t.Error(bad)
	}
}
