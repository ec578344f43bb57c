package freshet

// A Service is an HTTP API by its base URL and the methods that processes call.
type Service struct {
	Name        string          `json:"-"`
	Description string          `json:"description,omitempty"` // what it is for
	BaseURL     string          `json:"base_url,omitempty"`    // what paths are below; with a connection by default the connection's
	Connection  string          `json:"connection,omitempty"`  // calls are made as this connection: its token, its hosts
	Certificate Secret          `json:"certificate,omitzero"`  // mutual TLS: the chain in PEM
	Key         Secret          `json:"key,omitzero"`          // mutual TLS: the private key in PEM
	Timeout     Duration        `json:"timeout,omitempty"`     // of one call; by default 100s
	Methods     []ServiceMethod `json:"methods"`               // by name, which may be any line of text: Get/Refresh Auth Token
}

// Method returns the method of the name, nil if the service has none.
func (s *Service) Method(name string) *ServiceMethod {
	for i := range s.Methods {
		if s.Methods[i].Name == name {
			return &s.Methods[i]
		}
	}
	return nil
}

// A ServiceMethod is one request that a service answers.
type ServiceMethod struct {
	Name        string        `json:"name,omitempty"`         // what it is called in processes
	Description string        `json:"description,omitempty"`  // what it does
	Method      string        `json:"method"`                 // the HTTP method
	Path        string        `json:"path,omitempty"`         // below the base URL; an input called urlPath takes its place for one call
	ContentType string        `json:"content_type,omitempty"` // of the body: json or form; by default json
	Request     ServiceFields `json:"request,omitzero"`       // what goes out
	Response    ServiceFields `json:"response,omitzero"`      // what comes back
}

// ServiceFields are the named parts of a request or an answer.
type ServiceFields struct {
	Headers []Parameter `json:"headers,omitempty"` // header fields
	Query   []Parameter `json:"query,omitempty"`   // of a request: parameters in the address
	Body    []Parameter `json:"body,omitempty"`    // members of the body
}

// A Parameter is a named part of a request or an answer. A list holds a name, or
// name: value for a value that is always the same.
type Parameter struct {
	Name   string `json:"name"`             // as it goes over the wire
	Value  string `json:"value,omitempty"`  // always this, unless the caller maps another
	Secret Secret `json:"secret,omitzero"`  // a value that is kept sealed
	Sample string `json:"sample,omitempty"` // for people
}

// Fixed reports whether the parameter has a value of its own.
func (p *Parameter) Fixed() bool { return p.Value != "" || !p.Secret.IsZero() }

// A Process is a form: fields, and buttons whose rules run in order.
type Process struct {
	Name        string                    `json:"-"`
	Description string                    `json:"description,omitempty"` // what it is for
	Fields      []ProcessField            `json:"fields"`                // in the order of the form
	Buttons     map[string][]ProcessRule  `json:"buttons,omitempty"`     // lists of rules by the name of the button
	Expiry      *ProcessExpiry            `json:"expiry,omitempty"`      // which fields say until when the token lives
	Instances   []map[string]ProcessValue `json:"instances,omitempty"`   // seeds: the first becomes NAME-1; one that is there is never overwritten
}

// Field returns the field of the name, nil if the process has none.
func (p *Process) Field(name string) *ProcessField {
	for i := range p.Fields {
		if p.Fields[i].Name == name {
			return &p.Fields[i]
		}
	}
	return nil
}

// A ProcessField is a field of a form.
type ProcessField struct {
	Name   string        `json:"name"`             // as [Name] refers to it
	Secret bool          `json:"secret,omitempty"` // its value is shown to nobody
	Title  string        `json:"title,omitempty"`  // how people see it called
	Rules  []ProcessRule `json:"rules,omitempty"`  // what a trigger field:NAME runs
}

// A ProcessRule does one thing: exactly one of its actions is given.
type ProcessRule struct {
	Name string `json:"name,omitempty"` // a trigger rule:NAME runs it alone
	When string `json:"when,omitempty"` // a condition, JavaScript over [Field]; else the rule is passed over

	SetField   map[string]ProcessValue `json:"set_field,omitempty"`   // Set form field: fields and what they become
	FindItems  *ItemRule               `json:"find_items,omitempty"`  // Find items: calls a method that reads
	CreateItem *ItemRule               `json:"create_item,omitempty"` // Create item: calls a method
	UpdateItem *ItemRule               `json:"update_item,omitempty"` // Update item: calls a method
	DeleteItem *ItemRule               `json:"delete_item,omitempty"` // Delete item: calls a method
	Save       *SaveRule               `json:"save,omitempty"`        // Save form: what rules have changed becomes the instance
}

// Item returns the rule's call of a service, nil for a rule without one.
func (r *ProcessRule) Item() *ItemRule {
	for _, i := range []*ItemRule{r.FindItems, r.CreateItem, r.UpdateItem, r.DeleteItem} {
		if i != nil {
			return i
		}
	}
	return nil
}

// Type is what the rule does, in the words of the form.
func (r *ProcessRule) Type() string {
	switch {
	case r.FindItems != nil:
		return "Find items"
	case r.CreateItem != nil:
		return "Create item"
	case r.UpdateItem != nil:
		return "Update item"
	case r.DeleteItem != nil:
		return "Delete item"
	case r.Save != nil:
		return "Save form"
	}
	return "Set form field"
}

// An ItemRule calls a method of a service.
type ItemRule struct {
	Service   string                  `json:"service"`              // the data source
	Method    string                  `json:"method"`               // of the service
	Input     map[string]ProcessValue `json:"input,omitempty"`      // header, query or body field of the method, or urlPath: what goes into it
	OnSuccess map[string]ProcessValue `json:"on_success,omitempty"` // form field: [body.x], [headers.X], [status], [now] or text
	OnError   map[string]ProcessValue `json:"on_error,omitempty"`   // form field: text, [error], [status], [body.x]; blank is the error's own words
}

// A SaveRule saves the form.
type SaveRule struct {
	Comment string `json:"comment,omitempty"` // for people
}

// A ProcessValue is where a mapping takes a value from. A text is the value
// itself, with [Field] in it replaced; [Field] alone keeps the value's type.
type ProcessValue struct {
	Text       string `json:"text,omitempty"`       // text with [Field]; empty clears
	Secret     Secret `json:"secret,omitzero"`      // text that is kept sealed, without [Field]
	Expression string `json:"expression,omitempty"` // JavaScript over [Field]
}

// A ProcessExpiry names the fields that say until when the token of an instance
// lives.
type ProcessExpiry struct {
	ExpiresIn        string `json:"expires_in"`                   // the field with the lifetime in seconds
	CreatedAt        string `json:"created_at,omitempty"`         // the field with the instant of issue: Unix seconds or milliseconds, or RFC 3339; by default when it was saved
	RefreshExpiresIn string `json:"refresh_expires_in,omitempty"` // the field with the refresh token's own lifetime in seconds
}
