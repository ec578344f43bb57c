package harden_test

import (
	"os"
	"testing"

	"github.com/freshet-dev/freshet/internal/harden"
)

func TestS47_a_variable_is_taken_once(t *testing.T) {
	t.Setenv("FRESHET_MASTER_KEY", "canary")
	s, ok := harden.Take("FRESHET_MASTER_KEY")
	if !ok || s.Reveal() != "canary" {
		t.Errorf("Take = %q, %t", s.Reveal(), ok)
	}
	if v, ok := os.LookupEnv("FRESHET_MASTER_KEY"); ok {
		t.Errorf("the variable is still %q", v)
	}
	if s, ok := harden.Take("FRESHET_MASTER_KEY"); ok || !s.IsZero() {
		t.Errorf("the second Take = %v, %t", s, ok)
	}
	t.Setenv("FRESHET_MASTER_KEY", "")
	if s, ok := harden.Take("FRESHET_MASTER_KEY"); !ok || !s.IsZero() {
		t.Errorf("Take of an empty variable = %v, %t; want it reported as set", s, ok)
	}
}
