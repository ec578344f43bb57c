package access

import (
	"fmt"
	"strings"
)

// A Verb is the part of a scope that says what may be done.
type Verb string

// The verbs. Token, Call and Run go with a glob of names: token:crm, call:sales-*.
// Admin includes all others.
const (
	Token Verb = "token" // read and refresh a connection's token
	Call  Verb = "call"  // call an API as a connection, through the proxy
	Run   Verb = "run"   // run a workflow, a script, a process
	Read  Verb = "read"  // look at everything but secrets
	Admin Verb = "admin"
)

// named reports whether a verb goes with a glob.
func (v Verb) named() bool { return v == Token || v == Call || v == Run }

// A scope is a verb with the names it holds for.
type scope struct {
	verb Verb
	glob string
}

// ParseScope reports what is wrong with a scope, and nothing else.
func ParseScope(s string) error {
	_, err := parseScope(s)
	return err
}

func parseScope(s string) (scope, error) {
	word, glob, found := strings.Cut(s, ":")
	v := Verb(word)
	switch {
	case v.named() && found && glob != "":
		if i := strings.IndexFunc(glob, func(r rune) bool { return r < 0x20 || r == 0x7f }); i >= 0 || len(glob) > 256 {
			return scope{}, fmt.Errorf("scope %q: the names after the colon are up to 256 printable characters", s)
		}
		return scope{v, glob}, nil
	case v.named():
		return scope{}, fmt.Errorf("scope %q: say for which names, such as %s:crm or %s:*", s, v, v)
	case (v == Read || v == Admin) && !found:
		return scope{verb: v}, nil
	case v == Read || v == Admin:
		return scope{}, fmt.Errorf("scope %q: %s takes no names, it holds for everything", s, v)
	}
	return scope{}, fmt.Errorf("scope %q is not known: use token:GLOB, call:GLOB, run:GLOB, read or admin", s)
}

// match reports whether name is one that glob stands for: * is any text, also
// none, ? is any one byte, and everything else is itself.
func match(glob, name string) bool {
	star, after := -1, 0 // the last *, and where in name what follows it was tried
	g, n := 0, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, after = g, n
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == name[n]):
			g++
			n++
		case star >= 0:
			after++
			g, n = star+1, after
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}
