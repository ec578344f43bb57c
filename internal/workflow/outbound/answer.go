package outbound

import (
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/freshet-dev/freshet/internal/upstream"
	"github.com/freshet-dev/freshet/internal/workflow/content"
)

// body reads the answer's body if it is wanted.
func (o Options) body(a *Answer, method string, resp *http.Response, read bool) error {
	if !read || resp.Body == nil {
		return nil
	}
	var in io.Reader = resp.Body
	// Nobody asked for compression; some servers compress all the same.
	switch strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))) {
	case "gzip", "x-gzip":
		in = &lazy{open: func() (io.Reader, error) { return gzip.NewReader(resp.Body) }}
	case "deflate":
		in = &lazy{open: func() (io.Reader, error) { return zlib.NewReader(resp.Body) }}
	}
	b, err := io.ReadAll(io.LimitReader(in, o.MaxBody+1)) // of decoded bytes, so that a small answer does not become a large one (S39)
	if err != nil {
		cause := (&upstream.UnreachableError{Err: err}).Cause()
		if ctx := resp.Request; ctx != nil && ctx.Context().Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			cause = "timeout"
		} else if cause == "network" {
			cause = "closed"
		}
		return &UnreachableError{Method: method, Host: a.Host, Cause: cause, Err: err}
	}
	if int64(len(b)) > o.MaxBody {
		return &UnreachableError{Method: method, Host: a.Host, Cause: "too-large", Err: fmt.Errorf("the answer is larger than %d bytes", o.MaxBody)}
	}
	a.Body = b
	return nil
}

// lazy opens a decoder at the first read: an empty body has no header to check.
type lazy struct {
	open func() (io.Reader, error)
	r    io.Reader
}

// Read reads decoded bytes.
func (l *lazy) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := l.open()
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	return l.r.Read(p)
}

// The parsers by the platform's names, and what they were called before.
const (
	parserAuto  = ""
	parserType  = ".NET Type"
	parserToken = "JToken"
	parserFile  = "File"
	parserText  = "Plain Text"
)

// Parsers are the values of ResponseContentParserName.
var Parsers = []string{parserAuto, parserType, parserToken, parserFile, parserText, "Expando Object", "JSON"}

// Parse returns the value of an answer's body. An answer that is no success is
// text whatever it says it is: samples print it. A body that is not what its
// type says is an error under a parser that was named, and text without one.
func (a *Answer) Parse(parser string) (any, error) {
	header := a.Header.Get("Content-Type")
	media, params := content.Media(header)
	text := func() any { return content.Text(a.Body, params["charset"]) }
	if a.Status < 200 || a.Status > 299 {
		return text(), nil
	}
	switch parser {
	case parserAuto:
		switch {
		case len(a.Body) == 0:
			return nil, nil
		case content.IsJSON(media) || content.IsXML(media):
			v, err := content.Read(a.Body, header)
			if err != nil {
				return text(), nil
			}
			return v, nil
		case strings.HasPrefix(media, "application/") && !textual[media], strings.HasPrefix(media, "audio/"), strings.HasPrefix(media, "video/"), strings.HasPrefix(media, "image/"):
			return a.Body, nil
		}
		return text(), nil
	case parserType, parserToken, "Expando Object":
		if content.IsXML(media) {
			return content.XML(a.Body)
		}
		return content.JSON([]byte(content.Text(a.Body, params["charset"])))
	case parserFile:
		return a.Body, nil
	case parserText, "JSON":
		return text(), nil
	}
	return nil, &FieldError{"ResponseContentParserName", fmt.Errorf("there is no parser %q: leave it blank, or take one of %s, %s, %s, %s", parser, parserType, parserToken, parserFile, parserText)}
}

// textual are types below application/ whose bytes are for reading.
var textual = map[string]bool{
	"application/javascript": true, "application/x-www-form-urlencoded": true, "application/x-ndjson": true, "application/yaml": true,
	"application/jwt": true, "application/xhtml+xml": true, "application/graphql": true, "application/sql": true,
}
