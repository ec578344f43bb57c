package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/store"
)

// A Hasher makes keyed hashes; *vault.Vault is one.
type Hasher interface {
	Digest(purpose string, s freshet.Secret) []byte
}

// chain links rows. It is not safe for concurrent use.
type chain struct {
	mac hash.Hash
	buf []byte
}

// newChain derives the chain's key once: a hash by the vault for each row would
// cost more than the row.
func newChain(h Hasher) *chain {
	return &chain{mac: hmac.New(sha256.New, h.Digest("audit chain", freshet.NewSecret("1")))}
}

// hash returns the hash of r after a row with hash prev.
func (c *chain) hash(prev []byte, r *store.AuditRow) []byte {
	// In one piece: a busy server hashes tens of thousands in a second.
	b := append(binary.BigEndian.AppendUint64(c.buf[:0], uint64(len(prev))), prev...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.At.UnixMilli()))
	for _, t := range [...]string{r.Actor, r.Action, r.Subject, r.Detail} {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(t))), t...)
	}
	c.buf = b
	c.mac.Reset()
	c.mac.Write(b)
	return c.mac.Sum(make([]byte, 0, sha256.Size))
}

// A Checkpoint names one row and its hash. Kept where the database's owner
// cannot reach, it proves later that nothing up to that row was changed or
// removed. Its text is SEQ:HASH.
type Checkpoint struct {
	Seq  int64
	Hash []byte
}

// String returns the text.
func (c Checkpoint) String() string {
	return strconv.FormatInt(c.Seq, 10) + ":" + hex.EncodeToString(c.Hash)
}

// ParseCheckpoint reads the text of a checkpoint.
func ParseCheckpoint(s string) (Checkpoint, error) {
	seq, sum, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(seq, 10, 64)
	h, herr := hex.DecodeString(sum)
	if err != nil || herr != nil || n < 0 || len(h) != sha256.Size && n != 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint %q is none: it is a number, a colon and 64 hexadecimal digits", s)
	}
	return Checkpoint{Seq: n, Hash: h}, nil
}

// A Report is what Verify found.
type Report struct {
	Rows  int64
	First int64
	Head  Checkpoint // the newest row: the checkpoint to keep
	// Broken is the first row that is not what it was, 0 if there is none: it,
	// or the row before it, was changed, or one between them removed.
	Broken int64
	Detail string // what is wrong, "" if nothing is
}

// Good reports whether the record is whole.
func (r Report) Good() bool { return r.Detail == "" }

// Verify reads the whole record and checks its chain, and that it still holds
// the row of the checkpoint, if that is not zero. It may be called on a record
// that grows.
func (l *Log) Verify(ctx context.Context, mark Checkpoint) (Report, error) {
	c := newChain(l.o.Hasher)
	var (
		rep  Report
		prev []byte
		seen = mark.Seq == 0
	)
	for after := int64(math.MinInt64); ; {
		rows, err := l.o.Store.Audit(ctx, after, 1000)
		if err != nil {
			return rep, fmt.Errorf("verify the audit: %w", err)
		}
		for i := range rows {
			r := &rows[i]
			if rep.Rows++; rep.Rows == 1 {
				rep.First = r.Seq
			}
			if rep.Broken == 0 && !hmac.Equal(c.hash(prev, r), r.Hash) {
				rep.Broken = r.Seq
				rep.Detail = fmt.Sprintf("row %d of %s does not follow from the rows before it: a row was changed, put in or removed there", r.Seq, r.At.UTC().Format("2006-01-02 15:04:05"))
			}
			if r.Seq == mark.Seq {
				seen = true
				if !hmac.Equal(r.Hash, mark.Hash) && rep.Detail == "" {
					rep.Broken = r.Seq
					rep.Detail = fmt.Sprintf("row %d is not the one of the checkpoint: the record was written anew", r.Seq)
				}
			}
			prev, after = r.Hash, r.Seq
			rep.Head = Checkpoint{Seq: r.Seq, Hash: r.Hash}
		}
		if len(rows) == 0 {
			break
		}
	}
	if !seen && rep.Detail == "" {
		rep.Detail = fmt.Sprintf("row %d of the checkpoint is gone: the end of the record was cut off", mark.Seq)
	}
	return rep, nil
}

// ErrUnrecorded says that an action was refused because it could not be
// recorded.
var ErrUnrecorded = errors.New("the audit cannot be written, and unrecorded answers are not given (--audit strict)")
