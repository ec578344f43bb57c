package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
)

// Strict returns a listener whose connections carry HTTP/1 requests of one
// reading only (S30). net/http is lenient where servers behind us may be lenient
// in another way; what it accepts and hides from handlers ends the connection
// with 400 here:
//
//   - Content-Length beside Transfer-Encoding, or twice; a value that is not
//     plain digits; Transfer-Encoding with HTTP/1.0
//   - a header continued on the next line (obs-fold)
//   - lines that end in LF alone, or hold CR, in head, chunk sizes and trailers
//   - chunk sizes that are not plain hexadecimal digits
//
// What net/http refuses by itself is left to it. A request that arrives in one
// piece is refused before any handler sees it; a chunk that comes later and is
// malformed breaks the body off.
//
// TLS connections are passed as they are, because net/http has to see them for
// what they are: put this listener behind whatever ends TLS, or serve HTTP/2,
// which has none of these ambiguities.
func Strict(l net.Listener) net.Listener { return strictListener{l} }

type strictListener struct{ net.Listener }

// Accept waits for the next connection.
func (l strictListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, secure := c.(*tls.Conn); secure {
		return c, nil
	}
	return &strictConn{Conn: c}, nil
}

// errAmbiguous is no net.Error, so that net/http answers it with 400.
var errAmbiguous = errors.New("the request is not framed in one way only")

// A strictConn follows the requests that are read from it. One goroutine reads
// at a time, as net.Conn asks of its users anyway.
type strictConn struct {
	net.Conn
	f       framing
	err     error
	through atomic.Bool // another protocol now
}

// passthrough ends the checks: the connection speaks another protocol.
func (c *strictConn) passthrough() { c.through.Store(true) }

// Read reads what is well framed.
func (c *strictConn) Read(p []byte) (int, error) {
	if c.through.Load() {
		return c.Conn.Read(p)
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.Conn.Read(p)
	if bad := c.f.follow(p[:n]); bad >= 0 {
		c.err = errAmbiguous
		if bad == 0 {
			return 0, c.err
		}
		// net/http answers 400 to what it could read the beginning of, but
		// closes in silence when not even four bytes came.
		return bad, nil
	}
	return n, err
}

// CloseWrite lets net/http say its last word before it closes.
func (c *strictConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// What a framing expects next.
type expect int

const (
	expectRequest expect = iota // a request line
	expectField                 // a header field, or the end of the head
	expectBytes                 // left bytes of body or chunk
	expectSize                  // a chunk's size
	expectCRLF                  // the end of a chunk
	expectTrailer               // a trailer field, or the end of the message
	expectNothing               // net/http will refuse this request and close
)

// lineKept is how much of a line is looked at: enough for any name and value
// that matter here.
const lineKept = 256

// A framing finds where requests begin and end, byte by byte. It accepts a
// subset of what net/http does, and reads it as net/http does.
type framing struct {
	want expect
	line []byte
	long bool // the line is longer than what is kept of it
	cr   bool // the last byte was CR
	left uint64

	blank   int  // CR and LF before a request line
	old     bool // before HTTP/1.1: net/http knows no Transfer-Encoding there
	length  string
	coding  string
	lengths int
	codings int
}

// follow reads p and returns how much of it may be delivered before the
// connection breaks off; -1: all of it, and nothing is wrong.
func (f *framing) follow(p []byte) int {
	head := -1 // where the head of the request at hand ended in p
	for i := 0; i < len(p); {
		if f.want == expectBytes {
			n := min(uint64(len(p)-i), f.left)
			i += int(n)
			if f.left -= n; f.left == 0 && f.bodyEnd() {
				head = -1
			}
			continue
		}
		if f.want == expectNothing {
			return -1
		}
		if n := f.plainLine(p[i:]); n > 0 {
			i += n
			continue
		}
		was := f.want
		if !f.byte(p[i]) {
			if head > 0 {
				// The request was whole but for its body: take the head's last
				// byte back, so that nobody acts on it.
				return head - 1
			}
			return i
		}
		i++
		if was == expectField && f.want != expectField {
			head = i
		}
		if f.want == expectRequest && was != expectRequest {
			head = -1
		}
	}
	return -1
}

// plainLine takes a request line or a header field that is there as a whole and
// of no interest, which most are, and returns its length; 0 leaves the judgment
// to byte.
func (f *framing) plainLine(p []byte) int {
	if f.want > expectField || len(f.line) > 0 || f.cr || p[0] <= ' ' {
		return 0
	}
	end := bytes.IndexByte(p, '\n')
	if end < 1 || bytes.IndexByte(p[:end], '\r') != end-1 {
		return 0
	}
	line := p[:end-1]
	if f.want == expectRequest {
		f.requestLine(line)
		return end + 1
	}
	switch line[0] | 0x20 {
	case 'c':
		if len(line) >= 14 && strings.EqualFold(string(line[:14]), "content-length") {
			return 0
		}
	case 't':
		if len(line) >= 17 && strings.EqualFold(string(line[:17]), "transfer-encoding") {
			return 0
		}
	}
	return end + 1
}

func (f *framing) requestLine(line []byte) {
	f.want, f.old = expectField, !bytes.HasSuffix(line, []byte(" HTTP/1.1"))
}

// bodyEnd moves on after counted bytes and reports whether the request is over.
func (f *framing) bodyEnd() bool {
	if f.codings > 0 {
		f.want = expectCRLF
		return false
	}
	f.next()
	return true
}

// next begins a new request.
func (f *framing) next() { *f = framing{line: f.line[:0]} }

// byte takes one byte of a line and reports whether it may stand there.
func (f *framing) byte(c byte) bool {
	if f.want == expectRequest && len(f.line) == 0 && (c == '\r' || c == '\n') && f.blank < 4 {
		f.blank++ // old clients put a line end after a POST's body
		return true
	}
	switch {
	case c == '\n':
		if !f.cr {
			return false
		}
		f.cr = false
		ok := f.ended(string(f.line))
		f.line, f.long = f.line[:0], false
		return ok
	case f.cr:
		return false
	case c == '\r':
		f.cr = true
		return true
	case len(f.line) == 0 && (c == ' ' || c == '\t') && (f.want == expectField || f.want == expectTrailer):
		return false // obs-fold, or a field before any name
	case len(f.line) < lineKept:
		f.line = append(f.line, c)
	default:
		f.long = true
		if f.want == expectRequest {
			// The version is at the end.
			copy(f.line[lineKept/2:], f.line[lineKept/2+1:])
			f.line[lineKept-1] = c
		}
	}
	return true
}

// ended takes a whole line.
func (f *framing) ended(line string) bool {
	switch f.want {
	case expectRequest:
		f.requestLine([]byte(line))
	case expectField:
		if line == "" {
			return f.headEnd()
		}
		return f.field(line)
	case expectSize:
		size, _, extended := strings.Cut(line, ";")
		if extended {
			size = strings.TrimRight(size, " \t")
		}
		if f.long || size == "" || len(size) > 16 || strings.Trim(size, "0123456789abcdefABCDEF") != "" {
			return false
		}
		f.left, _ = strconv.ParseUint(size, 16, 64)
		f.want = expectBytes
		if f.left == 0 {
			f.want = expectTrailer
		}
	case expectCRLF:
		f.want = expectSize
		return line == ""
	case expectTrailer:
		if line == "" {
			f.next()
		}
	}
	return true
}

func (f *framing) field(line string) bool {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return true // net/http refuses it, unless the name alone fills what is kept
	}
	value = strings.Trim(value, " \t")
	switch strings.ToLower(name) {
	case "content-length":
		f.lengths++
		f.length = value
		return !f.long && f.lengths == 1 && value != "" && len(value) < 19 && strings.Trim(value, "0123456789") == ""
	case "transfer-encoding":
		f.codings++
		f.coding = value
	}
	return true
}

// headEnd decides what the body is, as net/http will.
func (f *framing) headEnd() bool {
	switch {
	case f.codings > 0 && (f.lengths > 0 || f.old):
		return false
	case f.codings > 1 || f.codings == 1 && !strings.EqualFold(f.coding, "chunked"):
		f.want = expectNothing // 501
	case f.codings == 1:
		f.want = expectSize
	case f.lengths == 1 && strings.Trim(f.length, "0") != "":
		f.left, _ = strconv.ParseUint(f.length, 10, 64)
		f.want = expectBytes
	default:
		f.next()
	}
	return true
}
