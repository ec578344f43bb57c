package expr

// A Kind is what the value of a field is converted to.
type Kind string

// The kinds, with what Convert returns for each. A nil value stays nil for
// every kind: the field's default applies.
const (
	Any   Kind = ""      // whatever it is
	Text  Kind = "text"  // string, or a freshet.Secret as it is
	Bool  Kind = "bool"  // bool
	Int   Kind = "int"   // int64
	Float Kind = "float" // float64
	List  Kind = "list"  // []any
	Texts Kind = "texts" // []any of string
	Ints  Kind = "ints"  // []any of int64
	Map   Kind = "map"   // map[string]any
	Enum  Kind = "enum"  // string: one of the options, in their own case; a number's text if it is none of them
	URL   Kind = "url"   // string, trimmed, spaces escaped
	Cases Kind = "cases" // []Case, of a Switch
	Code  Kind = "code"  // string: text that the activity itself evaluates
)

// A Case is one case of a Switch, evaluated.
type Case struct {
	Name string
	Met  bool
}

// An Encoding is how a Liquid template writes the values between its braces.
type Encoding int

// The encodings. What a template says itself is never touched, and "raw"
// switches the encoding off for one output.
const (
	Raw  Encoding = iota // as they are
	HTML                 // for a page: WriteHttpResponse.Content with an HTML content type
	JSON                 // escaped between quotes, a whole JSON value elsewhere: bodies with a JSON content type
)

// EncodingFor returns the encoding for content of a media type.
func EncodingFor(property, contentType string) Encoding { return encodingFor(property, contentType) }

// A Field says what a property is evaluated for.
type Field struct {
	Activity string // type of the activity, for errors
	Name     string // of the property, for errors
	Kind     Kind
	Syntax   string // the field's default syntax; "" is Literal
	Options  []string
	Encoding Encoding
}
