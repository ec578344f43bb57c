package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/vault"
)

func TestSealOpen(t *testing.T) {
	v := open(t, newDisk(), textKey())
	for _, text := range []string{"", "a", strings.Repeat("long ", 10_000)} {
		b := binding(1)
		sealed := seal(t, v, b, text)
		got, err := v.Open(b, sealed)
		if err != nil || string(got) != text {
			t.Errorf("Open = %d bytes, %v; want %d", len(got), err, len(text))
		}
		if id, ok := vault.KeyID(sealed); !ok || id != v.Status().DataKeys[0] {
			t.Errorf("KeyID = %d, %t; want %d", id, ok, v.Status().DataKeys[0])
		}
		if len(text) > 1 && bytes.Contains(sealed, []byte(text)) {
			t.Error("the sealed value holds the plaintext")
		}
	}
	for _, b := range []vault.Binding{{}, {Table: "t", Row: "r"}, {Table: "t", Column: "c"}, {Row: "r", Column: "c"}} {
		if _, err := v.Seal(b, nil); err == nil {
			t.Errorf("Seal with %+v succeeded", b)
		}
	}
}

func TestS40_a_value_opens_only_where_it_was_sealed(t *testing.T) {
	v := open(t, newDisk(), textKey())
	home := vault.Binding{Table: "tokens", Row: "ab", Column: "token", Generation: 3}
	sealed := seal(t, v, home, "canary")
	if _, err := v.Open(home, sealed); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]vault.Binding{
		"another row":           {Table: "tokens", Row: "ac", Column: "token", Generation: 3},
		"another column":        {Table: "tokens", Row: "ab", Column: "secrets", Generation: 3},
		"another table":         {Table: "orphans", Row: "ab", Column: "token", Generation: 3},
		"the generation before": {Table: "tokens", Row: "ab", Column: "token", Generation: 2},
		"a later generation":    {Table: "tokens", Row: "ab", Column: "token", Generation: 4},
		"letters that moved":    {Table: "tokensa", Row: "b", Column: "token", Generation: 3},
		"a shifted column":      {Table: "tokens", Row: "abt", Column: "oken", Generation: 3},
	} {
		if got, err := v.Open(b, sealed); !errors.Is(err, vault.ErrSealed) || got != nil {
			t.Errorf("%s: Open = %q, %v; want ErrSealed", name, got, err)
		}
	}
	t.Run("under another installation's keyring", func(t *testing.T) {
		other := open(t, newDisk(), textKey())
		if _, err := other.Open(home, sealed); !errors.Is(err, vault.ErrSealed) || !errors.Is(err, vault.ErrUnknownKey) {
			t.Errorf("Open = %v, want ErrSealed and ErrUnknownKey", err)
		}
	})
	t.Run("the database holds neither plaintext nor keys in the clear", func(t *testing.T) {
		key := randomKey()
		d := newDisk()
		w := open(t, d, vault.MasterKeyText("test", freshet.NewSecret(key)))
		d.put("x", home, seal(t, w, home, "canary"))
		if bytes.Contains(d.Keyring, []byte(key)) || bytes.Contains(d.get("x").Sealed, []byte("canary")) {
			t.Error("found in the clear")
		}
	})
}

func TestF76_a_damaged_row_harms_itself_only(t *testing.T) {
	d := newDisk()
	v := open(t, d, textKey())
	d.fill(t, v, 10)
	good := d.get(binding(4).Row).Sealed
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := v.Open(binding(4), bad); !errors.Is(err, vault.ErrSealed) {
			t.Fatalf("byte %d flipped: Open = %v, want ErrSealed", i, err)
		}
		if _, err := v.Open(binding(4), good[:i]); !errors.Is(err, vault.ErrSealed) {
			t.Fatalf("cut at %d: Open = %v, want ErrSealed", i, err)
		}
	}
	a, b := d.get(binding(1).Row), d.get(binding(8).Row) // of the same generation
	if a.B.Generation != b.B.Generation {
		t.Fatal("the rows differ in generation, too")
	}
	if _, err := v.Open(a.B, b.Sealed); !errors.Is(err, vault.ErrSealed) {
		t.Errorf("swapped rows: Open = %v, want ErrSealed", err)
	}
	// What the error says names the place, and nothing of the value.
	_, err := v.Open(a.B, b.Sealed)
	if !strings.Contains(err.Error(), a.B.Row) || strings.Contains(err.Error(), "refresh token") {
		t.Errorf("error = %v", err)
	}
	d.check(t, v, 10)
}

func TestS42_no_nonce_comes_twice(t *testing.T) {
	const batch, total = 2000, 1_000_000
	v := open(t, newDisk(), textKey())
	type nonce [24]byte
	seen := make(map[nonce]bool, total)
	// After the key's name come 192 bits that must never repeat.
	look := func(sealed []byte) {
		n := nonce(sealed[5:29])
		if seen[n] {
			t.Fatalf("nonce %x came twice", n)
		}
		seen[n] = true
	}
	rapid.Check(t, func(rt *rapid.T) {
		b := vault.Binding{
			Table:      rapid.StringN(1, 10, -1).Draw(rt, "table"),
			Row:        rapid.StringN(1, 20, -1).Draw(rt, "row"),
			Column:     rapid.StringN(1, 10, -1).Draw(rt, "column"),
			Generation: rapid.Int64().Draw(rt, "generation"),
		}
		text := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(rt, "plaintext")
		other := b
		switch rapid.IntRange(0, 3).Draw(rt, "which part differs") {
		case 0:
			other.Table += "x"
		case 1:
			other.Row += "x"
		case 2:
			other.Column += "x"
		case 3:
			other.Generation++
		}
		var sealed []byte
		for range batch {
			var err error
			if sealed, err = v.Seal(b, text); err != nil {
				rt.Fatal(err)
			}
			look(sealed)
		}
		if got, err := v.Open(b, sealed); err != nil || !bytes.Equal(got, text) {
			rt.Fatalf("Open = %x, %v; want %x", got, err, text)
		}
		if _, err := v.Open(other, sealed); !errors.Is(err, vault.ErrSealed) {
			rt.Fatalf("Open as %+v = %v, want ErrSealed", other, err)
		}
	})
	for len(seen) < total {
		look(seal(t, v, binding(1), "x"))
	}
}

func TestDigest(t *testing.T) {
	d := newDisk()
	key := textKey()
	v := open(t, d, key)
	a := v.Digest("api-key", freshet.NewSecret("abc"))
	if len(a) != 32 {
		t.Fatalf("Digest has %d bytes", len(a))
	}
	if !bytes.Equal(a, open(t, d, key).Digest("api-key", freshet.NewSecret("abc"))) {
		t.Error("Digest differs after a restart")
	}
	for name, o := range map[string][]byte{
		"another secret":           v.Digest("api-key", freshet.NewSecret("abd")),
		"another purpose":          v.Digest("refresh-token", freshet.NewSecret("abc")),
		"a shifted purpose":        v.Digest("api-keya", freshet.NewSecret("bc")),
		"an empty secret":          v.Digest("api-key", freshet.Secret{}),
		"an installation of their": open(t, newDisk(), textKey()).Digest("api-key", freshet.NewSecret("abc")),
	} {
		if bytes.Equal(a, o) {
			t.Errorf("Digest is the same for %s", name)
		}
	}
}

func TestS41_a_vault_prints_none_of_its_keys(t *testing.T) {
	text := randomKey()
	m := vault.MasterKeyText("FRESHET_MASTER_KEY", freshet.NewSecret(text))
	v := open(t, newDisk(), m)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, x := range []any{v, *(&m), &m, struct{ K vault.MasterKey }{m}, struct{ v *vault.Vault }{v}} {
			if got := fmt.Sprintf(verb, x); strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) {
				t.Errorf("%s of a %T prints the master key", verb, x)
			}
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s", v, v, v, v); got != "vault vault vault vault" {
		t.Errorf("a vault prints as %q", got)
	}
}

func TestVaultIsSafeForConcurrentUse(t *testing.T) {
	const workers, rounds = 4, 150
	d := newDisk()
	key, _ := fileKey(t)
	v := open(t, d, key)
	d.fill(t, v, workers)
	digest := v.Digest("api-key", freshet.NewSecret("abc"))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { // a connection that keeps refreshing
			for g := range int64(rounds) {
				b := binding(w)
				r := d.get(b.Row)
				if got, err := v.Open(r.B, r.Sealed); err != nil || string(got) != content(w) {
					t.Errorf("worker %d generation %d: Open = %q, %v", w, g, got, err)
					return
				}
				b.Generation = g
				d.put(b.Row, b, seal(t, v, b, content(w)))
				if !bytes.Equal(digest, v.Digest("api-key", freshet.NewSecret("abc"))) {
					t.Error("the digest has changed")
				}
			}
		})
	}
	for range 10 {
		if err := v.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := v.Reseal(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if _, err := v.Reseal(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	for w := range workers {
		r := d.get(binding(w).Row)
		if got, err := v.Open(r.B, r.Sealed); err != nil || string(got) != content(w) {
			t.Errorf("worker %d: Open = %q, %v", w, got, err)
		}
	}
	if c, err := v.Count(t.Context(), d); err != nil || c.Left() != 0 {
		t.Errorf("Count = %+v, %v", c, err)
	}
}

func BenchmarkSealOpen(b *testing.B) {
	v := open(b, newDisk(), textKey())
	text := bytes.Repeat([]byte("x"), 2000)
	b.ReportAllocs()
	for b.Loop() {
		sealed, err := v.Seal(binding(1), text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Open(binding(1), sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	v := open(b, newDisk(), textKey())
	s := freshet.NewSecret("fk_0123456789abcdef_0123456789abcdef0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		v.Digest("api-key", s)
	}
}
