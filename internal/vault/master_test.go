package vault_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/vault"
)

func TestFirstStart(t *testing.T) {
	d := newDisk()
	key, path := fileKey(t)
	v := open(t, d, key)
	if d.saves != 1 {
		t.Errorf("the first start saved the keyring %d times", d.saves)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("S46 the key file is for its owner alone", func(t *testing.T) {
		if info.Mode() != 0o600 {
			t.Errorf("mode = %v, want -rw-------", info.Mode())
		}
	})
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err != nil || len(raw) != 32 {
		t.Errorf("the file holds %d bytes, %v; want 32 in base64", len(raw), err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("the first start left %v", files)
	}
	d.fill(t, v, 3)

	again := open(t, d, key)
	d.check(t, again, 3)
	if now, _ := os.ReadFile(path); string(now) != string(text) || d.saves != 1 {
		t.Error("the second start wrote something")
	}
	// The same key reaches us by any road.
	byText := open(t, d, vault.MasterKeyText("FRESHET_MASTER_KEY", freshet.NewSecret(string(text))))
	d.check(t, byText, 3)
}

func TestFirstStartTakesAKeyThatIsThere(t *testing.T) {
	key, path := fileKey(t)
	text := randomKey()
	writeFile(t, path, text, 0o400)
	d := newDisk()
	d.fill(t, open(t, d, key), 3)
	if now, _ := os.ReadFile(path); string(now) != text {
		t.Error("the key was replaced")
	}
	d.check(t, open(t, d, vault.MasterKeyText("x", freshet.NewSecret(text))), 3)
}

func TestFirstStartOfTwoReplicas(t *testing.T) {
	t.Run("with the same key", func(t *testing.T) {
		d, key := newDisk(), textKey()
		first := open(t, d, key)
		// The second has looked before the first has saved.
		late := &lateLook{disk: d}
		second, err := vault.Open(t.Context(), late, key)
		if err != nil {
			t.Fatal(err)
		}
		d.fill(t, first, 3)
		d.check(t, second, 3)
		if d.saves != 1 {
			t.Errorf("the keyring was saved %d times", d.saves)
		}
	})
	t.Run("with keys of their own", func(t *testing.T) {
		d := newDisk()
		open(t, d, textKey())
		_, err := vault.Open(t.Context(), &lateLook{disk: d}, textKey())
		if p := problem(t, err); p != vault.KeyWrong {
			t.Errorf("Problem = %q, want wrong", p)
		}
	})
}

func TestF74_wrong_or_missing_master_key(t *testing.T) {
	for name, c := range map[string]struct {
		want  vault.Problem
		start func(t *testing.T, path string) vault.MasterKey
	}{
		"the file is gone": {vault.KeyMissing, func(t *testing.T, path string) vault.MasterKey {
			os.Remove(path)
			return vault.MasterKeyFile(path)
		}},
		"the file holds another key": {vault.KeyWrong, func(t *testing.T, path string) vault.MasterKey {
			os.Remove(path)
			writeFile(t, path, randomKey(), 0o600)
			return vault.MasterKeyFile(path)
		}},
		"another file is named": {vault.KeyMissing, func(t *testing.T, path string) vault.MasterKey {
			return vault.MasterKeyFile(path + "2")
		}},
		"the environment holds another key": {vault.KeyWrong, func(t *testing.T, path string) vault.MasterKey {
			return textKey()
		}},
		"the environment holds nothing": {vault.KeyMalformed, func(t *testing.T, path string) vault.MasterKey {
			return vault.MasterKeyText("FRESHET_MASTER_KEY", freshet.Secret{})
		}},
		"the credential is gone": {vault.KeyMissing, func(t *testing.T, path string) vault.MasterKey {
			return vault.MasterKeyCredential(t.TempDir())
		}},
		"the keyring is damaged": {vault.KeyringDamaged, func(t *testing.T, path string) vault.MasterKey {
			return vault.MasterKeyFile(path)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			key, path := fileKey(t)
			d := newDisk()
			v := open(t, d, key)
			d.fill(t, v, 3)
			stored := string(d.Keyring)
			if c.want == vault.KeyringDamaged {
				// A byte in the middle of the wrapped keys.
				i := strings.Index(stored, `"data":"`) + 150
				d.Keyring[i] ^= 1
			}
			kept, _ := os.ReadFile(path)

			m := c.start(t, path)
			before := listing(t, filepath.Dir(path))
			_, err := vault.Open(t.Context(), d, m)
			if p := problem(t, err); p != c.want {
				t.Errorf("Problem = %q (%v), want %q", p, err, c.want)
			}
			if d.saves != 1 || before != listing(t, filepath.Dir(path)) {
				t.Error("the refused start wrote something")
			}

			// With the key back, everything is there.
			d.Keyring = []byte(stored)
			os.Remove(path)
			writeFile(t, path, string(kept), 0o600)
			d.check(t, open(t, d, key), 3)
		})
	}
	t.Run("the error names both keys by their check values", func(t *testing.T) {
		d := newDisk()
		v := open(t, d, textKey())
		_, err := vault.Open(t.Context(), d, textKey())
		if err == nil || !strings.Contains(err.Error(), v.Status().MasterKey) {
			t.Errorf("error = %v, want %s in it", err, v.Status().MasterKey)
		}
	})
	t.Run("a database that does not answer is no first start", func(t *testing.T) {
		d := newDisk()
		d.broken = errors.New("disk I/O error")
		key, path := fileKey(t)
		if _, err := vault.Open(t.Context(), d, key); !errors.Is(err, d.broken) {
			t.Errorf("Open = %v, want the database's error", err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("a master key was made")
		}
	})
	t.Run("a keyring of a newer version", func(t *testing.T) {
		d := newDisk()
		key := textKey()
		open(t, d, key)
		d.Keyring = []byte(strings.Replace(string(d.Keyring), `"version":1`, `"version":2`, 1))
		_, err := vault.Open(t.Context(), d, key)
		if p := problem(t, err); p != vault.KeyringNewer {
			t.Errorf("Problem = %q", p)
		}
	})
}

func TestS43_weak_master_keys(t *testing.T) {
	raw := func(f func(i int) byte) []byte {
		key := make([]byte, 32)
		for i := range key {
			key[i] = f(i)
		}
		return key
	}
	random := raw(func(int) byte { return 0 })
	rand.Read(random)
	hash := sha256.Sum256([]byte("changeme"))
	b64 := base64.StdEncoding.EncodeToString
	for name, c := range map[string]struct {
		text string
		want vault.Problem
	}{
		"zeros":                     {b64(make([]byte, 32)), vault.KeyWeak},
		"one byte repeated":         {b64(raw(func(int) byte { return 0xa7 })), vault.KeyWeak},
		"counting up":               {b64(raw(func(i int) byte { return byte(i) })), vault.KeyWeak},
		"counting down by three":    {b64(raw(func(i int) byte { return byte(200 - 3*i) })), vault.KeyWeak},
		"a pattern":                 {b64(raw(func(i int) byte { return "\xde\xad\xbe\xef"[i%4] })), vault.KeyWeak},
		"three bytes in turn":       {b64(raw(func(i int) byte { return "\x03\xf1\x99"[i%3] })), vault.KeyWeak},
		"sixteen bytes twice":       {b64(append(random[:16:16], random[:16]...)), vault.KeyWeak},
		"a passphrase":              {b64([]byte("correct horse battery staple, 32")), vault.KeyWeak},
		"sixteen bytes in hex":      {b64([]byte(hex.EncodeToString(random[:16]))), vault.KeyWeak},
		"the hash of a common word": {b64(hash[:]), vault.KeyWeak},
		"too short":                 {b64(random[:31]), vault.KeyMalformed},
		"too long":                  {b64(append(random[:32:32], 1)), vault.KeyMalformed},
		"AES-128":                   {b64(random[:16]), vault.KeyMalformed},
		"empty":                     {"", vault.KeyMalformed},
		"blank":                     {" \n", vault.KeyMalformed},
		"hexadecimal":               {hex.EncodeToString(random), vault.KeyMalformed},
		"32 characters as they are": {"correct horse battery staple, 32", vault.KeyMalformed},
		"not base64":                {strings.Repeat("*", 44), vault.KeyMalformed},
		"two keys":                  {randomKey() + "\n" + randomKey(), vault.KeyMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk()
			_, err := vault.Open(t.Context(), d, vault.MasterKeyText("FRESHET_MASTER_KEY", freshet.NewSecret(c.text)))
			if p := problem(t, err); p != c.want {
				t.Errorf("Problem = %q (%v), want %q", p, err, c.want)
			}
			if text := strings.TrimSpace(c.text); text != "" && strings.Contains(err.Error(), text) {
				t.Error("the error shows the key")
			}
			key, path := fileKey(t)
			writeFile(t, path, c.text, 0o600)
			_, err = vault.Open(t.Context(), d, key)
			if p := problem(t, err); p != c.want {
				t.Errorf("in a file: Problem = %q (%v), want %q", p, err, c.want)
			}
			if d.saves != 0 {
				t.Error("a keyring was made")
			}
		})
	}
	t.Run("random keys are never refused", func(t *testing.T) {
		key := make([]byte, 32)
		for range 20_000 {
			rand.Read(key)
			if why := vault.Weakness(key); why != "" {
				t.Fatalf("%x: %s", key, why)
			}
		}
	})
}

func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	credentials := filepath.Join(dir, "credentials")
	os.Mkdir(credentials, 0o700)
	writeFile(t, filepath.Join(credentials, vault.CredentialName), randomKey(), 0o440)
	env := new(freshet.NewSecret(randomKey()))
	def, named := filepath.Join(dir, "default.key"), filepath.Join(dir, "named.key")
	for name, c := range map[string]struct {
		p    vault.Places
		want string // a part of the place; empty: refused
	}{
		"nothing given":          {vault.Places{}, "default.key"},
		"a file":                 {vault.Places{File: named}, "named.key"},
		"the environment":        {vault.Places{Environment: env}, "FRESHET_MASTER_KEY"},
		"a credential":           {vault.Places{Credentials: credentials}, "credentials/master-key"},
		"another credential":     {vault.Places{Credentials: dir}, "default.key"},
		"a file, a credential":   {vault.Places{File: named, Credentials: credentials}, "named.key"},
		"file and environment":   {vault.Places{File: named, Environment: env}, ""},
		"environment and system": {vault.Places{Environment: env, Credentials: credentials}, ""},
	} {
		c.p.Default = def
		m, err := c.p.MasterKey()
		if c.want == "" {
			if p := problem(t, err); p != vault.KeyAmbiguous {
				t.Errorf("%s: Problem = %q", name, p)
			}
			continue
		}
		if err != nil || !strings.Contains(filepath.ToSlash(m.String()), c.want) {
			t.Errorf("%s: %v, %v; want %s", name, m, err, c.want)
			continue
		}
		d := newDisk()
		d.fill(t, open(t, d, m), 2)
		d.check(t, open(t, d, m), 2)
	}
}

func TestACredentialIsNotOursToMake(t *testing.T) {
	d, dir := newDisk(), t.TempDir()
	_, err := vault.Open(t.Context(), d, vault.MasterKeyCredential(dir))
	if p := problem(t, err); p != vault.KeyMissing || d.saves != 0 || listing(t, dir) != "" {
		t.Errorf("Problem = %q, %d saves, files %q", p, d.saves, listing(t, dir))
	}
}

// A lateLook finds no keyring the first time, as a replica does that looked
// before another one saved the first.
type lateLook struct {
	*disk
	looked bool
}

func (l *lateLook) LoadKeyring(ctx context.Context) ([]byte, int64, error) {
	if !l.looked {
		l.looked = true
		return nil, 0, nil
	}
	return l.disk.LoadKeyring(ctx)
}

func writeFile(t testing.TB, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// listing is what a directory holds, to see that nothing was written.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		b.WriteString(path + " " + string(text) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
