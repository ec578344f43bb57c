package resource

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet-dev/freshet"
)

// A Place is where in a file something stands. Lines and columns count from 1;
// 0 is not known.
type Place struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String returns FILE:LINE:COLUMN, as much of it as is known.
func (p Place) String() string {
	s := p.File
	if p.Line > 0 {
		if s == "" {
			s = "line " + strconv.Itoa(p.Line)
		} else {
			s += ":" + strconv.Itoa(p.Line)
		}
		if p.Column > 0 {
			s += ":" + strconv.Itoa(p.Column)
		}
	}
	return s
}

// A Fault is one thing that is wrong, or with a warning odd, in a set of
// resources. It holds no secret.
type Fault struct {
	Place
	Path   string `json:"path,omitempty"` // connections.crm.refresh.margin
	Detail string `json:"detail"`         // what is wrong, and what to do

	pinned bool
}

// Error returns "FILE:LINE:COLUMN: PATH: DETAIL".
func (f Fault) Error() string {
	var parts []string
	for _, s := range []string{f.Place.String(), f.Path, f.Detail} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// ErrPinned is what Faults are when one of them is a secret that would go to a
// host it was not entered for.
var ErrPinned = errors.New("a stored secret would go to another host")

// Faults is everything that is wrong with a set of resources, in the order of
// files and lines.
type Faults []Fault

// maxShown bounds how many faults Error prints.
const maxShown = 50

// Error returns one fault on a line.
func (f Faults) Error() string {
	var b strings.Builder
	for i, one := range f {
		if i == maxShown {
			fmt.Fprintf(&b, "\n… and %d more", len(f)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
	}
	return b.String()
}

// Is lets errors.Is(err, ErrPinned) hold.
func (f Faults) Is(target error) bool {
	return target == ErrPinned && slices.ContainsFunc(f, func(one Fault) bool { return one.pinned })
}

// sorted orders faults as a person reads files, and drops repetitions.
func (f Faults) sorted() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(f)
}

// A ReferencedError says that a resource cannot go while others refer to it.
type ReferencedError struct {
	Key Key
	By  []Key // at most refsShown
	All bool  // By is complete

	Catalogue bool // the catalogue has a provider of the name
}

// Error lists who refers.
func (e *ReferencedError) Error() string {
	names := make([]string, len(e.By))
	for i, k := range e.By {
		names[i] = k.String()
	}
	s := fmt.Sprintf("%s is used by %s", e.Key, strings.Join(names, ", "))
	if !e.All {
		s += ", …"
	}
	return s
}

// Hint says what a person can do about it.
func (e *ReferencedError) Hint() string {
	if e.Catalogue {
		return fmt.Sprintf("to return to the catalogue's provider, apply: providers: {%s: {}}", segment(e.Key.Name))
	}
	return "delete or change what uses it first: freshet delete " + e.By[0].String()
}

// A NotFoundError says that there is no such resource. It is
// freshet.ErrNotFound.
type NotFoundError struct {
	Key     Key
	Similar string // a name that may be meant, "" for none
	Later   bool   // the kind is one of a later version
}

// Error names the resource and one that may be meant.
func (e *NotFoundError) Error() string {
	if e.Later {
		return fmt.Sprintf("%s: not in this version of freshet", e.Key.Kind)
	}
	s := fmt.Sprintf("%s: %v", e.Key, freshet.ErrNotFound)
	if e.Similar != "" {
		s += fmt.Sprintf("; did you mean %q?", e.Similar)
	}
	return s
}

// Is lets errors.Is(err, freshet.ErrNotFound) hold.
func (e *NotFoundError) Is(target error) bool { return target == freshet.ErrNotFound }
