// Package doctor looks at an installation and says what to do: the data
// directory and its files, the store, the keys, the clock, every provider that
// a connection uses, certificates, and the connections themselves.
//
//	Directory   files, modes, disk; needs no server and no key     (files.go)
//	File        whole, and of a schema that this binary knows      (files.go)
//	Check       everything behind the keys: a running server asks
//	            for it, or the command does on a stopped one       (check.go)
//
// Looking changes nothing. A provider is asked for nothing: one HEAD request
// for the root of its host shows that its name resolves, that it can be reached
// through the guarded dialer, that its certificate holds, and what time it is
// there. No credential and no token request goes out.
package doctor

import "slices"

// A Level says how bad a finding is.
type Level string

// The levels. Only a Problem makes a report bad.
const (
	OK      Level = "ok"
	Warning Level = "warning" // it works, and will not for ever
	Problem Level = "problem" // something does not work now
)

// A Finding is one thing that was looked at.
type Finding struct {
	Check  string `json:"check"` // what: store, disk, clock, provider acme, connection crm
	Level  Level  `json:"level"`
	Detail string `json:"detail"`       // what was found
	Do     string `json:"do,omitempty"` // what a person can do about it
}

// A Report is the findings in the order in which they were made.
type Report []Finding

// Good reports whether nothing is a Problem.
func (r Report) Good() bool {
	return !slices.ContainsFunc(r, func(f Finding) bool { return f.Level == Problem })
}

// Count is how many findings there are of each level.
func (r Report) Count(l Level) (n int) {
	for _, f := range r {
		if f.Level == l {
			n++
		}
	}
	return n
}
