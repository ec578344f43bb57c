package content

import (
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// Secrets returns the texts in v whose members are named like what must not be
// shown: tokens, passwords, keys. A text of JSON is looked into as well: answers
// and rows carry documents in strings. Values of fewer than six bytes are left
// out; they would turn up in ordinary words.
func Secrets(v any) []string {
	var out []string
	collect(v, false, 0, &out)
	return out
}

func collect(v any, named bool, depth int, out *[]string) {
	if depth > model.MaxDepth {
		return
	}
	switch v := v.(type) {
	case string:
		if named && len(v) >= 6 {
			*out = append(*out, v)
			return
		}
		if s := strings.TrimSpace(v); len(s) > 8 && (s[0] == '{' || s[0] == '[') {
			if inner, err := model.ParseJSON([]byte(s)); err == nil {
				collect(inner, false, depth+1, out)
			}
		}
	case model.JSON, *model.Object:
		collect(model.Plain(v), named, depth+1, out)
	case []byte:
		if named && len(v) >= 6 {
			*out = append(*out, string(v))
		}
	case []any:
		for _, e := range v {
			collect(e, named, depth+1, out)
		}
	case map[string]any:
		for name, e := range v {
			collect(e, SecretName(name), depth+1, out)
		}
	}
}

// notSecret are names that contain a word of secretWords and mean its kind, its
// age or its place.
var notSecret = map[string]bool{
	"tokentype": true, "tokenexpiry": true, "tokenexpires": true, "tokenexpiresin": true, "tokenexpiresat": true, "tokenurl": true, "tokenendpoint": true,
	"accesstokenexpiry": true, "accesstokenexpires": true, "accesstokenexpiresat": true, "accesstokenexpiresin": true, "maxtokens": true, "tokencount": true,
	"refreshtokenexpiresin": true, "refreshtokenexpiry": true, "prompttokens": true, "completiontokens": true, "totaltokens": true, "passwordhint": true,
	"nextpagetoken": true, "continuationtoken": true, "pagetoken": true, "issuedtokentype": true, "subjecttokentype": true,
}

var secretWords = []string{"token", "password", "passwd", "secret", "apikey", "authorization", "credential", "privatekey", "assertion", "jwt", "bearer", "cookie"}

// SecretName reports whether a member of that name holds a secret, going by its
// name: authToken, access_token, Client-Secret.
func SecretName(name string) bool {
	flat := strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == '.' || r == ' ':
			return -1
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, name)
	if notSecret[flat] {
		return false
	}
	for _, w := range secretWords {
		if strings.Contains(flat, w) {
			return true
		}
	}
	return false
}
