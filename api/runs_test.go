package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/freshet-dev/freshet/api"
)

// A stream that breaks off is taken up again behind the last step that came.
func TestFollowGoesOnWhereItWas(t *testing.T) {
	var after []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after = append(after, r.Header.Get("Last-Event-ID"))
		if r.URL.Path != "/api/v1/runs/r1/journal" || r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "retry: 2000\n\nevent: run\ndata: {\"id\":\"r1\",\"status\":\"running\"}\n\n")
		switch len(after) {
		case 1:
			fmt.Fprint(w, "id: 1\nevent: step\ndata: {\"number\":1}\n\nid: 2\nevent: step\ndata: {\"number\":2}\n\n")
		case 2: // the key's end, not the run's
			fmt.Fprint(w, "event: end\ndata: {\"reason\":\"x\"}\n\n")
		default:
			fmt.Fprint(w, "id: 3\nevent: step\ndata: {\"number\":3}\n\nevent: end\ndata: {\"id\":\"r1\",\"status\":\"faulted\",\"fault\":{\"message\":\"m\"}}\n\n")
		}
	}))
	defer s.Close()
	var steps []int
	r, err := api.New(s.URL, "fk_x").Follow(t.Context(), "r1", 0, func(s api.Step) error {
		steps = append(steps, s.Number)
		return nil
	})
	if err != nil || r.Status != "faulted" || r.Fault.Message != "m" || !r.Ended() || !slices.Equal(steps, []int{1, 2, 3}) || !slices.Equal(after, []string{"", "2", "2"}) {
		t.Errorf("%+v, %v, steps %v after %q", r, err, steps, after)
	}
	stop := errors.New("enough")
	after = nil
	if _, err := api.New(s.URL, "fk_x").Follow(t.Context(), "r1", 0, func(api.Step) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}
