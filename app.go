package freshet

// An App is queries, JavaScript objects that use them, and pages that show what
// they bring.
type App struct {
	Name    string            `json:"-"`
	Title   string            `json:"title,omitempty"`   // what its pages are headed with; by default its name
	Public  bool              `json:"public,omitempty"`  // its pages are open to everybody, else to keys with run:APP
	Queries []AppQuery        `json:"queries,omitempty"` // by name
	Scripts map[string]Secret `json:"scripts,omitempty"` // by name: the text of one JavaScript object each, export default {…}; sealed, because old scripts hold old credentials
	Pages   []AppPage         `json:"pages,omitempty"`   // by name
}

// An AppQuery is one HTTP request, whose texts may hold {{ JavaScript }}.
type AppQuery struct {
	Name           string            `json:"name,omitempty"`            // as scripts and bindings call it
	Method         string            `json:"method,omitempty"`          // by default GET
	URL            string            `json:"url"`                       // whole, or with a connection what comes after its base URL
	Headers        map[string]Secret `json:"headers,omitempty"`         // by name; sealed
	Body           Secret            `json:"body,omitzero"`             // text as it is sent; sealed
	Form           map[string]Secret `json:"form,omitempty"`            // fields of a form in place of a body; sealed
	ContentType    string            `json:"content_type,omitempty"`    // json (default), form, text, or a media type
	Timeout        Duration          `json:"timeout,omitzero"`          // by default 10s, at most 60s
	Connection     string            `json:"connection,omitempty"`      // the call is made as it, with its token
	CaptureRefresh bool              `json:"capture_refresh,omitempty"` // a new refresh token in the answer is stored where the query takes its old one from
}

// An AppPage is what is served at /apps/APP/PAGE.
type AppPage struct {
	Name    string      `json:"name,omitempty"`    // in its address
	Title   string      `json:"title,omitempty"`   // by default its name
	OnLoad  []string    `json:"on_load,omitempty"` // SCRIPT.FUNCTION and queries that run before what is bound to them
	Widgets []AppWidget `json:"widgets"`           // from top to bottom
}

// An AppWidget is one part of a page. Its texts may hold {{ JavaScript }}.
type AppWidget struct {
	Type    string   `json:"type"`               // what it is
	Name    string   `json:"name"`               // as bindings call it
	Label   string   `json:"label,omitempty"`    // what people read beside or on it; by default its name
	Text    string   `json:"text,omitempty"`     // of a text
	Data    string   `json:"data,omitempty"`     // of a table: a list of objects
	Columns []string `json:"columns,omitempty"`  // of a table: these, in this order; by default the keys of the data
	Rows    int      `json:"rows,omitempty"`     // of a table: on one page of it; by default 10
	OnClick string   `json:"on_click,omitempty"` // of a button: {{ JavaScript }}, or a query or SCRIPT.FUNCTION
	Input   string   `json:"input,omitempty"`    // of an input: what may be typed
	Default string   `json:"default,omitempty"`  // of an input, select or checkbox: its value at first
	Options []string `json:"options,omitempty"`  // of a select: what may be chosen
}
