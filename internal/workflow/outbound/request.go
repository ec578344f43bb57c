package outbound

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow/content"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Fields are a request as an activity says it, evaluated.
type Fields struct {
	URL           string
	Method        string // "": GET
	Content       any    // text, bytes, or something to encode
	ContentType   string
	Authorization string
	Headers       map[string]any
	Connection    string // "": none

	Run    string // whose request it is, for the record
	Read   bool   // the answer's body is wanted
	Parser string // "": by media type
}

// A request is one message, ready to be sent.
type request struct {
	method string
	header http.Header
	body   []byte // nil: none
	typed  string // Content-Type of body

	url    *url.URL // without a connection
	target string   // with one

	dropped []string // headers of the workflow that are not a request's to set
}

// A FieldError says which field of an activity cannot be used, and why. It
// repeats no value.
type FieldError struct {
	Field string
	Err   error
}

// Error names the field.
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *FieldError) Unwrap() error { return e.Err }

func build(f Fields) (*request, error) {
	r := &request{header: http.Header{}}
	var err error
	if f.Connection != "" {
		r.target = readTarget(f.URL)
	} else if r.url, err = readURL(f.URL); err != nil {
		return nil, &FieldError{"Url", err}
	}
	if r.method, err = method(f.Method); err != nil {
		return nil, &FieldError{"Method", err}
	}
	if err := r.headers(f.Headers); err != nil {
		return nil, &FieldError{"RequestHeaders", err}
	}
	if err := r.authorize(f.Authorization); err != nil {
		return nil, &FieldError{"Authorization", err}
	}
	if withBody[r.method] {
		if err := r.setBody(f.Content, f.ContentType); err != nil {
			return nil, &FieldError{"Content", err}
		}
	}
	if r.body == nil {
		// Headers about a body that is not there.
		r.header.Del("Content-Type")
		r.header.Del("Content-Encoding")
	}
	if _, ok := r.header["User-Agent"]; !ok {
		r.header.Set("User-Agent", "freshet")
	}
	return r, nil
}

// withBody are the methods that the platform sends a body with.
var withBody = map[string]bool{http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true}

func method(s string) (string, error) {
	s = strings.ToUpper(strings.TrimSpace(s))
	switch {
	case s == "":
		return http.MethodGet, nil
	case !content.Token(s):
		return "", errors.New("it is not the name of an HTTP method")
	case s == http.MethodConnect || s == http.MethodTrace:
		return "", fmt.Errorf("%s is never sent", s)
	}
	return s, nil
}

// ours are headers that the transport writes, or that are about the connection
// to the next machine and not about the message.
var ours = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Proxy-Connection": true, "Keep-Alive": true,
	"Te": true, "Trailer": true, "Upgrade": true, "Expect": true, "Http2-Settings": true, "Proxy-Authorization": true, "Proxy-Authenticate": true,
}

func (r *request) headers(in map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		v := in[name]
		trimmed := strings.TrimSpace(name)
		if !content.Token(trimmed) {
			return fmt.Errorf("%q cannot be the name of a header", name)
		}
		key := textproto.CanonicalMIMEHeaderKey(trimmed)
		if ours[key] {
			r.dropped = append(r.dropped, key)
			continue
		}
		text, err := content.HeaderText(v)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		// The platform splits at commas, which is one header to whoever reads it.
		r.header.Set(key, text)
	}
	return nil
}

// authorize sets the one Authorization header. The text is a scheme and what
// belongs to it.
func (r *request) authorize(text string) error {
	text, err := content.HeaderText(text)
	if err != nil || text == "" {
		return err
	}
	scheme, rest, _ := strings.Cut(text, " ")
	if rest = strings.TrimSpace(rest); rest != "" {
		text = scheme + " " + rest
	}
	r.header.Set("Authorization", text)
	return nil
}

// setBody sets the body. The platform sends text and bytes and drops everything
// else in silence; here an object goes as JSON, or as a form where the type says
// so.
func (r *request) setBody(v any, contentType string) error {
	own, err := content.HeaderText(contentType)
	if err != nil {
		return fmt.Errorf("ContentType: %w", err)
	}
	if own == "" {
		own = r.header.Get("Content-Type")
	}
	fallback := "text/plain"
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		if strings.TrimSpace(v) == "" {
			return nil
		}
		r.body = []byte(v)
	case []byte:
		if r.body = v; v == nil {
			return nil
		}
		if own != "" {
			r.header.Set("Content-Type", own)
		} else {
			r.header.Del("Content-Type")
		}
		return nil
	default:
		if media, _ := content.Media(own); media == "application/x-www-form-urlencoded" {
			if m, ok := model.Plain(v).(map[string]any); ok {
				if r.body, err = form(m); err != nil {
					return err
				}
				break
			}
		}
		if r.body, err = content.Encode(v); err != nil {
			return err
		}
		fallback = "application/json"
	}
	if own == "" {
		own = fallback
	}
	if !strings.Contains(strings.ToLower(own), "charset=") && !strings.HasPrefix(strings.ToLower(own), "multipart/") {
		own += "; charset=utf-8"
	}
	r.header.Set("Content-Type", own)
	return nil
}

func form(m map[string]any) ([]byte, error) {
	values := url.Values{}
	for name, v := range m {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, e := range list {
			s, err := content.Scalar(e)
			if err != nil {
				return nil, fmt.Errorf("the form's %s: %w", name, err)
			}
			values.Add(name, s)
		}
	}
	return []byte(values.Encode()), nil
}
