package process

import (
	"reflect"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string][]piece{
		"":                             nil,
		"plain":                        {{text: "plain"}},
		"[GrantType]":                  {{ref: "GrantType"}},
		"Bearer [Access Token]!":       {{text: "Bearer "}, {ref: "Access Token"}, {text: "!"}},
		"[body.items[0].id]":           {{ref: "body.items[0].id"}},
		"[headers.X-Rate-Limit]":       {{ref: "headers.X-Rate-Limit"}},
		"[TokenKeeper-1.AccessToken]":  {{ref: "TokenKeeper-1.AccessToken"}},
		"{{process.TokenKeeper-1.A}}x": {{ref: "TokenKeeper-1.A"}, {text: "x"}},
		"[[GrantType]]":                {{text: "[GrantType]"}},
		`["a", 1]`:                     {{text: `["a", 1]`}},
		"[1] [] [ a]":                  {{text: "[1] [] [ a]"}},
		"[a][b]":                       {{ref: "a"}, {ref: "b"}},
	} {
		if got := parse(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestTranslate(t *testing.T) {
	for text, want := range map[string]string{
		"[ExpiresIn] - 300":            "$0 - 300",
		"[A] + [B] + [A]":              "$0 + $1 + $0",
		`"[A]" + [A]`:                  `"[A]" + $0`,
		"'it\\'s [A]' + `[A]` // [A]":  "'it\\'s [A]' + `[A]` // [A]",
		"/* [A] */ [A]":                "/* [A] */ $0",
		"x[A] + f()[A] + [A] [A]":      "x[$0] + f()[$0] + $0 [$0]",
		"[1, 2].length":                "[1, 2].length",
		"return [Access Token].length": "return $0.length",
		`"unclosed [A]`:                `"unclosed [A]`,
	} {
		if got, _ := translate(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
