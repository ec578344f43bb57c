package refresh

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet"
)

func TestEdited(t *testing.T) {
	t.Run("F26 edited while a refresh is in flight: the answer is kept, the new definition counts", func(t *testing.T) {
		inWorld(t, func(w *world) {
			c := w.add("crm", "RT")
			w.prov.took = 5 * time.Second
			done := make(chan error, 1)
			go func() {
				_, err := c.Force(context.Background(), 0)
				done <- err
			}()
			synctest.Wait()
			def := *w.defs.m["crm"]
			def.Revision++
			def.Connection.API = &freshet.API{BaseURL: "https://narrower.example"}
			w.defs.put(&def)
			if err := w.src.Invalidate(context.Background(), nil, "crm"); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if got := w.token(c); got.Generation != 2 || got.Refresh.Reveal() != "RT1" {
				t.Errorf("generation %d", got.Generation)
			}
			if got := w.conn("crm").Definition(); got.Revision != def.Revision {
				t.Errorf("definition of revision %d, want %d: the edit was lost with the answer", got.Revision, def.Revision)
			}
		})
	})
}
