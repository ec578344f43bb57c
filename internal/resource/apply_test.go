package resource_test

import (
	"testing"

	"github.com/freshet-dev/freshet/internal/resource"
)

func TestApplyIsIdempotent(t *testing.T) {
	b, _ := newBook(t, resource.Options{})
	if got, want := must(t, b, acme, nil), "created providers/acme, created clients/acme, created connections/crm"; got != want {
		t.Errorf("first apply: %s, want %s", got, want)
	}
	if got, want := must(t, b, acme, nil), "unchanged providers/acme, unchanged clients/acme, unchanged connections/crm"; got != want {
		t.Errorf("second apply: %s, want %s", got, want)
	}
	d, err := b.Definition(t.Context(), "crm")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", d)
}
