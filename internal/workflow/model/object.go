package model

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"unicode"
	"unicode/utf8"
)

// A Kind says which object of the platform an [Object] is.
type Kind string

// The kinds.
const (
	KindRequest  Kind = "request"  // Path, Method, QueryString, RouteValues, Headers, Body, RawBody
	KindResponse Kind = "response" // StatusCode, Headers
	KindChild    Kind = "child"    // WorkflowOutput, WorkflowInstanceId
	KindRow      Kind = "row"      // ObjectId and the columns
)

// fixed are the members that are found with either case of their first letter.
// Everything else below an object is user data: found by its exact name.
var fixed = map[Kind][]string{
	KindRequest:  {"Path", "Method", "QueryString", "RouteValues", "Headers", "Body", "RawBody"},
	KindResponse: {"StatusCode", "Headers"},
	KindChild:    {"WorkflowOutput", "WorkflowInstanceId"},
	KindRow:      {"ObjectId", "Version"},
}

// Fixed lists the members of a kind that are found with either case of their
// first letter.
func Fixed(k Kind) []string { return slices.Clone(fixed[k]) }

// Kinds lists the kinds.
func Kinds() []Kind { return []Kind{KindRequest, KindResponse, KindChild, KindRow} }

// A Member is one named value of an object.
type Member struct {
	Name  string
	Value any
}

// An Object is one of the platform's own objects. It is immutable and safe for
// concurrent use; what its members hold must not be changed either.
type Object struct {
	kind    Kind
	members []Member
}

// NewObject returns an object of a kind with its members in order. The last
// member of a name counts.
func NewObject(k Kind, members ...Member) *Object {
	o := &Object{kind: k, members: make([]Member, 0, len(members))}
	for _, m := range members {
		if i := o.index(m.Name); i >= 0 {
			o.members[i].Value = m.Value
			continue
		}
		o.members = append(o.members, m)
	}
	return o
}

// Kind says which object it is.
func (o *Object) Kind() Kind { return o.kind }

// Len counts the members.
func (o *Object) Len() int { return len(o.members) }

// Members lists the members in order.
func (o *Object) Members() []Member { return slices.Clone(o.members) }

func (o *Object) index(name string) int {
	return slices.IndexFunc(o.members, func(m Member) bool { return m.Name == name })
}

// Get returns the member of a name: of the exact one, else, for a member that
// the platform defines, of the same with the other case of its first letter.
func (o *Object) Get(name string) (any, bool) {
	if i := o.index(name); i >= 0 {
		return o.members[i].Value, true
	}
	other := SwapFirst(name)
	if !slices.Contains(fixed[o.kind], other) {
		return nil, false
	}
	if i := o.index(other); i >= 0 {
		return o.members[i].Value, true
	}
	return nil, false
}

// Map returns the members by their names, for readers that know nothing of
// objects. It is the caller's own; what it holds is not.
func (o *Object) Map() map[string]any {
	m := make(map[string]any, len(o.members))
	for _, e := range o.members {
		m[e.Name] = e.Value
	}
	return m
}

// With returns an object that has v for the member of the name.
func (o *Object) With(name string, v any) *Object {
	if o.index(name) < 0 && slices.Contains(fixed[o.kind], SwapFirst(name)) {
		name = SwapFirst(name)
	}
	return NewObject(o.kind, append(o.Members(), Member{name, v})...)
}

// MarshalJSON shows a plain object with each member once, in order.
func (o *Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o.members {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encode(&b, m.Name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encode(&b, m.Value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode writes JSON that is not meant for a page, so that its characters stay
// as they are.
func encode(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line's end
	return nil
}

// SwapFirst returns a name with the other case of its first letter.
func SwapFirst(name string) string {
	r, n := utf8.DecodeRuneInString(name)
	if n == 0 {
		return name
	}
	if unicode.IsUpper(r) {
		return string(unicode.ToLower(r)) + name[n:]
	}
	return string(unicode.ToUpper(r)) + name[n:]
}

// A Request is what a workflow was called with over HTTP. The first seven are
// the members that expressions see; the rest answers queryString, absoluteUrl
// and Liquid's Request.
type Request struct {
	Path        string
	Method      string
	QueryString map[string]string
	RouteValues map[string]any
	Headers     map[string]string // canonical names; Host among them; several values joined by ","
	Body        any               // nil unless the endpoint reads content
	RawBody     string

	Scheme        string // http or https
	Host          string // with its port, as the caller said it
	PathBase      string
	Query         string // as it stood in the URL, without "?"
	Protocol      string // HTTP/1.1
	ContentType   string
	ContentLength int64
	Form          map[string]string
	RemoteIP      string
}

// Object is the request as expressions see it.
func (r *Request) Object() *Object {
	return NewObject(KindRequest,
		Member{"Path", r.Path}, Member{"Method", r.Method},
		Member{"QueryString", anyMap(r.QueryString)}, Member{"RouteValues", clone(r.RouteValues)},
		Member{"Headers", anyMap(r.Headers)}, Member{"Body", r.Body}, Member{"RawBody", r.RawBody})
}

// A Response is what an HTTP call was answered with, but for its body.
type Response struct {
	StatusCode int
	Headers    map[string]string
}

// Object is the response as expressions see it.
func (r Response) Object() *Object {
	return NewObject(KindResponse, Member{"StatusCode", int64(r.StatusCode)}, Member{"Headers", anyMap(r.Headers)})
}

// A ChildResult is what a child workflow ended with.
type ChildResult struct {
	WorkflowOutput     any
	WorkflowInstanceID string
}

// Object is the result as expressions see it.
func (c ChildResult) Object() *Object {
	return NewObject(KindChild, Member{"WorkflowOutput", c.WorkflowOutput}, Member{"WorkflowInstanceId", c.WorkflowInstanceID})
}

// A Row is a row of a table: its number and its columns.
type Row struct {
	ObjectID int64
	Version  int64          // 0: not shown, as in a row that is no history
	Values   map[string]any // by the exact names of the columns
	Columns  []string       // their order; those it does not name follow by name
}

// Object is the row as expressions see it.
func (r Row) Object() *Object {
	members := make([]Member, 0, len(r.Values)+2)
	members = append(members, Member{"ObjectId", r.ObjectID})
	if r.Version != 0 {
		members = append(members, Member{"Version", r.Version})
	}
	seen := map[string]bool{"ObjectId": true}
	for _, names := range [][]string{r.Columns, slices.Sorted(maps.Keys(r.Values))} {
		for _, name := range names {
			if v, ok := r.Values[name]; ok && !seen[name] {
				seen[name] = true
				members = append(members, Member{name, v})
			}
		}
	}
	return NewObject(KindRow, members...)
}

// Rows are the objects of several rows.
func Rows(rows []Row) []any {
	out := make([]any, len(rows))
	for i, r := range rows {
		out[i] = r.Object()
	}
	return out
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func clone(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return maps.Clone(m)
}
