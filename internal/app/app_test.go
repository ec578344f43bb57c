package app_test

import (
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/emulator"
)

func TestFirst(t *testing.T) {
	w := newWorld(t, emulator.Options{})
	w.shop(document(t))
	tok := w.must("shop", "js_manage_tokens.getAccessToken")
	if err := w.em.Valid(strings.Trim(tok, `"`)); err != nil {
		t.Error(tok, err)
	}
	v, err := w.apps.Load(t.Context(), "shop", "users", "http", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", v)
	t.Log(w.journaled(v.RunID))
}
