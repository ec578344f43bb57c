package emulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A member is one name and value of an answer's JSON object. Answers keep
// their members in order, because an odd order is one of the things to rehearse.
type member struct {
	name  string
	value json.RawMessage
}

// An answer is what an endpoint has to say, before it is written. Faults shape
// it until then. An answer that is kept for a replay is never changed: faults
// work on a copy.
type answer struct {
	status  int
	header  http.Header
	members []member
	wrap    string // the members sit below these names
	odd     bool
	raw     []byte // instead of members
	ctype   string
	outcome outcome
	code    string // of an OAuth error
	reason  string // why the API refused
	// stream writes the body by itself, after the status; nil for all others.
	stream func(x *exchange)
	// takeover answers on the connection itself: a WebSocket.
	takeover func(x *exchange)
}

// set gives a member a value, at its place or at the end.
func (a *answer) set(name string, value any) {
	raw, ok := value.(json.RawMessage)
	if !ok {
		raw = toJSON(value)
	}
	for i := range a.members {
		if a.members[i].name == name {
			a.members[i].value = raw
			return
		}
	}
	a.members = append(a.members, member{name, raw})
}

func (a *answer) omit(name string) {
	a.members = slices.DeleteFunc(a.members, func(m member) bool { return m.name == name })
}

func (a *answer) setHeader(name, value string) {
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Set(name, value)
}

// clone returns a copy whose members and headers may be changed.
func (a *answer) clone() *answer {
	c := *a
	c.members = slices.Clone(a.members)
	c.header = a.header.Clone()
	return &c
}

// body renders the members.
func (a *answer) body() []byte {
	if a.raw != nil {
		return a.raw
	}
	b := make([]byte, 0, 512)
	members := a.members
	if a.odd {
		b = append(b, " \r\n\t"...)
		members = slices.Clone(members)
		slices.Reverse(members)
	}
	depth := 0
	if a.wrap != "" {
		for name := range strings.SplitSeq(a.wrap, ".") {
			b = append(b, '{')
			b = append(b, toJSON(name)...)
			b = append(b, ':')
			depth++
		}
	}
	b = append(b, '{')
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		if a.odd {
			b = append(b, "\n\t "...)
		}
		b = append(b, toJSON(m.name)...)
		if a.odd {
			b = append(b, ' ')
		}
		b = append(b, ':')
		b = append(b, m.value...)
	}
	b = append(b, '}')
	for range depth {
		b = append(b, '}')
	}
	if a.odd {
		b = append(b, "\r\n\r\n"...)
	}
	return b
}

// form renders the members as a form, as some providers answer.
func (a *answer) form() []byte {
	v := url.Values{}
	for _, m := range a.members {
		var s string
		if json.Unmarshal(m.value, &s) != nil {
			s = string(m.value)
		}
		v.Set(m.name, s)
	}
	return []byte(v.Encode())
}

// toJSON marshals without escaping for HTML: tokens must come out as they are.
func toJSON(v any) json.RawMessage {
	switch v := v.(type) {
	case string:
		if plain(v) {
			b := make([]byte, 0, len(v)+2)
			b = append(b, '"')
			b = append(b, v...)
			return append(b, '"')
		}
	case int64:
		return strconv.AppendInt(nil, v, 10)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return json.RawMessage("null")
	}
	return json.RawMessage(strings.TrimSuffix(b.String(), "\n"))
}

// plain reports whether s is the same inside JSON quotes.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// granted renders the success of a token request: at and, if it is told, rt.
func (e *Emulator) granted(p *Profile, at *accessToken, rt *refreshToken, idToken string, now time.Time) *answer {
	a := &answer{status: http.StatusOK, wrap: p.Wrap, odd: p.Odd, members: make([]member, 0, 8)}
	name := func(rfc string) string {
		if n, ok := p.Names[rfc]; ok {
			return n
		}
		return rfc
	}
	put := func(rfc string, v any) {
		if n := name(rfc); n != "" {
			a.members = append(a.members, member{n, toJSON(v)})
		}
	}
	put("access_token", at.value)
	kind := p.Type
	if at.grant.jkt != "" {
		kind = "DPoP"
	}
	if p.Odd {
		kind = oddCase(kind)
	}
	put("token_type", kind)

	left := at.expiry.Sub(now)
	if p.Claimed > 0 {
		left = p.Claimed.D()
	}
	at64 := now.Add(left)
	switch p.Expires {
	case "number":
		put("expires_in", int64(left/time.Second))
	case "string":
		put("expires_in", strconv.FormatInt(int64(left/time.Second), 10))
	case "float":
		put("expires_in", json.RawMessage(strconv.FormatFloat(left.Seconds(), 'f', 1, 64)))
	case "minutes":
		put("expires_in", json.RawMessage(strconv.FormatFloat(left.Minutes(), 'f', -1, 64)))
	case "ms":
		put("expires_in", left.Milliseconds())
	case "at":
		put("expires_at", at64.Unix())
	case "at_ms":
		put("expires_at", at64.UnixMilli())
	case "rfc3339":
		put("expires_at", at64.UTC().Format(time.RFC3339))
	}
	if p.CreatedAt {
		put("created_at", now.Unix())
	}
	if rt != nil {
		put("refresh_token", rt.value)
	}
	if at.scope != "" {
		put("scope", at.scope)
	}
	if idToken != "" {
		put("id_token", idToken)
	}
	if p.Odd {
		a.members = append(a.members,
			member{"ext_expires_in", json.RawMessage("null")},
			member{"x_tenant", json.RawMessage(`{"id":"t-1","roles":["a","b"],"access_token":"not-this-one"}`)},
			member{"note", toJSON("grüße \U0001F600 \"quoted\" <b>")})
	}
	return a
}

// oddCase turns Bearer into bEARER: the type is compared without case, RFC
// 6749 §5.1.
func oddCase(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + strings.ToUpper(s[1:])
}

// refuse makes an OAuth error, RFC 6749 §5.2.
func refuse(status int, code, text string) *answer {
	a := &answer{status: status, code: code, outcome: outcomeOf(code)}
	a.set("error", code)
	if text != "" {
		a.set("error_description", text)
	}
	return a
}

// reply answers 200 with v as JSON.
func reply(v any) *answer { return &answer{status: http.StatusOK, raw: toJSON(v)} }

// page answers with an HTML page.
func page(status int, body string) *answer {
	return &answer{status: status, ctype: "text/html; charset=utf-8", raw: []byte(body)}
}
