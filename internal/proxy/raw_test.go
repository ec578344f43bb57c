package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/freshet-dev/freshet"
)

// The requests of appendix C and their kin, as bytes, through the whole server.
func TestS30_requests_of_two_readings(t *testing.T) {
	api := newWire(t, okAnswer)
	w := newWorldAt(t, api.url())
	post := func(l ...string) string {
		return lines(append([]string{"POST /proxy/crm/x HTTP/1.1", "Host: h", auth}, l...)...)
	}
	const chunk = "3\r\nabc\r\n0\r\n\r\n"
	for _, tt := range []struct {
		name    string
		request string
		want    int
		arrives bool
	}{
		{"S30 plain", post("Content-Length: 0", ""), 200, true},
		{"S30 Content-Length and Transfer-Encoding", post("Content-Length: 5", "Transfer-Encoding: chunked", "") + chunk, 400, false},
		{"S30 Transfer-Encoding and Content-Length", post("Transfer-Encoding: chunked", "Content-Length: 13", "") + chunk, 400, false},
		{"S30 two Content-Length that differ", post("Content-Length: 3", "Content-Length: 4", "") + "abcd", 400, false},
		{"S30 two Content-Length that agree", post("Content-Length: 3", "Content-Length: 3", "") + "abc", 400, false},
		{"S30 a list of lengths", post("Content-Length: 3, 3", "") + "abc", 400, false},
		{"S30 a signed length", post("Content-Length: +4", "") + "abcd", 400, false},
		{"S30 a length in hex", post("Content-Length: 0x4", "") + "abcd", 400, false},
		{"S30 no length", post("Content-Length: ", ""), 400, false},
		{"S30 a huge length", post("Content-Length: 18446744073709551620", "") + "abcd", 400, false},
		{"S30 two hosts", post("Host: other", "Content-Length: 0", ""), 400, false},
		{"S30 NUL in a value", post("X-A: a\x00b", "Content-Length: 0", ""), 400, false},
		{"S30 space before the colon", post("X-A : 1", "Content-Length: 0", ""), 400, false},
		{"S30 Transfer-Encoding with a space before the colon", post("Transfer-Encoding : chunked", "") + chunk, 400, false},
		{"S30 unknown coding", post("Transfer-Encoding: xchunked", "") + chunk, 501, false},
		{"S30 stacked codings", post("Transfer-Encoding: chunked, identity", "") + chunk, 501, false},
		{"S30 two codings", post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", "") + chunk, 501, false},
		{"S30 a coding with a vertical tab", post("Transfer-Encoding: \x0bchunked", "") + chunk, 400, false},
		{"S30 chunked with HTTP/1.0", strings.Replace(post("Transfer-Encoding: chunked", "")+chunk, "HTTP/1.1", "HTTP/1.0", 1), 400, false},
		{"S30 obs-fold", post("X-A: a", " b", "Content-Length: 0", ""), 400, false},
		{"S30 obs-fold with a tab", post("X-A: a", "\tb", "Content-Length: 0", ""), 400, false},
		{"S30 obs-fold of Transfer-Encoding", post("Transfer-Encoding:", " chunked", "") + chunk, 400, false},
		{"S30 a fold before any header", strings.Replace(post("Content-Length: 0", ""), "\r\nHost", "\r\n X: 1\r\nHost", 1), 400, false},
		{"S30 header lines with bare LF", strings.Replace(post("X-A: 1", "Content-Length: 0", ""), "X-A: 1\r\n", "X-A: 1\n", 1), 400, false},
		{"S30 request line with bare LF", strings.Replace(post("Content-Length: 0", ""), "1.1\r\n", "1.1\n", 1), 400, false},
		{"S30 head that ends in bare LF", strings.TrimSuffix(post("Content-Length: 0", ""), "\r\n") + "\n", 400, false},
		{"S30 CR in a header", post("X-A: a\rb", "Content-Length: 0", ""), 400, false},
		{"S30 bare LF in a chunk size", post("Transfer-Encoding: chunked", "") + "3\nabc\r\n0\r\n\r\n", 400, false},
		{"S30 bare LF in a chunk extension", post("Transfer-Encoding: chunked", "") + "3;a\nb\r\nabc\r\n0\r\n\r\n", 400, false},
		{"S30 bare LF after a chunk", post("Transfer-Encoding: chunked", "") + "3\r\nabc\n0\r\n\r\n", 400, false},
		{"S30 bare LF in the last chunk", post("Transfer-Encoding: chunked", "") + "3\r\nabc\r\n0\n\n", 400, false},
		{"S30 a chunk longer than it says", post("Transfer-Encoding: chunked", "") + "3\r\nabcd\r\n0\r\n\r\n", 400, false},
		{"S30 a chunk size with a sign", post("Transfer-Encoding: chunked", "") + "+3\r\nabc\r\n0\r\n\r\n", 400, false},
		{"S30 a chunk size in 0x", post("Transfer-Encoding: chunked", "") + "0x3\r\nabc\r\n0\r\n\r\n", 400, false},
		{"S30 a chunk size that overflows", post("Transfer-Encoding: chunked", "") + "10000000000000003\r\nabc\r\n0\r\n\r\n", 400, false},
		{"S30 no chunk size", post("Transfer-Encoding: chunked", "") + "\r\nabc\r\n0\r\n\r\n", 400, false},
		{"S30 a folded trailer", post("Transfer-Encoding: chunked", "") + "0\r\nX: 1\r\n 2\r\n\r\n", 400, false},
		{"S30 chunks as they should be", post("Transfer-Encoding: chunked", "") + "3;ext=1\r\nabc\r\n0\r\n\r\n", 200, true},
		{"S30 Chunked in capitals", post("Transfer-Encoding: Chunked", "") + chunk, 200, true},
		{"S30 a line end before the request", "\r\n" + post("Content-Length: 0", ""), 400, false},
		{"S30 GET with a body", strings.Replace(post("Content-Length: 3", "")+"abc", "POST", "GET", 1), 200, true},
		{"S30 another Expect", post("Expect: x", "Content-Length: 0", ""), 417, false},
		{"S37 a head of 70 KiB", post("X-A: "+strings.Repeat("a", 70<<10), "Content-Length: 0", ""), 431, false},

		{"S29 absolute form", "GET http://evil.example/proxy/crm/x HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 400, false},
		{"S29 absolute form of ourselves", "GET http://h/proxy/crm/x HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 400, false},
		{"S29 CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n" + auth + "\r\n\r\n", 405, false},
		{"S29 CONNECT with a path", "CONNECT /proxy/crm/x HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 405, false},
		{"S29 TRACE", "TRACE /proxy/crm/x HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 405, false},
		{"S29 TRACE elsewhere", "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, false},
		{"S29 OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 400, false},
		{"S29 GET *", "GET * HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 400, false},
		{"S29 no path", "GET proxy/crm HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 400, false},
		{"S29 dots for a name", "GET /proxy/../api/v1 HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 404, false},
		{"S29 encoded dots for a name", "GET /proxy/%2e%2e/api HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 404, false},
		{"S29 a slash in a name", "GET /proxy/a%2fb/api HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 404, false},
		{"S29 no name", "GET /proxy/ HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n\r\n", 404, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, answer := w.raw(t, tt.request); status != tt.want {
				t.Errorf("answered %d, want %d\n%s", status, tt.want, answer)
			}
			if tt.arrives {
				<-api.heads
			} else {
				api.none(t)
			}
		})
	}
	if w.next != 0 {
		t.Errorf("%d requests went past the proxy", w.next)
	}
}

// A second request on a connection is looked at like the first.
func TestS30_later_requests_on_a_connection(t *testing.T) {
	api := newWire(t, okAnswer)
	w := newWorldAt(t, api.url())
	first := lines("POST /proxy/crm/1 HTTP/1.1", "Host: h", auth, "Content-Length: 3", "") + "abc"
	chunked := lines("POST /proxy/crm/2 HTTP/1.1", "Host: h", auth, "Transfer-Encoding: chunked", "") + "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
	smuggle := lines("POST /proxy/crm/3 HTTP/1.1", "Host: h", auth, "Content-Length: 40", "Transfer-Encoding: chunked", "") + "0\r\n\r\nGET /proxy/crm/smuggled HTTP/1.1\r\n\r\n"
	c, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for i, request := range []string{first, chunked, smuggle} {
		want := []int{200, 200, 400}[i]
		io.WriteString(c, request)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != want {
			t.Errorf("answer %d is %d, want %d", i, resp.StatusCode, want)
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
	for _, want := range []string{"POST /1 ", "POST /2 "} {
		if head := <-api.heads; !strings.HasPrefix(head, want) {
			t.Errorf("the API saw %q, want %q", head, want)
		}
	}
	api.none(t)

	t.Run("S30 well-formed requests may come at once", func(t *testing.T) {
		c, err := net.Dial("tcp", w.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, first+chunked+first)
		r := bufio.NewReader(c)
		for range 3 {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			if <-api.heads; resp.StatusCode != 200 {
				t.Errorf("answered %d", resp.StatusCode)
			}
		}
	})
}

// What the filter refuses, whether or not net/http would too.
func TestS30_the_filter_by_itself(t *testing.T) {
	head := func(l ...string) string { return lines(append(append([]string{"POST / HTTP/1.1"}, l...), "")...) }
	chunked := head("Transfer-Encoding: chunked")
	for _, tt := range []struct {
		in string
		ok bool
	}{
		{head("X: a\rb"), false}, {head("X: a\r\r"), false}, {head("X: a\r"), false}, {head("Cookie: a\rb"), false}, {"GET / HTTP/1.1\r\r\n\r\n", false},
		{"GET /\r HTTP/1.1\r\n\r\n", false}, {head("X: 1\nY: 2"), false}, {head(" X: 1"), false}, {head("X: 1", "\tfold"), false},
		{head("Content-Length: 1", "content-length: 1") + "a", false}, {head("CONTENT-LENGTH: 1", "TRANSFER-ENCODING: chunked"), false},
		{head("Content-Length: 1 1") + "a", false}, {head("Content-Length: -1"), false}, {head("Content-Length: 9999999999999999999"), false},
		{chunked + "1\r\naX\r\n0\r\n\r\n", false}, {chunked + "1\r\na\r\r\n0\r\n\r\n", false}, {chunked + "1\r\na\n0\r\n\r\n", false},
		{chunked + "+1\r\na\r\n0\r\n\r\n", false}, {chunked + "0x1\r\na\r\n0\r\n\r\n", false}, {chunked + " 1\r\na\r\n0\r\n\r\n", false},
		{chunked + "1 \r\na\r\n0\r\n\r\n", false}, {chunked + "\r\n", false}, {chunked + ";x\r\n", false}, {chunked + "1\r2\r\n", false},
		{chunked + strings.Repeat("0", 300) + "\r\n\r\n", false}, {chunked + "0\r\nX: 1\r\n y\r\n\r\n", false}, {chunked + "0\r\nX: 1\n\r\n", false},

		{head(), true}, {head("Content-Length: 1") + "\n", true}, {head("Content-Length:\t1\t") + "a", true}, {chunked + "1\r\n\n\r\n0\r\n\r\n", true},
		{chunked + "1 ;a=\"b\"\r\na\r\n0;c\r\nX: 1\r\n\r\n", true}, {chunked + "A\r\n0123456789\r\n000\r\n\r\n", true}, {head("Contents: 1", "Transfer: 2", "Content-Lengths: 3, 4"), true},
		{head("Transfer-Encoding: gzip") + "anything\n\r\n goes: net/http answers 501", true},
	} {
		for name, in := range map[string]string{"first": tt.in, "second": head("Content-Length: 2") + "\n\n" + tt.in} {
			var f framing
			if ok := f.follow([]byte(in)) < 0; ok != tt.ok {
				t.Errorf("%s: %q: accepted %v, want %v", name, tt.in, ok, tt.ok)
			}
		}
	}
}

// However the bytes are cut into reads, the filter decides alike, and lets
// through what it accepts unchanged.
func TestS30_framing_across_reads(t *testing.T) {
	good := lines("POST /a HTTP/1.1", "Host: h", "X-Long: "+strings.Repeat("x", 1000), "Content-Length: 5", "") + "he\nlo" +
		"\r\n" + lines("GET /"+strings.Repeat("y", 600)+" HTTP/1.1", "Host: h", "") +
		lines("POST /c HTTP/1.1", "Transfer-Encoding: chunked", "") + "a;x=1\r\n0123456789\r\n00\r\nT: 1\r\n\r\n" +
		lines("GET /d HTTP/1.0", "Content-Length: 000", "")
	bad := good + lines("POST /e HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked", "") + "0\r\n\r\n"
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"byte by byte": iotest.OneByteReader, "halves": iotest.HalfReader, "whole": func(r io.Reader) io.Reader { return r },
	} {
		got, err := io.ReadAll(&strictConn{Conn: readConn{Reader: wrap(strings.NewReader(good))}})
		if err != nil || string(got) != good {
			t.Errorf("%s: %d of %d bytes, %v", name, len(got), len(good), err)
		}
		got, err = io.ReadAll(&strictConn{Conn: readConn{Reader: wrap(strings.NewReader(bad))}})
		if err != errAmbiguous || !strings.HasPrefix(string(got), good) || strings.HasSuffix(string(got), "\r\n\r\n0\r\n\r\n") || strings.Contains(string(got)[len(good):], "\r\n\r\n") {
			t.Errorf("%s: delivered %q after the good ones, %v", name, strings.TrimPrefix(string(got), good), err)
		}
	}
	long := strings.Repeat("z", 600)
	if _, err := io.ReadAll(&strictConn{Conn: readConn{Reader: strings.NewReader("POST /" + long + " HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")}}); err != errAmbiguous {
		t.Errorf("HTTP/1.0 at the end of a long line: %v", err)
	}
}

type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// FuzzStrict holds the filter against net/http: what the filter takes for one
// request, net/http must read as that same request. And it must not matter how
// the bytes are cut into reads.
func FuzzStrict(f *testing.F) {
	f.Add("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: h\r\n\r\n")
	f.Add("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
	f.Add("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		var fr framing
		ends := []int{} // where the filter says that a request ended
		refused := false
		for i := range len(in) {
			was := fr.want
			if refused = fr.follow([]byte{in[i]}) >= 0; refused {
				break
			}
			if fr.want == expectRequest && (was != expectRequest) {
				ends = append(ends, i+1)
			}
			if fr.want == expectNothing {
				break
			}
		}
		for _, cut := range []int{len(in), 7, 64} {
			var whole framing
			bad := false
			for rest := []byte(in); len(rest) > 0 && !bad; {
				n := min(cut, len(rest))
				bad = whole.follow(rest[:n]) >= 0
				rest = rest[n:]
			}
			if bad != refused {
				t.Fatalf("refused %v byte by byte, %v in reads of %d\n%q", refused, bad, cut, in)
			}
		}
		src := &counting{r: strings.NewReader(in)}
		br := bufio.NewReader(src)
		for _, want := range ends {
			req, err := http.ReadRequest(br)
			if err != nil {
				return // net/http refuses more than the filter does
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if got := src.n - br.Buffered(); got != want {
				t.Fatalf("net/http ends the request at %d, the filter at %d\n%q", got, want, in)
			}
			// As the server does after a POST.
			for {
				b, err := br.Peek(1)
				if err != nil || b[0] != '\r' && b[0] != '\n' {
					break
				}
				br.Discard(1)
			}
		}
	})
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// S25 to S28 end to end: what the API sees of a request as bytes.
func TestProxy_bytes_at_the_API(t *testing.T) {
	api := newWire(t, okAnswer)
	w := newWorldAt(t, api.url()+"/v1")
	host := strings.TrimPrefix(api.url(), "http://")
	for _, tt := range []struct{ name, request, want string }{
		{"cap007 path and query", lines("GET /proxy/crm/a%2Fb//c;d?x=1;y=2&%zz HTTP/1.1", "Host: h", auth, ""),
			lines("GET /v1/a%2Fb//c;d?x=1;y=2&%zz HTTP/1.1", "Host: "+host, "Authorization: Bearer canary-token-1", "")},
		{"cap007 nothing after the name", lines("GET /proxy/crm HTTP/1.1", "Host: h", auth, ""),
			lines("GET /v1 HTTP/1.1", "Host: "+host, "Authorization: Bearer canary-token-1", "")},
		{"cap007 a query after the name", lines("GET /proxy/crm?a=1;b=2&access_token=x HTTP/1.1", "Host: h", auth, ""),
			lines("GET /v1?a=1;b=2&access_token=x HTTP/1.1", "Host: "+host, "Authorization: Bearer canary-token-1", "")},
		{"S25 Connection: Authorization", lines("GET /proxy/crm/x HTTP/1.1", "Host: h", auth, "Connection: Authorization, X-Drop", "X-Drop: 1", "X-Keep: 1", ""),
			lines("GET /v1/x HTTP/1.1", "Host: "+host, "Authorization: Bearer canary-token-1", "X-Keep: 1", "")},
		{"S26 casing and Proxy-Authorization", lines("GET /proxy/crm/x HTTP/1.1", "Host: h", "aUTHORIZATION: Bearer fk_test", "PROXY-authorization: Basic x", "Cookie: a=1", ""),
			lines("GET /v1/x HTTP/1.1", "Host: "+host, "Authorization: Bearer canary-token-1", "")},
		{"S31 h2c", lines("GET /proxy/crm/x HTTP/1.1", "Host: h", auth, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", ""),
			lines("GET /v1/x HTTP/1.1", "Host: "+host, "Authorization: Bearer canary-token-1", "")},
		{"S35 forged forwarding", lines("GET /proxy/crm/x HTTP/1.1", "Host: h", auth, "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4", "True-Client-IP: 1.2.3.4", ""),
			lines("GET /v1/x HTTP/1.1", "Host: "+host, "Authorization: Bearer canary-token-1", "")},
		{"S39 encodings are the caller's", lines("GET /proxy/crm/x HTTP/1.1", "Host: h", auth, "Accept-Encoding: zstd", "User-Agent: me", ""),
			lines("GET /v1/x HTTP/1.1", "Host: "+host, "User-Agent: me", "Accept-Encoding: zstd", "Authorization: Bearer canary-token-1", "")},
		{"TE: trailers goes on", lines("GET /proxy/crm/x HTTP/1.1", "Host: h", auth, "TE: trailers, deflate", ""),
			lines("GET /v1/x HTTP/1.1", "Host: "+host, "Authorization: Bearer canary-token-1", "Te: trailers", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, answer := w.raw(t, tt.request); status != 200 || answer != "ok" {
				t.Fatalf("answered %d %q", status, answer)
			}
			if got := <-api.heads; got != tt.want {
				t.Errorf("the API saw\n%q, want\n%q", got, tt.want)
			}
		})
	}
}

func TestS28_through_the_proxy(t *testing.T) {
	api := newWire(t, okAnswer)
	w := newWorldAt(t, api.url(), func(s *setup) { s.api.Paths = []string{"/public"} })
	for _, tt := range []struct {
		path string
		want int
	}{
		{"/public/x", 200}, {"/admin", 403}, {"//evil/x", 400}, {"/public/../admin", 400}, {"/public/%2e%2e/admin", 400}, {"/public%2f..%2fadmin", 400},
		{`/public\..\admin`, 400}, {"/public;x/admin", 400}, {"/public/%252e%252e/admin", 400}, {"/public//x", 400},
	} {
		status, answer := w.raw(t, fmt.Sprintf("GET /proxy/crm%s HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", tt.path, auth))
		if status != tt.want {
			t.Errorf("%s: %d, want %d\n%s", tt.path, status, tt.want, answer)
		}
		if tt.want == 200 {
			<-api.heads
		}
		api.none(t)
	}
	methods := newWorldAt(t, api.url(), func(s *setup) { s.api = freshet.API{BaseURL: api.url(), Methods: []string{"GET", "HEAD"}} })
	resp, body := methods.send(t, "DELETE", "/proxy/crm/x", nil)
	if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("DELETE: %d, Allow %q\n%s", resp.StatusCode, resp.Header.Get("Allow"), body)
	}
	api.none(t)
}
