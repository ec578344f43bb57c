package content

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
)

// MaxParts is how many parts of a multipart body are read.
const MaxParts = 1000

// Media takes a Content-Type apart: the type in lower case, and its parameters.
// A header that cannot be read gives what stands before its first semicolon.
func Media(header string) (string, map[string]string) {
	media, params, err := mime.ParseMediaType(header)
	if err != nil {
		media, _, _ = strings.Cut(header, ";")
		return strings.ToLower(strings.TrimSpace(media)), nil
	}
	return media, params
}

// IsJSON reports whether a media type is JSON by its name: application/json,
// text/json, application/problem+json.
func IsJSON(media string) bool {
	return strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json") || strings.Contains(media, "/json-")
}

// IsXML reports whether a media type is XML by its name. XHTML is text for
// people.
func IsXML(media string) bool {
	return strings.HasSuffix(media, "/xml") || strings.HasSuffix(media, "+xml") && media != "application/xhtml+xml"
}

// Text decodes b from a charset ("" is UTF-8). Bytes that are none of it become
// the replacement character, as does everything of a charset nobody knows.
func Text(b []byte, charset string) string {
	b = bytes.TrimPrefix(b, bom)
	if charset != "" && !strings.EqualFold(charset, "utf-8") {
		if enc, err := htmlindex.Get(charset); err == nil {
			if out, err := enc.NewDecoder().Bytes(b); err == nil {
				return string(out)
			}
		}
	}
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// Form decodes application/x-www-form-urlencoded: a text for each name, the
// texts joined by a comma where a name repeats.
func Form(b []byte) (map[string]any, error) {
	values, err := url.ParseQuery(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("not a form: a percent sign or a semicolon is where none can be")
	}
	return Values(values), nil
}

// Values is a map with one text for each name.
func Values(values map[string][]string) map[string]any {
	out := make(map[string]any, len(values))
	for name, v := range values {
		out[name] = strings.Join(v, ",")
	}
	return out
}

// Read decodes the body of a request by its Content-Type: JSON of any kind, a
// form, XML, multipart/form-data, else text. An empty body is nil.
func Read(b []byte, header string) (any, error) {
	if len(b) == 0 {
		return nil, nil
	}
	media, params := Media(header)
	switch {
	case IsJSON(media):
		return JSON(decoded(b, params["charset"]))
	case media == "application/x-www-form-urlencoded":
		return Form(b)
	case media == "multipart/form-data":
		return parts(b, params["boundary"])
	case IsXML(media):
		return XML(b)
	}
	return Text(b, params["charset"]), nil
}

func decoded(b []byte, charset string) []byte {
	if charset == "" || strings.EqualFold(charset, "utf-8") {
		return b
	}
	return []byte(Text(b, charset))
}

// parts decodes multipart/form-data: a text for each field; for each file a map
// of fileName, contentType, and its bytes as content.
func parts(b []byte, boundary string) (any, error) {
	if boundary == "" {
		return nil, fmt.Errorf("multipart without a boundary in its Content-Type")
	}
	r := multipart.NewReader(bytes.NewReader(b), boundary)
	out := map[string]any{}
	for n := 0; ; n++ {
		p, err := r.NextPart()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("not multipart: broken after part %d", n)
		}
		if n >= MaxParts {
			return nil, fmt.Errorf("multipart of more than %d parts", MaxParts)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			return nil, fmt.Errorf("not multipart: part %d breaks off", n+1)
		}
		name := p.FormName()
		if name == "" {
			continue
		}
		if file := p.FileName(); file != "" {
			add(out, name, map[string]any{"fileName": file, "contentType": p.Header.Get("Content-Type"), "content": body})
			continue
		}
		_, params := Media(p.Header.Get("Content-Type"))
		add(out, name, Text(body, params["charset"]))
	}
}
