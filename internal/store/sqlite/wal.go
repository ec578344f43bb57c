package sqlite

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The write-ahead log, https://sqlite.org/fileformat2.html#walformat
const (
	logHead   = 32
	frameHead = 24
	logMagic  = 0x377f0682 // its last bit: the checksums are of big-endian words
)

// checkLog refuses a log that has lost commits. SQLite reads a log up to the
// first frame whose checksum is wrong and forgets the rest without a word: that
// is right for the end that a loss of power tears off the last transaction,
// which nobody was told of, and wrong for a log that was damaged further up. As
// every commit is synced before it is acknowledged, a tear has at most one
// commit behind it, and the head is never torn.
//
// So what it does not notice is damage in the last commit of all, or a log that
// was removed or cut; the epoch of the data directory is for that.
func checkLog(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return denied(err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	head := make([]byte, logHead)
	if _, err := io.ReadFull(r, head); err != nil {
		return notEnd(err) // no frame fits
	}
	size := int(binary.BigEndian.Uint32(head[8:]))
	var order binary.ByteOrder = binary.LittleEndian
	magic := binary.BigEndian.Uint32(head)
	if magic&1 == 1 {
		order = binary.BigEndian
	}
	sum := logSum{}.add(order, head[:24])
	if magic&^1 != logMagic || size < 512 || size > 1<<16 || !sum.is(head[24:]) {
		_, err := r.Peek(frameHead + 512)
		if err != nil {
			return notEnd(err)
		}
		return fmt.Errorf("%w: its log does not read from the beginning", ErrCorrupt)
	}
	// Frames of this life of the log carry its salt; what lies behind them is
	// older and was brought into the database.
	salt := string(head[16:24])
	frame := make([]byte, frameHead+size)
	torn, commits := false, 0
	for n := 1; ; n++ {
		if _, err := io.ReadFull(r, frame); err != nil {
			return notEnd(err)
		}
		ours := string(frame[8:16]) == salt
		if !torn {
			next := sum.add(order, frame[:8]).add(order, frame[frameHead:])
			if ours && next.is(frame[16:]) {
				sum = next
				continue
			}
			torn = true
		}
		if ours && binary.BigEndian.Uint32(frame[4:]) != 0 {
			if commits++; commits > 1 {
				return fmt.Errorf("%w: its log is damaged before frame %d, and commits follow", ErrCorrupt, n)
			}
		}
	}
}

// notEnd returns nil for the end of a file, whole or in the middle of a frame.
func notEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// A logSum is the running checksum of a log.
type logSum [2]uint32

func (s logSum) add(order binary.ByteOrder, b []byte) logSum {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}

func (s logSum) is(b []byte) bool {
	return s[0] == binary.BigEndian.Uint32(b) && s[1] == binary.BigEndian.Uint32(b[4:])
}
