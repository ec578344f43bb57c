package refresh

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/freshet-dev/freshet/internal/store"
)

// A record is an answer on its way into the store.
type record struct {
	Connection string       `json:"connection"`
	Commit     store.Commit `json:"commit"`
}

// spill is the file of last resort: answers that the database would not take,
// sealed, one frame each (length, checksum, sealed record), forced to disk
// before anybody is served. Its space is taken at the start, so that a full
// disk does not refuse it. A torn tail is recognised and left out.
type spill struct {
	mu     sync.Mutex
	f      *os.File
	sealer Sealer
	end    int64             // where the next frame goes
	live   map[string]record // by attempt, not yet in the database
	torn   int64             // bytes that did not read as frames at the start
}

const (
	spillMagic = "freshet spill 1\n"
	spillSpace = 1 << 20
	frameHead  = 8 // length and CRC-32C of the sealed bytes
	maxFrame   = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openSpill opens or makes the owner's spill file in dir and reads what is in
// it.
func openSpill(dir, owner string, sealer Sealer) (*spill, error) {
	path := filepath.Join(dir, "spill-"+owner)
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("spill file %s is not a regular file", path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spill file: %w", err)
	}
	s := &spill{f: f, sealer: sealer, live: map[string]record{}}
	if err := s.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("spill file %s: %w", path, err)
	}
	return s, nil
}

func (s *spill) read() error {
	b, err := io.ReadAll(s.f)
	if err != nil {
		return err
	}
	if len(b) < len(spillMagic) {
		return s.reset()
	}
	if string(b[:len(spillMagic)]) != spillMagic {
		return errors.New("it is not a spill file of this version; move it away")
	}
	s.end = int64(len(spillMagic))
	for {
		rest := b[s.end:]
		if len(rest) < frameHead {
			break
		}
		n := binary.BigEndian.Uint32(rest)
		if n == 0 {
			break
		}
		if n > maxFrame || int64(n) > int64(len(rest)-frameHead) {
			s.torn = int64(len(rest))
			break
		}
		body := rest[frameHead : frameHead+int(n)]
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(rest[4:]) {
			s.torn = int64(len(rest))
			break
		}
		plain, err := s.sealer.OpenRecord("spill", "answer", body)
		if err != nil {
			return fmt.Errorf("a record does not open with this master key: %w", err)
		}
		var r record
		if err := json.Unmarshal(plain, &r); err != nil {
			return fmt.Errorf("a record does not read: %w", err)
		}
		s.live[r.Commit.Attempt] = r
		s.end += frameHead + int64(n)
	}
	if st, err := s.f.Stat(); err == nil && st.Size() < spillSpace {
		return s.reserve(st.Size())
	}
	return nil
}

// reset empties the file and takes its space.
func (s *spill) reset() error {
	if _, err := s.f.WriteAt([]byte(spillMagic), 0); err != nil {
		return err
	}
	s.end = int64(len(spillMagic))
	if err := s.reserve(s.end); err != nil {
		return err
	}
	return nil
}

// reserve writes zeros from an offset up to the file's reserved size.
func (s *spill) reserve(from int64) error {
	if from < spillSpace {
		if _, err := s.f.WriteAt(make([]byte, spillSpace-from), from); err != nil {
			return fmt.Errorf("take its space: %w", err)
		}
	}
	return s.f.Sync()
}

// Append forces a record to disk.
func (s *spill) Append(r record) error {
	plain, err := json.Marshal(r)
	if err != nil {
		return err
	}
	sealed, err := s.sealer.SealRecord("spill", "answer", plain)
	if err != nil {
		return err
	}
	frame := make([]byte, frameHead, frameHead+len(sealed)+frameHead)
	binary.BigEndian.PutUint32(frame, uint32(len(sealed)))
	binary.BigEndian.PutUint32(frame[4:], crc32.Checksum(sealed, castagnoli))
	frame = append(frame, sealed...)
	s.mu.Lock()
	defer s.mu.Unlock()
	// The empty head after the frame ends the list, whatever was there before.
	if _, err := s.f.WriteAt(append(frame, make([]byte, frameHead)...), s.end); err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	if err := s.f.Sync(); err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	s.end += int64(len(frame))
	s.live[r.Commit.Attempt] = r
	return nil
}

// Done tells that the database has a record's answer. When it has them all the
// file is emptied.
func (s *spill) Done(attempt string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.live[attempt]; !ok {
		return nil
	}
	delete(s.live, attempt)
	if len(s.live) > 0 {
		return nil
	}
	s.torn = 0
	used := s.end
	s.end = int64(len(spillMagic))
	if _, err := s.f.WriteAt(make([]byte, used-s.end+frameHead), s.end); err != nil {
		return err
	}
	return s.f.Sync()
}

// Records returns what is not in the database yet.
func (s *spill) Records() []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]record, 0, len(s.live))
	for _, r := range s.live {
		out = append(out, r)
	}
	return out
}

// Pending counts them.
func (s *spill) Pending() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.live))
}

// Close closes the file; what is pending stays in it.
func (s *spill) Close() error { return s.f.Close() }
