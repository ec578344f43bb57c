package vault

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrSealed says that a sealed value does not open here: it was changed, cut
	// or moved, or its data key is not in the keyring.
	ErrSealed = errors.New("the sealed value does not open")
	// ErrUnknownKey is the kind of ErrSealed where the value names a data key
	// that the keyring in memory does not hold. Reload may cure it when another
	// replica has made the key.
	ErrUnknownKey = errors.New("the value names a data key that is not in the keyring")
)

type openError struct {
	b       Binding
	unknown bool
}

func (e *openError) Error() string {
	at := fmt.Sprintf("%s/%s/%s generation %d", e.b.Table, e.b.Row, e.b.Column, e.b.Generation)
	if e.unknown {
		return fmt.Sprintf("open %s: %v", at, ErrUnknownKey)
	}
	return fmt.Sprintf("open %s: %v", at, ErrSealed)
}

func (e *openError) Is(target error) bool {
	return target == ErrSealed || target == ErrUnknownKey && e.unknown
}

// A Problem is what is wrong with a master key or with the keyring.
type Problem string

// What a start or a rotation can be refused for.
const (
	KeyMissing     Problem = "missing"     // there is a keyring, and no master key
	KeyWrong       Problem = "wrong"       // a good key that does not open this keyring
	KeyWeak        Problem = "weak"        // zeros, a pattern, text, a sample
	KeyMalformed   Problem = "malformed"   // not 32 bytes in base64
	KeyExposed     Problem = "exposed"     // others than the owner may read or change the file
	KeyUnreadable  Problem = "unreadable"  // the system would not let us read or write it
	KeyAmbiguous   Problem = "ambiguous"   // given in two places
	KeyElsewhere   Problem = "elsewhere"   // not ours to replace
	KeyringDamaged Problem = "damaged"     // the right key, and still the keyring does not open
	KeyringNewer   Problem = "newer"       // written by a later version
	KeyringBusy    Problem = "in rotation" // another rotation has to be ended first
)

// A KeyError refuses a start or a rotation. It holds nothing secret, and
// nothing was written.
type KeyError struct {
	Problem Problem
	Place   string // where the master key is kept, in words
	Detail  string // a sentence
	hint    string
	cause   error
}

// Error names the place and what is wrong with it.
func (e *KeyError) Error() string {
	s := e.Detail
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Hint says what a person can do.
func (e *KeyError) Hint() string { return e.hint }

// Unwrap returns the system's error, if that was the cause.
func (e *KeyError) Unwrap() error { return e.cause }

// A RetainedError says why an old data key stays in the keyring.
type RetainedError struct {
	Count Count
	Until time.Time // zero: time is not the reason
}

// Error gives the number or the instant.
func (e *RetainedError) Error() string {
	if left := e.Count.Left(); left > 0 {
		return fmt.Sprintf("%d values are still sealed under an old data key", left)
	}
	return fmt.Sprintf("the old data key may still be in use until %s", e.Until.UTC().Format(time.RFC3339))
}

// Hint says what a person can do.
func (e *RetainedError) Hint() string {
	if e.Count.Left() > 0 {
		return "let re-sealing end; values that do not open hold it up until their connection is deleted or restored"
	}
	return "ask again later"
}
