package check

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/table/odata"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/activity"
)

// A Report is what came over of an imported workflow, and for everything that
// did not what, where, why and what to do.
type Report struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"`              // workflow
	File        string `json:"file,omitempty"`    // where it came from
	Action      string `json:"action,omitempty"`  // created, changed, unchanged
	Version     int    `json:"version,omitempty"` // number of the newest version
	Published   bool   `json:"published"`         // it is the published one
	Activities  int    `json:"activities"`
	Connections int    `json:"connections"` // edges
	Expressions int    `json:"expressions"` // texts in use

	Starts    []string   `json:"starts,omitempty"`    // where a run without a trigger begins, then the others
	Endpoints []Endpoint `json:"endpoints,omitempty"` // HTTP
	Variables []Read     `json:"variables,omitempty"` // read and never set
	Inputs    *Inputs    `json:"inputs,omitempty"`
	Secrets   []Named    `json:"secrets,omitempty"`
	Tables    []Table    `json:"tables,omitempty"`
	Workflows []Named    `json:"workflows,omitempty"` // called by name
	Used      []Named    `json:"used,omitempty"`      // connections of Freshet
	Road      Road       `json:"road"`
	Attached  []string   `json:"attached,omitempty"` // variables that have a default or come from the input

	Findings []workflow.Finding `json:"findings,omitempty"`
}

// A Named is something outside of the file that it refers to.
type Named struct {
	Name  string `json:"name"`
	There *bool  `json:"there,omitempty"` // nil: not known
	Uses  []Use  `json:"uses"`
	Do    string `json:"do,omitempty"` // where it is missing
}

// A Table is a table that is referred to.
type Table struct {
	Named
	Columns []string `json:"columns,omitempty"` // that are named
	Missing []string `json:"missing,omitempty"` // of those
	Keys    []string `json:"keys,omitempty"`    // rows: Key eq '…'
}

// Inputs is what a run expects.
type Inputs struct {
	Members []string `json:"members,omitempty"` // of the input
	Whole   bool     `json:"whole,omitempty"`   // it is used beyond those
	Uses    []Use    `json:"uses"`
}

// An Endpoint is an HTTP endpoint of the workflow.
type Endpoint struct {
	Path     string `json:"path"`
	Methods  string `json:"methods"`
	Activity string `json:"activity"`
	Security string `json:"security"` // who is let in
}

// A Road is the way that tokens take: native, as written, mixed, or none.
type Road struct {
	Kind string `json:"kind"`
	Why  string `json:"why,omitempty"`
	Do   string `json:"do,omitempty"` // how to come to the native one
}

// The roads.
const (
	RoadNative  = "native"
	RoadWritten = "as written"
	RoadMixed   = "mixed"
	RoadNone    = "none"
)

// Report says everything about a version. found are the findings of reading
// its file.
func (c *Checker) Report(ctx context.Context, v *workflow.Version, found []workflow.Finding) *Report {
	d := v.Definition
	all := c.texts(d.Activities)
	r := &Report{Name: v.Name, Kind: "workflow", Version: v.Number, Published: v.Published, Activities: len(d.Activities), Connections: len(d.Edges), Expressions: len(all)}
	for _, s := range d.Starts() {
		r.Starts = append(r.Starts, s.Label())
	}
	for _, name := range append(sortedKeys(v.Attachments.Variables), sortedKeys(v.MapInput)...) {
		if !slices.Contains(r.Attached, name) {
			r.Attached = append(r.Attached, name)
		}
	}
	slices.Sort(r.Attached)
	r.Variables = neverSet(v, all)
	r.Inputs = inputs(slices.Concat(all, c.mapped(v)))
	r.Secrets = c.secrets(ctx, all)
	r.Tables = c.tables(ctx, d, all)
	r.Workflows = c.children(ctx, all)
	r.Used = c.connections(ctx, d, all)
	r.Endpoints = endpoints(v)
	r.Road = road(d, all)
	r.Findings = c.findings(ctx, v, slices.Concat(found, c.traps(v, all), c.starts(d), c.unconnected(d), openEndpoints(v)))
	return r
}

// Errors reports whether something keeps the version from being published.
func (r *Report) Errors() bool {
	return slices.ContainsFunc(r.Findings, func(f workflow.Finding) bool { return f.Severity == workflow.Error })
}

// mapped are the expressions over the input that are attached.
func (c *Checker) mapped(v *workflow.Version) (out []*text) {
	for _, name := range sortedKeys(v.MapInput) {
		out = append(out, &text{a: &workflow.Activity{DisplayName: "map_input"}, p: &workflow.Property{Name: name}, syntax: workflow.JavaScript, text: v.MapInput[name],
			names: c.o.Reads(workflow.JavaScript, v.MapInput[name])})
	}
	return out
}

func inputs(all []*text) *Inputs {
	in := &Inputs{}
	for _, t := range all {
		if len(t.names.Input) == 0 && !t.names.WholeInput {
			continue
		}
		in.Uses = append(in.Uses, t.use())
		in.Whole = in.Whole || t.names.WholeInput
		for _, m := range append(t.names.Input, aliases(t.text)...) {
			if !slices.Contains(in.Members, m) {
				in.Members = append(in.Members, m)
			}
		}
	}
	if len(in.Uses) == 0 {
		return nil
	}
	slices.Sort(in.Members)
	return in
}

var alias = regexp.MustCompile(`\b(?:let|const|var)\s+([A-Za-z_$][\w$]*)\s*=\s*input\b[^.\[(]`)

// aliases follows the input one step: let parameters = input; parameters.api.
func aliases(text string) (out []string) {
	for _, m := range alias.FindAllStringSubmatch(text+"\n", -1) {
		member := regexp.MustCompile(`\b` + regexp.QuoteMeta(m[1]) + `\??\.([A-Za-z_$][\w$]*)`)
		for _, n := range member.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(out, n[1]) {
				out = append(out, n[1])
			}
		}
	}
	return out
}

// collect gathers uses by name, in order of name.
func collect(all []*text, names func(t *text) []string) []Named {
	uses := map[string][]Use{}
	for _, t := range all {
		for _, n := range names(t) {
			if n = strings.TrimSpace(n); n != "" {
				uses[n] = append(uses[n], t.use())
			}
		}
	}
	var out []Named
	for _, n := range sortedKeys(uses) {
		out = append(out, Named{Name: n, Uses: uses[n]})
	}
	return out
}

func known(there bool) *bool { return &there }

func (c *Checker) secrets(ctx context.Context, all []*text) []Named {
	out := collect(all, func(t *text) []string {
		names := t.names.Secrets
		if t.syntax == workflow.Secret {
			names = append(names, t.text)
		}
		slices.Sort(names)
		return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "empty" }) // the platform's word for none
	})
	for i := range out {
		if c.o.Secret != nil {
			ok := c.o.Secret(ctx, out[i].Name)
			if out[i].There = known(ok); !ok {
				_, name, _ := strings.Cut(out[i].Name, ":")
				out[i].Do = fmt.Sprintf("declare a connection named %q: OAuth2:%s is its fresh token", ConnectionName(name), name)
				if !strings.HasPrefix(out[i].Name, "OAuth2:") {
					out[i].Do = fmt.Sprintf("insert a row %q into the table Secrets (columns Name, and Value, which is secret): the Value is what goes out", out[i].Name)
				}
			}
		}
	}
	return out
}

func (c *Checker) children(ctx context.Context, all []*text) []Named {
	out := collect(all, func(t *text) []string {
		names := slices.Clone(t.names.Workflows)
		if t.p.Name == "WorkflowDefinitionName" && t.syntax == workflow.Literal && t.text != "All" {
			names = append(names, t.text)
		}
		return names
	})
	for i := range out {
		if c.o.Published != nil {
			ok := c.o.Published(ctx, out[i].Name)
			if out[i].There = known(ok); !ok {
				out[i].Do = fmt.Sprintf("import and publish a workflow named %s: until then the call takes Not Found", out[i].Name)
			}
		}
	}
	return out
}

func (c *Checker) connections(ctx context.Context, d *workflow.Definition, all []*text) []Named {
	out := collect(all, func(t *text) []string {
		if t.p.Name == "Connection" && t.syntax == workflow.Literal && t.known {
			return []string{t.text}
		}
		return nil
	})
	for i := range out {
		if c.o.Connection != nil {
			ok := c.o.Connection(ctx, out[i].Name)
			if out[i].There = known(ok); !ok {
				out[i].Do = fmt.Sprintf("declare it under connections: %s", out[i].Name)
			}
		}
	}
	return out
}

var keyed = regexp.MustCompile(`(?i)\b(?:Key|Title)\s+eq\s+'((?:[^']|'')*)'`)

// tables lists the tables that activities name, with columns and keys.
func (c *Checker) tables(ctx context.Context, d *workflow.Definition, all []*text) (out []Table) {
	at := map[string]int{}
	for _, n := range collect(all, func(t *text) []string {
		if t.p.Name == "ObjectType" && t.syntax == workflow.Literal {
			return []string{t.text}
		}
		return nil
	}) {
		at[n.Name] = len(out)
		out = append(out, Table{Named: n})
	}
	for _, t := range all {
		i, ok := at[literal(t.a, "ObjectType")]
		if !ok || t.p.Name != "Filter" {
			continue
		}
		keys := t.names.Keys
		for _, m := range keyed.FindAllStringSubmatch(t.text, -1) {
			keys = append(keys, strings.ReplaceAll(m[1], "''", "'"))
		}
		for _, k := range keys {
			if !slices.Contains(out[i].Keys, k) {
				out[i].Keys = append(out[i].Keys, k)
			}
		}
		if x, err := odata.Parse(t.text); err == nil && t.syntax == workflow.Literal {
			for _, col := range columnsOf(x) {
				if !slices.Contains(out[i].Columns, col) {
					out[i].Columns = append(out[i].Columns, col)
				}
			}
		}
	}
	if len(out) == 1 { // members of rows that are read into variables
		for _, col := range rowMembers(all) {
			if !slices.Contains(out[0].Columns, col) {
				out[0].Columns = append(out[0].Columns, col)
			}
		}
	}
	for i := range out {
		t := &out[i]
		slices.Sort(t.Columns)
		slices.Sort(t.Keys)
		if c.o.Columns == nil {
			continue
		}
		columns, ok, err := c.o.Columns(ctx, t.Name)
		if err != nil {
			continue
		}
		if t.There = known(ok); !ok {
			t.Do = fmt.Sprintf("declare it: tables: {%s: {columns: {%s}}}", t.Name, columnList(t.Columns))
			continue
		}
		for _, col := range t.Columns {
			if !hasColumn(columns, col) {
				t.Missing = append(t.Missing, col)
			}
		}
		if len(t.Missing) > 0 {
			t.Do = "add the columns " + strings.Join(t.Missing, ", ")
		}
	}
	return out
}

func columnList(columns []string) string {
	if len(columns) == 0 {
		return "Key: string"
	}
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = c + ": string"
	}
	return strings.Join(parts, ", ")
}

// rowMembers lists the members that are taken of variables which activities
// read rows into.
func rowMembers(all []*text) (out []string) {
	for _, t := range all {
		if t.p.Name != "VariableName" || t.syntax != workflow.Literal || !strings.HasPrefix(t.a.Type, "ObjectInstance") {
			continue
		}
		for _, m := range membersOf(strings.TrimSpace(t.text), all) {
			if m != "ObjectId" && !slices.Contains(out, m) {
				out = append(out, m)
			}
		}
	}
	return out
}

const endpointType = "HttpEndpoint"

func endpoints(v *workflow.Version) (out []Endpoint) {
	for i := range v.Definition.Activities {
		a := &v.Definition.Activities[i]
		if a.Type != endpointType {
			continue
		}
		e := Endpoint{Activity: a.Label(), Path: shownText(a, "Path", ""), Methods: shownText(a, "Methods", workflow.JSON)}
		if e.Methods == "" {
			e.Methods = "GET"
		}
		e.Methods = strings.NewReplacer(`["`, "", `"]`, "", `","`, ", ").Replace(e.Methods)
		switch {
		case declares(a, "AuthorizeWithCustomHeader"):
			e.Security = "a request header; a blank name or value lets nobody in"
		case declares(a, "Authorize"):
			e.Security = "an API key with run:" + v.Name
		case v.Public:
			e.Security = "everybody: the workflow is public"
		default:
			e.Security = "declares none: an API key with run:" + v.Name
		}
		out = append(out, e)
	}
	return out
}

// declares reports whether a bool property is set to anything but false.
func declares(a *workflow.Activity, property string) bool {
	p := a.Property(property)
	if p == nil {
		return false
	}
	_, text, ok := p.Live("")
	text = strings.TrimSpace(text)
	return ok && text != "" && !strings.EqualFold(text, "false")
}

func shownText(a *workflow.Activity, property, standard string) string {
	p := a.Property(property)
	if p == nil {
		return ""
	}
	_, text, _ := p.Live(standard)
	return strings.TrimSpace(text)
}

// openEndpoints says of endpoints who is let in here and who was elsewhere.
func openEndpoints(v *workflow.Version) (out []workflow.Finding) {
	for i := range v.Definition.Activities {
		a := &v.Definition.Activities[i]
		if a.Type != endpointType {
			continue
		}
		if declares(a, "AuthorizeWithCustomHeader") {
			for _, name := range []string{"CustomHeaderName", "CustomHeaderValue"} {
				if p := a.Property(name); p != nil {
					if _, text, ok := p.Live(""); ok && strings.TrimSpace(text) != "" && !computed(v, text) {
						continue
					}
				}
				out = append(out, workflow.Finding{Severity: workflow.Warning, Code: "open-elsewhere", Property: name, What: name + " is blank before a run has begun",
					Why: "the platform lets everybody in then; here nobody is let in", Do: "give the variable that it reads a default value, or name a secret"}.On(a))
			}
			continue
		}
		if !declares(a, "Authorize") {
			f := workflow.Finding{Severity: workflow.Warning, Code: "endpoint-open", What: fmt.Sprintf("the endpoint %s declares no security", shownText(a, "Path", "")),
				Why: "the platform lets everybody in; here callers need an API key with run:" + v.Name, Do: "public: true on the workflow opens it to everybody"}
			if v.Public {
				f.Why, f.Do = "the workflow is public: everybody is let in", ""
			}
			out = append(out, f.On(a))
		}
	}
	return out
}

// computed reports whether a text reads variables of which none has a default.
func computed(v *workflow.Version, text string) bool {
	if !variable.MatchString(text) {
		return false
	}
	for name := range v.Defaults() {
		if strings.Contains(text, name) {
			return false
		}
	}
	return true
}

// starts says what begins a run, where that may surprise.
func (c *Checker) starts(d *workflow.Definition) (out []workflow.Finding) {
	var plain []*workflow.Activity
	for _, s := range d.Starts() {
		if spec, ok := c.o.Types.Lookup(s.Type); !ok || !spec.Trigger {
			plain = append(plain, s)
		}
	}
	starts := d.Starts()
	for i, s := range starts {
		if i == 0 || !slices.Contains(plain, s) {
			continue
		}
		out = append(out, workflow.Finding{Severity: workflow.Warning, Code: "extra-start", What: "nothing leads to this activity, and it is not the first that a run begins with",
			Why: fmt.Sprintf("a run begins with %q alone, so this one never runs", starts[0].Label()), Do: "connect it, or remove it"}.On(s))
	}
	if len(starts) > 1 && slices.Contains(plain, starts[0]) && len(d.OutboundAll(starts[0].ID)) == 0 {
		out = append(out, workflow.Finding{Severity: workflow.Warning, Code: "lonely-start", What: "a run without a trigger begins here, and nothing follows", Why: "the activity is the first in the file that nothing leads to",
			Do: "connect it, or remove it"}.On(starts[0]))
	}
	return out
}

// unconnected lists outcomes at which a run ends without a word.
func (c *Checker) unconnected(d *workflow.Definition) (out []workflow.Finding) {
	for i := range d.Activities {
		a := &d.Activities[i]
		spec, ok := c.o.Types.Lookup(a.Type)
		connected := d.OutboundAll(a.ID)
		if !ok || len(connected) == 0 {
			continue // the end of a branch is no oversight
		}
		var open []string
		for _, o := range declaredOutcomes(spec, a) {
			if !slices.ContainsFunc(connected, func(e workflow.Edge) bool { return e.Is(o) }) {
				open = append(open, o)
			}
		}
		if len(open) > 0 {
			out = append(out, workflow.Finding{Severity: workflow.Info, Code: "unconnected", What: "nothing follows " + strings.Join(open, ", "), Why: "a run that takes it ends there, without output and without a fault",
				Do: "connect it if that should be noticed"}.On(a))
		}
	}
	return out
}

// declaredOutcomes are those that an author can be expected to connect: all
// but Done, which others stand in for, and the outcomes that fault unconnected.
func declaredOutcomes(spec *activity.Spec, a *workflow.Activity) []string {
	possible, _ := spec.Possible(a)
	return slices.DeleteFunc(slices.Clone(possible), func(o string) bool {
		return (len(possible) > 1 || spec.AnyOutcome) && workflow.SameOutcome(o, workflow.Done) || slices.Contains(requestOutcomes[2:], o)
	})
}

var tokenish = regexp.MustCompile(`(?i)access_?token|authToken|Bearer `)

// road tells which way tokens take.
func road(d *workflow.Definition, all []*text) Road {
	var native, written []string
	add := func(list *[]string, t *text) {
		if l := t.a.Label(); !slices.Contains(*list, l) {
			*list = append(*list, l)
		}
	}
	for _, t := range all {
		switch {
		case t.p.Name == "Connection" && (t.a.Type == "SendHttpRequest" || t.a.Type == "CallConnection" || t.a.Type == "GetAccessToken"):
			add(&native, t)
		case t.syntax == workflow.Secret && strings.HasPrefix(t.text, "OAuth2:"):
			add(&native, t)
		case t.a.Type == "SendHttpRequest" && (t.p.Name == "Authorization" || t.p.Name == "RequestHeaders") && t.syntax != workflow.Secret && tokenish.MatchString(t.text+t.p.Name):
			if t.p.Name == "Authorization" || strings.Contains(t.text, "uthorization") {
				add(&written, t)
			}
		case strings.HasPrefix(t.a.Type, "ObjectInstance") && (t.p.Name == "Values" || t.p.Name == "Filter") && tokenish.MatchString(t.text):
			add(&written, t)
		}
	}
	how := "declare the login as a connection (grant: request for a login of one's own, see examples/world-of-workflows), then GetAccessToken gives its token, and CallConnection or SendHttpRequest with Connection makes the call: refreshed once for all callers, before it expires, and renewed when the API refuses it"
	switch {
	case len(native) > 0 && len(written) > 0:
		return Road{RoadMixed, fmt.Sprintf("%s use connections; %s keep tokens in the workflow's own tables and variables", quoteAll(native), quoteAll(written)), how}
	case len(native) > 0:
		return Road{RoadNative, quoteAll(native) + " use connections", ""}
	case len(written) > 0:
		return Road{RoadWritten, quoteAll(written) + ": the workflow keeps, checks and sends the token itself, from tables and variables. It is refreshed when a run finds it expired, and two runs that do so at once both log in; lock: on the workflow lets them go one at a time", how}
	}
	return Road{Kind: RoadNone}
}

func quoteAll(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(out, ", ")
}

// ConnectionName is what a connection is to be called here that another
// platform calls by words: Office365 wow@ is Office365-wow.
func ConnectionName(s string) string {
	var b strings.Builder
	gap := false
	for _, c := range s {
		switch {
		case c < 128 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c)):
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			gap = false
			b.WriteRune(c)
		default:
			gap = true
		}
	}
	return b.String()
}
