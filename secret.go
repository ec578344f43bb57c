package freshet

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a Secret prints as, wherever it is printed.
const Redacted = "[secret]"

// A Secret is a string that does not print: not under any fmt verb, not in
// JSON, YAML or text encodings, not in slog. Reveal is the one way out, and a
// test lists the places that may call it. The zero Secret is empty. Secrets are
// immutable and safe for concurrent use; compare them with Equal, never with ==.
type Secret struct {
	// A pointer, because fmt reaches unexported fields of a struct that holds a
	// Secret without asking for its Formatter; it then prints an address.
	v *string
}

// NewSecret returns a Secret that holds s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{v: &s}
}

// Reveal returns the string itself.
func (s Secret) Reveal() string {
	if s.v == nil {
		return ""
	}
	return *s.v
}

// IsZero reports whether s is empty.
func (s Secret) IsZero() bool { return s.v == nil }

// Len returns the length in bytes.
func (s Secret) Len() int {
	if s.v == nil {
		return 0
	}
	return len(*s.v)
}

// Equal reports whether s and o hold the same string, in time that does not
// depend on where they differ.
func (s Secret) Equal(o Secret) bool {
	a, b := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(o.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Format prints Redacted (or nothing for an empty Secret) under every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// String returns Redacted, or "" for an empty Secret.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Redacted
}

// GoString returns what String does.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps the value out of slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText redacts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON redacts.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalText takes the text as the value.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = NewSecret(string(b))
	return nil
}

// UnmarshalJSON takes a JSON string, or null for the empty Secret.
func (s *Secret) UnmarshalJSON(b []byte) error {
	var v string
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("a secret is a string, not %s", kindOf(b))
	}
	*s = NewSecret(v)
	return nil
}

// kindOf names the JSON kind of b for an error text, without showing b.
func kindOf(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	switch b[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case 'n':
		return "null"
	}
	return "a number"
}
