package run

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"
)

// idLetters keep the order of the bytes, and leave out letters that people take
// for digits.
var idLetters = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const (
	idBytes  = 16 // milliseconds since 1970 in six, then ten at random
	idLength = 26
)

// ids makes ids that grow, also within a millisecond and when the clock is set
// back: a child's id is above its parent's.
type ids struct {
	mu   sync.Mutex
	last [idBytes]byte
}

func (g *ids) next(now time.Time) ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b [idBytes]byte
	stamp(&b, now)
	if string(b[:6]) > string(g.last[:6]) {
		rand.Read(b[6:])
		b[6] &= 0x7f // room to count in
	} else {
		b = g.last
		for i := idBytes - 1; i >= 0; i-- {
			if b[i]++; b[i] != 0 {
				break
			}
		}
	}
	g.last = b
	return idLetters.EncodeToString(b[:])
}

func stamp(b *[idBytes]byte, t time.Time) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(t.UnixMilli(), 0)))
	copy(b[:6], ms[2:])
}

// firstID is the lowest id of runs that start at t or later.
func firstID(t time.Time) ID {
	if t.IsZero() {
		return ""
	}
	if ms := t.UnixMilli(); time.UnixMilli(ms).Before(t) {
		t = time.UnixMilli(ms + 1)
	}
	var b [idBytes]byte
	stamp(&b, t)
	return idLetters.EncodeToString(b[:])
}

// ValidID reports whether s can be the id of a run.
func ValidID(s string) bool {
	if len(s) != idLength {
		return false
	}
	_, err := idLetters.DecodeString(s)
	return err == nil
}

// correlation makes an id that nobody else has. It begins with the instant, as
// ids do, so that the index of a busy server grows at its end.
func correlation(now time.Time) string {
	var b [idBytes]byte
	stamp(&b, now)
	rand.Read(b[6:])
	return hex.EncodeToString(b[:])
}
