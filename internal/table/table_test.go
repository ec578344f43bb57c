package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet"
)

// The table of the documents: what they name of it, on the store itself.
func TestSettings(t *testing.T) {
	t.Run("cap009 token and expiry are one record, sealed, and there after a restart", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		const token, expiry = "canary-token-8f2e1b7d", "2026-03-01T12:00:00.000Z"
		r, err := w.run.Insert(w.ctx, "Settings", map[string]any{"Key": "AccessToken", "Data1": token, "Data2": expiry})
		w.ok(err)
		if r.Values["Data1"] != token || len(w.told) == 0 || w.told[0] != token {
			t.Errorf("the run got %v and was told %v", r.Values, w.told)
		}
		w.restart()
		again, err := w.ForRun("run:2", nil).List(w.ctx, "Settings", Query{Filter: "Key eq 'AccessToken'"})
		w.ok(err)
		if len(again) != 1 || again[0].Values["Data1"] != token || again[0].Values["Data2"] != expiry {
			t.Errorf("read back %+v", again)
		}
		w.ok(w.st.Close())
		for _, name := range []string{"freshet.db", "freshet.db-wal"} {
			b, err := os.ReadFile(filepath.Join(w.dir, name))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if strings.Contains(string(b), "canary-token") {
				t.Errorf("%s holds the token", name)
			}
			if name == "freshet.db" && !strings.Contains(string(b), expiry) {
				t.Errorf("%s does not hold the expiry, so that the look at it says nothing", name)
			}
		}
	})
	t.Run("cap010 the table is found by its name and its number", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		s, err := w.Schema(w.ctx, "Settings")
		w.ok(err)
		w.insert("Settings", map[string]any{"Key": "a"}) // no other column is needed
		rows := w.rows(fmt.Sprint(s.ID), Query{})
		if len(rows) != 1 || rows[0].Table != "Settings" || rows[0].Values["Data2"] != nil {
			t.Errorf("by number: %+v", rows)
		}
	})
	t.Run("cap011 values of 8 KiB and more, and further columns", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		long := strings.Repeat("ey.J", 1<<20)
		_, err := w.AddColumn(w.ctx, "run:1", "Settings", Column{Name: "Note", Type: String, Indexed: true})
		w.ok(err)
		w.ok(func() error {
			_, err := w.run.Insert(w.ctx, "Settings", map[string]any{"Key": "AccessToken", "Data1": long, "Data2": long, "Note": long})
			return err
		}())
		rows, err := w.run.List(w.ctx, "Settings", Query{Filter: "Key eq 'AccessToken'"})
		w.ok(err)
		if len(rows) != 1 || rows[0].Values["Data1"] != long || rows[0].Values["Data2"] != long || rows[0].Values["Note"] != long {
			t.Error("a long value does not read back as it was")
		}
	})
	t.Run("cap012 what is secret is masked, and is in no error", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		const password = "canary-password"
		r := w.insert("Settings", map[string]any{"Key": "AccessTokenCreds", "Data1": password, "Data2": "user"})
		_, err := w.Update(w.ctx, r.ObjectID, map[string]any{"Data1": password + "-2"}, UpdateOptions{})
		w.ok(err)
		history, err := w.History(w.ctx, r.ObjectID, HistoryQuery{Current: true})
		w.ok(err)
		shown, err := json.Marshal([]any{r, w.rows("Settings", Query{}), history})
		w.ok(err)
		if strings.Contains(string(shown), "canary") || strings.Count(string(shown), `"Data1":"[secret]"`) != 4 {
			t.Errorf("shown: %s", shown)
		}
		// The marker that was shown, given back, keeps the value.
		_, err = w.Update(w.ctx, r.ObjectID, map[string]any{"Data1": freshet.Redacted, "Data2": "other"}, UpdateOptions{ClearOmitted: false})
		w.ok(err)
		got, err := w.run.Get(w.ctx, r.ObjectID, false)
		w.ok(err)
		if got.Values["Data1"] != password+"-2" || got.Values["Data2"] != "other" {
			t.Errorf("after the marker: %v", got.Values)
		}
		if _, err := w.Insert(w.ctx, "Settings", map[string]any{"Key": "b", "Data1": freshet.Redacted}); err == nil {
			t.Error("a new row takes the marker")
		}
		w.create("Pins", Column{Name: "Name", Type: String}, Column{Name: "Pin", Type: Integer, Secret: true})
		if _, err := w.Insert(w.ctx, "Pins", map[string]any{"Name": "a", "Pin": "canary"}); err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "table Pins, column Pin") {
			t.Errorf("a wrong secret: %v", err)
		}
	})
	t.Run("cap013 a list by key gives the rows, or an empty list", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		want := w.insert("Settings", map[string]any{"Key": "AccessToken"})
		w.insert("Settings", map[string]any{"Key": "APIBaseURL"})
		if rows := w.rows("Settings", Query{Filter: "Key eq 'AccessToken'"}); len(rows) != 1 || rows[0].ObjectID != want.ObjectID {
			t.Errorf("found %+v", rows)
		}
		if rows := w.rows("Settings", Query{Filter: "Key eq 'accesstoken'"}); len(rows) != 0 {
			t.Errorf("another key finds %+v", rows)
		}
	})
	t.Run("cap014 a row by its number, and an error that names one that has gone", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		r := w.insert("Settings", map[string]any{"Key": "AccessToken", "Data2": "x"})
		got, err := w.Get(w.ctx, r.ObjectID, false)
		w.ok(err)
		if got.Values["Key"] != "AccessToken" || got.Values["Data2"] != "x" || got.Table != "Settings" {
			t.Errorf("got %+v", got)
		}
		w.ok(w.Delete(w.ctx, r.ObjectID, 0))
		for _, err := range []error{func() error { _, err := w.Get(w.ctx, r.ObjectID, true); return err }(),
			func() error {
				_, err := w.Update(w.ctx, r.ObjectID, map[string]any{"Key": "b"}, UpdateOptions{})
				return err
			}(),
			w.Delete(w.ctx, r.ObjectID, 0)} {
			if !errors.Is(err, ErrNoRow) || !strings.Contains(err.Error(), fmt.Sprint(r.ObjectID)) {
				t.Errorf("a row that has gone: %v", err)
			}
		}
	})
	t.Run("cap015 nobody sees a new token with an old expiry", func(t *testing.T) {
		w := newWorld(t)
		w.settings()
		r := w.insert("Settings", map[string]any{"Key": "AccessToken", "Data1": "token-0", "Data2": "0"})
		const updates = 1000
		var writing, reading sync.WaitGroup
		stop := make(chan struct{})
		seen := 0
		reading.Go(func() {
			reader := w.ForRun("run:reader", nil)
			for {
				got, err := reader.Get(w.ctx, r.ObjectID, false)
				if err != nil {
					t.Error(err)
					return
				}
				if got.Values["Data1"] != "token-"+got.Values["Data2"].(string) {
					t.Errorf("read %v", got.Values)
					return
				}
				seen++
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		writing.Go(func() {
			for i := 1; i <= updates; i++ {
				if _, err := w.Update(w.ctx, r.ObjectID, map[string]any{"Data1": fmt.Sprint("token-", i), "Data2": fmt.Sprint(i)}, UpdateOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
		writing.Wait()
		close(stop)
		reading.Wait()
		if got, err := w.run.Get(w.ctx, r.ObjectID, false); err != nil || got.Values["Data1"] != fmt.Sprint("token-", updates) {
			t.Errorf("in the end %+v, %v", got, err)
		}
		if seen < 2 {
			t.Errorf("only %d reads met the updates", seen)
		}
	})
	t.Run("an expiry is kept as the instant that it is", func(t *testing.T) {
		w := newWorld(t)
		w.create("Tokens", Column{Name: "Name", Type: String}, Column{Name: "Expires", Type: DateTime, Indexed: true})
		zone := time.FixedZone("", 3600)
		for name, v := range map[string]any{"time": time.Date(2026, 3, 1, 13, 0, 0, 5e6, zone), "text": "2026-03-01T13:00:00.005+01:00", "seven": "2026-03-01T12:00:00.0050000Z"} {
			r := w.insert("Tokens", map[string]any{"Name": name, "Expires": v})
			if want := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC); !want.Equal(r.Values["Expires"].(time.Time)) {
				t.Errorf("%s is kept as %v", name, r.Values["Expires"])
			}
		}
		if n := len(w.rows("Tokens", Query{Filter: "Expires lt 2026-03-01T12:00:00.006Z and Expires ge 2026-03-01T12:00:00.005Z"})); n != 3 {
			t.Errorf("%d rows by their instant", n)
		}
	})
}
