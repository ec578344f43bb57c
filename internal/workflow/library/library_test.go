package library_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
	"github.com/freshet-dev/freshet/internal/store/sqlite"
	"github.com/freshet-dev/freshet/internal/vault"
	"github.com/freshet-dev/freshet/internal/workflow/library"
)

type world struct {
	*library.Library
	t     *testing.T
	db    *store.Store
	vault *vault.Vault
	again bool
}

func newWorld(t *testing.T, cache int) *world {
	t.Helper()
	db, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	key := make([]byte, 32)
	rand.Read(key)
	v, err := vault.Open(t.Context(), db, vault.MasterKeyText("the test", freshet.NewSecret(base64.StdEncoding.EncodeToString(key))))
	if err != nil {
		t.Fatal(err)
	}
	return &world{library.New(library.Options{Store: db, Sealer: v, CacheSize: cache}), t, db, v, false}
}

func file(name, id, tag string) string {
	return fmt.Sprintf(`{"definitionId":%q,"name":"in the file","tag":%q,"description":"password: example-old-one","activities":[{"activityId":"a","type":"WriteLine","displayName":%q}]}`, id, tag, name)
}

// write declares a workflow, whose id is "id of NAME".
func (w *world) write(name, text string, change func(*freshet.Workflow)) {
	w.t.Helper()
	d := &freshet.Workflow{Definition: freshet.NewSecret(text)}
	if change != nil {
		change(d)
	}
	ctx := library.By(w.t.Context(), "key:ann")
	if err := w.db.Change(ctx, func(c *store.Change) error { return w.Write(c, "id of "+name, name, d, w.again) }); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Changed(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func publish(d *freshet.Workflow) { d.Publish = true }

func (w *world) at(name string) string {
	w.t.Helper()
	row, err := w.Get(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("%d of %d", row.Published, row.Latest)
}

func TestVersions(t *testing.T) {
	w := newWorld(t, 0)
	ctx := t.Context()
	changes := 0
	w.Watch(func() { changes++ })
	if _, err := w.Published(ctx, "Call me"); err == nil || err.Error() != "there is no workflow Call me" || !errors.Is(err, freshet.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	w.write("Call me", file("1", "def", "night"), nil)
	if _, err := w.Published(ctx, "Call me"); err == nil || err.Error() != "workflow Call me is a draft: publish it first" {
		t.Errorf("draft: %v", err)
	}
	w.write("Call me", file("1", "def", "night"), publish) // the draft itself is published
	if got := w.at("Call me"); got != "1 of 1" {
		t.Error(got)
	}
	first, err := w.Published(ctx, "Call me")
	if err != nil || first.Number != 1 || !first.Published || first.Definition.Activities[0].DisplayName != "1" || first.By != "key:ann" || first.ID != "id of Call me" || first.Definition.Name != "in the file" {
		t.Fatalf("%+v %v", first, err)
	}
	if again, _ := w.Published(ctx, "Call me"); again != first {
		t.Error("a version is not kept in memory")
	}
	w.write("Call me", file("1", "def", "night"), publish) // nothing new
	w.write("Call me", file("2", "def", "day"), nil)       // a draft: the old one goes on
	if got := w.at("Call me"); got != "1 of 2" {
		t.Error(got)
	}
	if v, _ := w.Published(ctx, "Call me"); v != first {
		t.Error("a draft replaced what is published")
	}
	w.write("Call me", file("2", "def", "day"), publish)
	second, _ := w.Published(ctx, "Call me")
	if got := w.at("Call me"); got != "2 of 2" || second.Definition.Activities[0].DisplayName != "2" {
		t.Errorf("%s %+v", got, second)
	}
	old, err := w.Numbered(ctx, "id of Call me", 1)
	if err != nil || old.Definition.Activities[0].DisplayName != "1" || old.Published {
		t.Errorf("a run of version 1 goes on with %+v %v", old, err)
	}
	w.again = true
	w.write("Call me", file("2", "def", "day"), publish)
	if got := w.at("Call me"); got != "3 of 3" {
		t.Errorf("published again: %s", got)
	}
	if _, b, err := w.File(ctx, "Call me", 1); err != nil || string(b) != file("1", "def", "night") {
		t.Errorf("file of version 1: %s %v", b, err)
	}
	if v, b, err := w.File(ctx, "Call me", 0); err != nil || string(b) != file("2", "def", "day") || v.Number != 3 {
		t.Errorf("newest file: %s %v", b, err)
	}
	list, err := w.Versions(ctx, "id of Call me", 0, 10)
	if err != nil || len(list) != 3 || list[0].Number != 3 || list[0].Hash != list[1].Hash || list[1].Hash == list[2].Hash || list[0].Size != int64(len(file("2", "def", "day"))) {
		t.Errorf("versions %+v %v", list, err)
	}
	for _, bad := range []int{4, -1} {
		if _, _, err := w.File(ctx, "Call me", bad); !errors.Is(err, freshet.ErrNotFound) {
			t.Errorf("version %d: %v", bad, err)
		}
	}
	if _, err := w.Numbered(ctx, "nobody", 1); !errors.Is(err, freshet.ErrNotFound) {
		t.Errorf("no workflow: %v", err)
	}
	if err := w.db.Change(ctx, func(c *store.Change) error { return w.Remove(c, "id of Call me") }); err != nil {
		t.Fatal(err)
	}
	if err := w.Changed(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Published(ctx, "Call me"); !errors.Is(err, freshet.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if changes != 7 {
		t.Errorf("watchers heard of %d changes", changes)
	}
}

func TestAttachments(t *testing.T) {
	w := newWorld(t, 0)
	w.write("A", file("1", "", ""), func(d *freshet.Workflow) {
		d.Publish, d.Public, d.Lock = true, true, `"k"`
		d.Variables = map[string]freshet.Secret{"BaseURL": freshet.NewSecret(`{"Data1":"https://secret.example"}`), "n": freshet.NewSecret("5"), "x": freshet.NewSecret("null"), "f": freshet.NewSecret("1.5")}
		d.MapInput = map[string]string{"api": "input.api"}
	})
	v, err := w.Published(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"BaseURL": map[string]any{"Data1": "https://secret.example"}, "n": int64(5), "x": nil, "f": 1.5}
	if !reflect.DeepEqual(v.Attachments.Variables, want) || !v.Public || v.Lock != `"k"` || v.MapInput["api"] != "input.api" {
		t.Errorf("%#v", v.Attachments)
	}
	if got := v.Defaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("defaults %v", got)
	}
	// Another attachment is another version; the same one is none.
	again := func(d *freshet.Workflow) { d.Publish, d.Public = true, false }
	w.write("A", file("1", "", ""), again)
	w.write("A", file("1", "", ""), again)
	if got := w.at("A"); got != "2 of 2" {
		t.Error(got)
	}
	// Neither file nor variables are in the database in the clear.
	row, err := w.db.WorkflowVersion(t.Context(), "id of A", 1)
	if err != nil || strings.Contains(string(row.Sealed), "example") {
		t.Errorf("%v: %q", err, row.Sealed)
	}
	// Nor does a version open in the place of another.
	moved := row
	moved.ID, moved.Workflow, moved.Number = "id of B-1", "id of B", 1
	if err := w.db.Change(t.Context(), func(c *store.Change) error { return c.AddWorkflowVersion("B", moved) }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.File(t.Context(), "B", 1); !errors.Is(err, vault.ErrSealed) {
		t.Errorf("moved: %v", err)
	}
}

func TestLookups(t *testing.T) {
	w := newWorld(t, 0)
	w.write("Zoe", file("z", "shared", "nightly"), publish)
	w.write("Ann", file("a", "shared", "nightly"), publish)
	w.write("Draft", file("d", "other", "daily"), nil)
	for _, c := range []struct{ what, key, want string }{
		{"name", "Zoe", "Zoe"}, {"name", "zoe", ""}, {"name", "in the file", ""}, {"name", "Draft", ""},
		{"id", "id of Zoe", "Zoe"}, {"id", "shared", "Ann"}, {"id", "other", ""}, {"id", "id of Draft", ""}, {"id", "", ""},
		{"tag", "nightly", "Ann"}, {"tag", "daily", ""}, {"tag", "", ""},
	} {
		get := map[string]func(context.Context, string) (string, error){
			"name": func(ctx context.Context, k string) (string, error) { return name(w.Published(ctx, k)) },
			"id":   func(ctx context.Context, k string) (string, error) { return name(w.ByID(ctx, k)) },
			"tag":  func(ctx context.Context, k string) (string, error) { return name(w.ByTag(ctx, k)) },
		}[c.what]
		got, err := get(t.Context(), c.key)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, freshet.ErrNotFound) {
			t.Errorf("%s %q is %q, %v; want %q", c.what, c.key, got, err, c.want)
		}
	}
	all, err := w.AllPublished(t.Context())
	if err != nil || len(all) != 2 || all[0].Name != "Ann" {
		t.Errorf("%v %v", all, err)
	}
}

// Lookups go on while versions are published: each finds a whole version, and
// never an older one than the one before.
func TestPublishWhileLooking(t *testing.T) {
	w := newWorld(t, 2)
	for _, n := range []string{"A", "B", "C", "D"} {
		w.write(n, file("0", "", ""), publish)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				v, err := w.Published(t.Context(), "A")
				if err != nil || v.Number < last || v.Definition.Activities[0].DisplayName != fmt.Sprint(v.Number-1) {
					t.Errorf("after %d: %+v %v", last, v, err)
					return
				}
				last = v.Number
				for _, n := range []string{"B", "C", "D"} {
					if _, err := w.Published(t.Context(), n); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for i := range 20 {
		w.write("A", file(fmt.Sprint(i+1), "", ""), publish)
	}
	close(done)
	wg.Wait()
}

func name[T any](v T, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return reflect.ValueOf(v).Elem().FieldByName("Name").String(), nil
}
