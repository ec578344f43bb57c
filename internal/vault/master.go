package vault

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/freshet-dev/freshet"
)

const (
	// EnvMasterKey is the environment variable that may hold the master key.
	EnvMasterKey = "FRESHET_MASTER_KEY"
	// CredentialName is the name of the systemd credential that may hold it.
	CredentialName = "master-key"

	masterSize  = 32
	generateTip = "make one with: openssl rand -base64 32"
)

// A MasterKey is where the master key is kept: 32 random bytes in base64. It
// holds no key until it is used, and does not print one. The zero MasterKey is
// no place at all.
type MasterKey struct {
	place string         // for people
	path  string         // of the file, if it is in one
	text  freshet.Secret // the base64, if it is not
	given bool           // a file that somebody else makes and replaces
}

// MasterKeyFile keeps the master key in a file. It is made, with mode 0600, on
// the very first start; from then on a file that others may read, a symbolic
// link or a missing file is refused.
func MasterKeyFile(path string) MasterKey {
	return MasterKey{place: "the file " + path, path: path}
}

// MasterKeyText takes a master key that came from elsewhere; name says where,
// such as "FRESHET_MASTER_KEY".
func MasterKeyText(name string, text freshet.Secret) MasterKey {
	return MasterKey{place: name, text: text}
}

// MasterKeyCredential takes the systemd credential "master-key" from the
// directory that the service manager names in CREDENTIALS_DIRECTORY.
func MasterKeyCredential(directory string) MasterKey {
	path := filepath.Join(directory, CredentialName)
	return MasterKey{place: "the credential " + path, path: path, given: true}
}

// String names the place.
func (m MasterKey) String() string { return m.place }

// Places are all the places in which a master key may have been given.
type Places struct {
	File        string          // --master-key-file; empty: not given
	Environment *freshet.Secret // FRESHET_MASTER_KEY; nil: not set
	Credentials string          // $CREDENTIALS_DIRECTORY; empty: not set
	Default     string          // the file that is made when nothing was given
}

// MasterKey chooses: the file that was named, the environment, a credential
// that is there, and else the default file. A key that is given twice is
// refused, since one of the two would be an old one that nobody meant.
func (p Places) MasterKey() (MasterKey, error) {
	if p.Environment != nil {
		if p.File != "" {
			return MasterKey{}, ambiguous("--master-key-file")
		}
		if p.credential() {
			return MasterKey{}, ambiguous("a systemd credential")
		}
		return MasterKeyText(EnvMasterKey, *p.Environment), nil
	}
	switch {
	case p.File != "":
		return MasterKeyFile(p.File), nil
	case p.credential():
		return MasterKeyCredential(p.Credentials), nil
	}
	return MasterKeyFile(p.Default), nil
}

func (p Places) credential() bool {
	return p.Credentials != "" && exists(filepath.Join(p.Credentials, CredentialName))
}

func ambiguous(other string) error {
	return &KeyError{
		Problem: KeyAmbiguous, Place: EnvMasterKey,
		Detail: "the master key is given twice: by " + EnvMasterKey + " and by " + other,
		hint:   "keep one of them",
	}
}

// A master is a master key in use: only what it wraps with and its check value,
// which names it without giving it away.
type master struct {
	id   string
	aead tink.AEAD
}

func newMaster(key []byte) (*master, error) {
	wrap, err := hkdf.Key(sha256.New, key, nil, "freshet/1 master key: keyring", 32)
	if err != nil {
		return nil, err
	}
	check, err := hkdf.Key(sha256.New, key, nil, "freshet/1 master key: check value", 8)
	if err != nil {
		return nil, err
	}
	aead, err := subtle.NewAESGCM(wrap)
	clear(wrap)
	if err != nil {
		return nil, err
	}
	return &master{id: hex.EncodeToString(check), aead: aead}, nil
}

// load reads the master key from its place. A file that is not there is a
// KeyError of Problem KeyMissing, whose cause is fs.ErrNotExist.
func (m MasterKey) load() (*master, error) {
	text := []byte(m.text.Reveal())
	if m.path != "" {
		var err error
		if text, err = m.read(); err != nil {
			return nil, err
		}
	}
	defer clear(text)
	key, err := m.parse(bytes.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newMaster(key)
}

// read returns the file's text, if nobody but its owner can have seen or
// written it.
func (m MasterKey) read() ([]byte, error) {
	text, mode, err := readKeyFile(m.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint := "put the master key back in its place, or pass it in " + EnvMasterKey
		if m.given {
			hint = "let the service manager provide it, such as LoadCredential=" + CredentialName + ":FILE"
		}
		return nil, &KeyError{Problem: KeyMissing, Place: m.place, Detail: "there is no master key in " + m.place, hint: hint, cause: fs.ErrNotExist}
	case errors.Is(err, errNotRegular):
		return nil, &KeyError{
			Problem: KeyExposed, Place: m.place, Detail: m.place + " is not a plain file",
			hint: "name the file itself, not a link to it, or pass the key in " + EnvMasterKey,
		}
	case err != nil:
		return nil, &KeyError{Problem: KeyUnreadable, Place: m.place, Detail: "read the master key", hint: "let this user read " + m.path, cause: err}
	}
	loose := fs.FileMode(0o077)
	if m.given {
		// The service manager grants access by an ACL, whose mask shows as the
		// group's bits.
		loose = 0o027
	}
	if modesMatter && mode.Perm()&loose != 0 {
		clear(text)
		return nil, &KeyError{
			Problem: KeyExposed, Place: m.place,
			Detail: fmt.Sprintf("%s has mode %04o: others than its owner may read or change it", m.place, mode.Perm()),
			hint:   "chmod 600 " + m.path + "; if others can have read it, rotate it after the start: freshet master-key rotate",
		}
	}
	return text, nil
}

// parse decodes and judges a master key.
func (m MasterKey) parse(text []byte) ([]byte, error) {
	malformed := func(what string) error {
		return &KeyError{Problem: KeyMalformed, Place: m.place, Detail: "the master key in " + m.place + " " + what, hint: generateTip}
	}
	if len(text) == 0 {
		return nil, malformed("is empty")
	}
	if len(text) == masterSize {
		return nil, malformed("is not in base64: 32 bytes take 44 characters")
	}
	if _, err := hex.DecodeString(string(text)); err == nil && len(text) == 2*masterSize {
		return nil, malformed("is in hexadecimal; it has to be in base64")
	}
	key := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(key, text)
	if err != nil {
		return nil, malformed("is not in base64")
	}
	if key = key[:n]; n != masterSize {
		clear(key)
		return nil, malformed(fmt.Sprintf("holds %d bytes; it has to hold %d", n, masterSize))
	}
	if why := weakness(key); why != "" {
		clear(key)
		return nil, &KeyError{Problem: KeyWeak, Place: m.place, Detail: "the master key in " + m.place + " is not random: " + why, hint: generateTip}
	}
	return key, nil
}

// create makes a new master key in a file that must not be there yet.
func (m MasterKey) create() (*master, error) {
	key := make([]byte, masterSize)
	rand.Read(key)
	defer clear(key)
	text := append(base64.StdEncoding.AppendEncode(nil, key), '\n')
	defer clear(text)
	if err := createKeyFile(m.path, text); err != nil {
		return nil, &KeyError{Problem: KeyUnreadable, Place: m.place, Detail: "make the master key", hint: "let this user write the directory " + filepath.Dir(m.path) + ", or name another file", cause: err}
	}
	return newMaster(key)
}

// loadOrCreate is for the two moments at which a new master key may be made:
// the first start, and a rotation.
func (m MasterKey) loadOrCreate() (*master, error) {
	k, err := m.load()
	if m.path != "" && !m.given && errors.Is(err, fs.ErrNotExist) {
		return m.create()
	}
	return k, err
}

// next is the file in which a rotation keeps the new key until it takes the
// place of m's.
func (m MasterKey) next() MasterKey { return MasterKeyFile(m.path + ".next") }

// samples are what people hash to have 32 bytes quickly.
var samples = []string{"", "0", "1234", "123456", "admin", "changeme", "default", "demo", "dev", "example", "freshet", "key", "master", "master-key", "password", "sample", "secret", "test"}

// weakness says why 32 bytes cannot have come from a random source, or "". Each
// rule strikes a random key with a probability below 2^-40.
func weakness(key []byte) string {
	var seen [256]bool
	distinct, text, step := 0, true, true
	for i, b := range key {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
		text = text && b >= ' ' && b <= '~'
		step = step && (i == 0 || b-key[i-1] == key[1]-key[0])
	}
	half := len(key) / 2
	switch {
	case step:
		return "it counts, or is one byte repeated"
	case text:
		return "it is text; a passphrase is too easy to guess"
	case distinct < 16, bytes.Equal(key[:half], key[half:]):
		return "it repeats itself"
	}
	for _, s := range samples {
		if h := sha256.Sum256([]byte(s)); bytes.Equal(h[:], key) {
			return "it is the hash of a well-known word"
		}
	}
	return ""
}
