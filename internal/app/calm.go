package app

import (
	"regexp"
	"strings"

	"github.com/freshet-dev/freshet/internal/script"
)

// loud are the names of the language's own objects. The engine takes a machine
// out of service that a script may have changed them on, and it looks for their
// names in comments and texts, too.
var loud = regexp.MustCompile(`\b(?:Object|Array|String|Number|Boolean|Symbol|BigInt|Math|JSON|Date|RegExp|Map|Set|WeakMap|WeakSet|Promise|Proxy|Error|Iterator|Reflect)\b`)

// calm writes an object's text so that it means the same and names the
// language's objects only where it uses them: a machine that stays in service
// makes the next run three times as fast. Lines stay where they are. A text that
// is not easily read (with template literals, or regular expressions that look
// like comments) is left alone.
func calm(code string) string {
	if strings.ContainsRune(code, '`') || !loud.MatchString(code) {
		return code
	}
	var b strings.Builder
	for i := 0; i < len(code); {
		n := skip(code[i:])
		if n == 0 {
			b.WriteByte(code[i])
			i++
			continue
		}
		part := code[i : i+n]
		switch {
		case part[0] == '/':
			b.WriteString(strings.Repeat("\n", strings.Count(part, "\n")))
			b.WriteByte(' ')
		case n > 1:
			b.WriteString(loud.ReplaceAllStringFunc(part, func(word string) string {
				const hex = "0123456789abcdef"
				return `\x` + string(hex[word[0]>>4]) + string(hex[word[0]&15]) + word[1:]
			}))
		default:
			b.WriteString(part)
		}
		i += n
	}
	if script.Check("(\n"+b.String()+"\n)", maxBundle) != nil {
		return code
	}
	return b.String()
}
