package run

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/redact"
)

// shortest is the length from which a value is hidden: shorter ones turn up in
// ordinary words.
const shortest = 6

// A mask hides what is secret in the texts of one run. The zero mask knows no
// values of its own. It is not safe for concurrent use.
type mask struct {
	shared *redact.Values // may be nil

	own    []string       // longest first
	many   *redact.Values // own, when there are too many to look for one by one
	grown  int            // how often a value came to be known
	fresh  []string       // values that what was masked before may still hold
	hidden int            // what was hidden so far
}

// fewSecrets are looked for one by one, which needs no table.
const fewSecrets = 24

// add makes values known. It reports whether one is new.
func (m *mask) add(values ...string) bool {
	before := m.grown
	for _, v := range values {
		if len(v) < shortest {
			continue
		}
		m.addOne(v)
		// As it stands within a URL, and within JSON that is quoted itself.
		if q := url.QueryEscape(v); q != v {
			m.addOne(q)
			m.addOne(url.PathEscape(v))
		}
		if b := appendQuoted(nil, v); len(b) != len(v)+2 {
			m.addOne(string(b[1 : len(b)-1]))
		}
		if b, err := json.Marshal(v); err == nil && len(b) != len(v)+2 {
			m.addOne(string(b[1 : len(b)-1]))
		}
	}
	return m.grown != before
}

func (m *mask) addOne(v string) {
	if slices.Contains(m.own, v) {
		return
	}
	m.grown++
	m.fresh = append(m.fresh, v)
	i, _ := slices.BinarySearchFunc(m.own, v, func(a, b string) int { return len(b) - len(a) })
	m.own = slices.Insert(m.own, i, v)
	switch {
	case m.many != nil:
		m.many.Add(v)
	case len(m.own) > fewSecrets:
		m.many = redact.NewValues(1 << 14)
		m.many.Add(m.own...)
	}
}

// text returns s with what is secret in it replaced.
func (m *mask) text(s string) string {
	if len(s) < shortest {
		return s
	}
	was := s
	if m.many != nil {
		s = m.many.Scrub(s)
	} else {
		for _, v := range m.own {
			if len(v) <= len(s) {
				s = strings.ReplaceAll(s, v, redact.Mark)
			}
		}
	}
	s = redact.Text(m.shared.Scrub(s))
	if s != was {
		m.hidden++
	}
	return s
}

// holdsFresh reports whether what was masked before holds a value that was not
// known then.
func (m *mask) holdsFresh(raw string) bool {
	return slices.ContainsFunc(m.fresh, func(v string) bool { return strings.Contains(raw, v) })
}

// learn remembers a value that stood under a name of secrets, so that it is
// hidden where it stands elsewhere in the run. What could be an ordinary word
// is not remembered.
func (m *mask) learn(v string) {
	if len(v) >= 16 || len(v) >= 8 && strings.ContainsAny(v, "0123456789") {
		m.add(v)
	}
}

// secretEnds are how names of secrets end, written without what separates
// words.
var secretEnds = []string{
	"token", "tokens", "secret", "secrets", "password", "passwords", "passwd", "pwd", "passphrase",
	"apikey", "accesskey", "secretkey", "privatekey", "signingkey", "subscriptionkey",
	"authorization", "cookie", "cookies", "assertion", "jwt", "bearer",
	"credential", "credentials", "creds", "codeverifier", "devicecode", "authcode", "authorizationcode",
}

// secretName reports whether a member of this name holds a secret.
func secretName(name string) bool {
	if name == "" || len(name) > 128 {
		return false
	}
	var buf [128]byte
	plain := buf[:0]
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z':
			plain = append(plain, c+'a'-'A')
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			plain = append(plain, c)
		}
	}
	// Names of secrets end in few letters; most names are none.
	if len(plain) == 0 || !strings.ContainsRune("ntsdeyrz", rune(plain[len(plain)-1])) {
		return redact.Name(name)
	}
	for _, end := range secretEnds {
		if len(plain) >= len(end) && string(plain[len(plain)-len(end):]) == end {
			return true
		}
	}
	return redact.Name(name)
}

// namers are members that name what another member holds: {"Name":
// "Authorization", "Value": "…"}.
var namers = []string{"Name", "name", "Key", "key", "VariableName", "variableName", "Header", "header", "HeaderName", "CustomHeaderName", "Field", "field", "Column", "column"}

func namesSecret(m map[string]any) bool {
	for _, n := range namers {
		if s, ok := m[n].(string); ok && secretName(s) {
			return true
		}
	}
	return false
}

// named reports whether a member is what a namer speaks of.
func named(member string) bool {
	switch member {
	case "Value", "value", "Values", "values", "Content", "content", "Text", "text", "Output", "output":
		return true
	}
	return strings.HasSuffix(member, "Value")
}
