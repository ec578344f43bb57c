package expr

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow"
)

// MaxSource is how long, in bytes, a text that is evaluated may be.
const MaxSource = 64 << 10

// Check reports whether a text compiles in a syntax, without evaluating it.
func Check(syntax, text string) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	switch syntax {
	case workflow.JavaScript:
		return script.Check(text, MaxSource)
	case workflow.Liquid:
		return checkLiquid(text)
	case workflow.JSON:
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return fmt.Errorf("not JSON: %w", err)
		}
	case workflow.Switch:
		cases, err := parseCases(text)
		if err != nil {
			return err
		}
		for i := range cases {
			if err := Check(cases[i].live()); err != nil {
				return fmt.Errorf("case %q: %w", cases[i].Name, err)
			}
		}
	case workflow.Literal, workflow.Secret, workflow.Variable, "Output", "SQL", "":
	default:
		return fmt.Errorf("nothing here evaluates the syntax %q", syntax)
	}
	return nil
}

// Names are what a text reads and sets, as far as that can be told without
// evaluating it. Each list is sorted and has no name twice.
type Names struct {
	Variables  []string // read: getVariable("x"), Variables.x, the syntax Variable
	Sets       []string // setVariable("x", …)
	Transients []string // getTransientVariable("x")
	Globals    []string // read as a plain global, and nothing else of the name is known: a variable, or a mistake
	Activities []string // activities.NAME, Activities.NAME, getActivity("NAME") …
	Input      []string // input.x: the members of the input
	WholeInput bool     // the input is used beyond members that could be named
	Secrets    []string // references Type:Name
	Keys       []string // the values of Key eq '…' in a filter
	Workflows  []string // getWorkflowDefinitionIdByName('…'), 'NAME' | workflow_definition_id
	Tags       []string // the same by tag
	Outcomes   []string // setOutcome("x")
	Fields     []string // processField("INSTANCE", "FIELD"), as INSTANCE.FIELD
}

// Reads tells what a text reads and sets. It reads words and punctuation, not
// grammar: what a name is computed of at run time it cannot know.
func Reads(syntax, text string) Names {
	var n Names
	n.read(syntax, text)
	for _, list := range []*[]string{&n.Variables, &n.Sets, &n.Transients, &n.Globals, &n.Activities, &n.Input, &n.Secrets, &n.Keys, &n.Workflows, &n.Tags, &n.Outcomes, &n.Fields} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return n
}

var keyFilter = regexp.MustCompile(`(?i)\bkey\s+eq\s+'((?:[^']|'')*)'`)

func (n *Names) read(syntax, text string) {
	for _, m := range keyFilter.FindAllStringSubmatch(text, -1) {
		if key := strings.ReplaceAll(m[1], "''", "'"); !strings.ContainsAny(key, "{}$+\"") {
			n.Keys = append(n.Keys, key)
		}
	}
	switch syntax {
	case workflow.JavaScript:
		n.javaScript(text)
	case workflow.Liquid:
		n.liquid(text)
	case workflow.Secret:
		if ref := strings.TrimSpace(text); ref != "" && ref != "empty" {
			n.Secrets = append(n.Secrets, ref)
		}
	case workflow.Variable:
		if name := strings.TrimSpace(text); name != "" {
			n.Variables = append(n.Variables, name)
		}
	case workflow.Switch:
		cases, err := parseCases(text)
		if err != nil {
			return
		}
		for i := range cases {
			n.read(cases[i].live())
		}
	}
}

var (
	liquidPath  = regexp.MustCompile(`\b(Variables|Activities|Input)\b(?:\s*\.\s*([A-Za-z_][\w-]*)|\s*\[\s*["']([^"']+)["']\s*\])?`)
	liquidChild = regexp.MustCompile(`["']([^"']+)["']\s*\|\s*workflow_definition_id(\s*:\s*["']tag["'])?`)
)

func (n *Names) liquid(text string) {
	verbatim := ""
	for _, m := range token.FindAllStringSubmatch(text, -1) {
		switch {
		case verbatim != "":
			if m[2] == verbatim {
				verbatim = ""
			}
			continue
		case m[2] == "raw" || m[2] == "comment":
			verbatim = "end" + m[2]
			continue
		}
		code := m[1] + " " + m[3]
		for _, p := range liquidPath.FindAllStringSubmatch(code, -1) {
			name := p[2] + p[3]
			switch {
			case p[1] == "Input" && name == "":
				n.WholeInput = true
			case p[1] == "Input":
				n.Input = append(n.Input, name)
			case name == "":
			case p[1] == "Variables":
				n.Variables = append(n.Variables, name)
			default:
				n.Activities = append(n.Activities, name)
			}
		}
		for _, p := range liquidChild.FindAllStringSubmatch(code, -1) {
			if p[2] != "" {
				n.Tags = append(n.Tags, p[1])
			} else {
				n.Workflows = append(n.Workflows, p[1])
			}
		}
	}
}

// A word is one piece of a script's text.
type word struct {
	kind byte // 'n' name, 's' text, '0' number, else the punctuation itself
	text string
}

func (n *Names) javaScript(text string) {
	words := append([]word{{';', ""}}, scan(text)...)
	words = append(words, word{';', ""}, word{';', ""}, word{';', ""}, word{';', ""}, word{';', ""}, word{';', ""})
	declared := map[string]bool{}
	aliases := map[string]bool{"input": true}
	is := func(i int, kind byte, text string) bool {
		return i >= 0 && i < len(words) && words[i].kind == kind && (text == "" || words[i].text == text)
	}
	// A first pass: names of the script's own, and other names of the input.
	for i, w := range words {
		if w.kind != 'n' {
			continue
		}
		before := words[max(i-1, 0)]
		switch {
		case before.kind == 'n' && (before.text == "var" || before.text == "let" || before.text == "const" || before.text == "function" || before.text == "class"):
			declared[w.text] = true
		case is(i+1, '=', "") && !is(i+2, '=', "") && before.kind != '.':
			declared[w.text] = true
		case is(i+1, '=', "=>"):
			declared[w.text] = true
		}
		// (x, y) => and function (x, y) and catch (x) and var a, b
		if before.kind == '(' || before.kind == ',' || before.kind == '{' || before.kind == '[' || before.kind == ':' {
			if parameter(words, i) {
				declared[w.text] = true
			}
		}
		if w.text == "input" && before.kind == '=' && before.text == "=" && i >= 2 && words[i-2].kind == 'n' && !memberAt(words, i-2) && !memberFollows(words, i+1) {
			aliases[words[i-2].text] = true
		}
		// = JSON.parse(input)
		if w.text == "input" && is(i-1, '(', "") && is(i-2, 'n', "parse") && is(i-4, 'n', "JSON") && is(i-5, '=', "=") && is(i-6, 'n', "") && !memberFollows(words, i+2) {
			aliases[words[i-6].text] = true
		}
	}
	for i, w := range words {
		if w.kind != 'n' || memberAt(words, i) {
			continue
		}
		argument := ""
		if is(i+1, '(', "") && is(i+2, 's', "") {
			argument = words[i+2].text
		}
		put := func(list *[]string, s string) {
			if s != "" {
				*list = append(*list, s)
			}
		}
		switch w.text {
		case "getVariable":
			put(&n.Variables, argument)
			continue
		case "setVariable":
			put(&n.Sets, argument)
			continue
		case "getTransientVariable":
			put(&n.Transients, argument)
			continue
		case "getWorkflowDefinitionIdByName":
			put(&n.Workflows, argument)
			continue
		case "getWorkflowDefinitionIdByTag":
			put(&n.Tags, argument)
			continue
		case "getActivity", "getActivityId", "getActivityProperty":
			put(&n.Activities, argument)
			continue
		case "setOutcome":
			put(&n.Outcomes, argument)
			continue
		case "setOutcomes":
			for j := i + 2; j < len(words) && words[j].kind != ')'; j++ {
				if words[j].kind == 's' {
					put(&n.Outcomes, words[j].text)
				}
			}
			continue
		case "processField":
			if argument != "" && is(i+3, ',', "") && is(i+4, 's', "") {
				put(&n.Fields, argument+"."+words[i+4].text)
			}
			continue
		case "activities":
			put(&n.Activities, memberName(words, i))
			continue
		}
		if aliases[w.text] {
			n.input(words, i, w.text)
			continue
		}
		if !declared[w.text] && !known[w.text] && words[i+1].kind != ':' {
			n.Globals = append(n.Globals, w.text)
		}
	}
}

// input notes how a name of the input is used.
func (n *Names) input(words []word, i int, name string) {
	if m := memberName(words, i); m != "" {
		n.Input = append(n.Input, m)
		return
	}
	if words[i+1].kind == '=' && words[i+1].text == "=" {
		return // it is being set
	}
	before := words[i-1]
	if before.kind == '=' && name == "input" {
		if words[i-2].kind == 'n' && !memberFollows(words, i+1) {
			return // it gets another name, which is followed
		}
		if words[i-2].kind == '}' { // const {a, b: c} = input
			for j := i - 3; j > 0 && words[j].kind != '{'; j-- {
				if words[j].kind == 'n' && words[j-1].kind != ':' {
					n.Input = append(n.Input, words[j].text)
				}
			}
			return
		}
	}
	if before.kind == '(' && words[i-2].text == "parse" {
		return // JSON.parse(input), whose name is followed
	}
	n.WholeInput = true
}

// memberAt reports whether the name at i is a member of something.
func memberAt(words []word, i int) bool {
	return i > 0 && (words[i-1].kind == '.' && words[i-1].text != "...")
}

func memberFollows(words []word, i int) bool {
	return words[i].kind == '.' || words[i].kind == '['
}

// memberName is NAME of x.NAME, x?.NAME and x["NAME"].
func memberName(words []word, i int) string {
	switch {
	case words[i+1].kind == '.' && words[i+2].kind == 'n':
		return words[i+2].text
	case words[i+1].kind == '[' && words[i+2].kind == 's' && words[i+3].kind == ']':
		return words[i+2].text
	case words[i+1].kind == '.' && words[i+2].kind == '[' && words[i+3].kind == 's':
		return words[i+3].text
	}
	return ""
}

// parameter reports whether the name at i stands in a list of parameters or of
// declared names.
func parameter(words []word, i int) bool {
	depth := 0
	j := i
	for ; j > 0; j-- {
		switch words[j].kind {
		case ')', ']', '}':
			depth++
		case '(', '[', '{':
			if depth == 0 {
				if words[j].kind == '(' {
					if before := words[j-1]; before.kind == 'n' && (before.text == "function" || before.text == "catch") ||
						before.kind == 'n' && j >= 2 && words[j-2].kind == 'n' && words[j-2].text == "function" {
						return true
					}
					end := closing(words, j)
					return end > 0 && words[end+1].kind == '=' && words[end+1].text == "=>"
				}
				before := words[j-1]
				return before.kind == 'n' && (before.text == "var" || before.text == "let" || before.text == "const")
			}
			depth--
		case ';':
			return false
		case 'n':
			if depth == 0 && (words[j].text == "var" || words[j].text == "let" || words[j].text == "const") {
				return words[i-1].kind == ','
			}
		}
	}
	return false
}

func closing(words []word, open int) int {
	depth := 0
	for j := open; j < len(words)-1; j++ {
		switch words[j].kind {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth--; depth == 0 {
				return j
			}
		}
	}
	return -1
}

// known are names that mean something in every script.
var known = map[string]bool{}

func init() {
	for _, list := range []string{
		`break case catch class const continue debugger default delete do else export extends finally for function if import in instanceof let new of
		return static super switch this throw try typeof var void while with yield async await null true false undefined NaN Infinity arguments get set`,
		`Error EvalError RangeError ReferenceError SyntaxError TypeError URIError InternalError AggregateError Array Object Function Iterator parseInt
		parseFloat isNaN isFinite decodeURI decodeURIComponent encodeURI encodeURIComponent escape unescape eval Number Boolean String Math Reflect
		Symbol globalThis BigInt Date RegExp JSON Proxy Map Set WeakMap WeakSet ArrayBuffer Uint8ClampedArray Int8Array Uint8Array Int16Array
		Uint16Array Int32Array Uint32Array BigInt64Array BigUint64Array Float16Array Float32Array Float64Array DataView Promise`,
		`input workflowInstanceId workflowDefinitionId workflowDefinitionVersion correlationId currentCulture workflowContext activities CurrentValue CurrentIndex`,
		`getVariable setVariable getTransientVariable setTransientVariable getActivityId getActivity getActivityProperty findExecutedActivityIdByType
		addJournal getWorkflowDefinitionIdByName getWorkflowDefinitionIdByTag guid parseGuid queryString absoluteUrl signalUrl getRemoteIPAddress
		getRouteValue processField setOutcome setOutcomes base64Encode base64Decode isNullOrEmpty isNullOrWhiteSpace jsonEncode jsonDecode`,
		instantNames,
	} {
		for _, name := range strings.Fields(list) {
			known[name] = true
		}
	}
}

// scan cuts a script into words, without its comments. Templates give their
// text, if they have no holes, and the words of their holes.
func scan(text string) []word {
	var out []word
	scanInto(&out, text, 0)
	return out
}

const maxHoles = 50 // templates within templates

func scanInto(out *[]word, text string, depth int) {
	add := func(kind byte, s string) { *out = append(*out, word{kind, s}) }
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '/' && i+1 < len(text) && text[i+1] == '/':
			i = skip(text, i, "\n")
		case c == '/' && i+1 < len(text) && text[i+1] == '*':
			i = skip(text, i+2, "*/")
		case c == '"' || c == '\'':
			s, end := quoted(text, i)
			add('s', s)
			i = end
		case c == '`':
			i = backquoted(out, text, i, depth)
		case nameByte(c) && !(c >= '0' && c <= '9'):
			start := i
			for i < len(text) && nameByte(text[i]) {
				i++
			}
			add('n', text[start:i])
		case c >= '0' && c <= '9':
			start := i
			for i < len(text) && (nameByte(text[i]) || text[i] == '.' && i+1 < len(text) && text[i+1] >= '0' && text[i+1] <= '9') {
				i++
			}
			add('0', text[start:i])
		case c == '/' && regexpHere(*out):
			i = skipRegexp(text, i)
			add('0', "//")
		case strings.HasPrefix(text[i:], "=>"):
			add('=', "=>")
			i += 2
		case strings.HasPrefix(text[i:], "==") || strings.HasPrefix(text[i:], "!=") || strings.HasPrefix(text[i:], "<=") || strings.HasPrefix(text[i:], ">="):
			i += 2
			for i < len(text) && text[i] == '=' {
				i++
			}
			add('~', "==")
		case strings.HasPrefix(text[i:], "?."):
			add('.', "?.")
			i += 2
		case strings.HasPrefix(text[i:], "..."):
			add('+', "...")
			i += 3
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		default:
			kind := c
			if kind == 'n' || kind == 's' || kind == '0' {
				kind = '~'
			}
			add(kind, string(c))
			i++
		}
	}
}

func skip(text string, from int, end string) int {
	if from >= len(text) {
		return len(text)
	}
	if i := strings.Index(text[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(text)
}

// quoted reads a text in quotes; of escapes only the simple ones are undone.
func quoted(text string, at int) (string, int) {
	var b strings.Builder
	for i := at + 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case text[i] == text[at]:
			return b.String(), i + 1
		case text[i] == '\n':
			return b.String(), i
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String(), len(text)
}

// backquoted reads a text in backquotes.
func backquoted(out *[]word, text string, at, depth int) int {
	var b strings.Builder
	holes := false
	for i := at + 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case text[i] == '`':
			if !holes {
				*out = append(*out, word{'s', b.String()})
			} else {
				*out = append(*out, word{'0', "``"})
			}
			return i + 1
		case text[i] == '$' && i+1 < len(text) && text[i+1] == '{':
			holes = true
			end := hole(text, i+2)
			if depth < maxHoles {
				*out = append(*out, word{'(', "("})
				scanInto(out, text[i+2:end], depth+1)
				*out = append(*out, word{')', ")"}, word{'+', "+"})
			}
			i = end
		default:
			b.WriteByte(text[i])
		}
	}
	return len(text)
}

// hole finds the brace that ends the hole of a template.
func hole(text string, from int) int {
	depth := 0
	for i := from; i < len(text); i++ {
		switch text[i] {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		case '"', '\'':
			_, end := quoted(text, i)
			i = end - 1
		}
	}
	return len(text)
}

// regexpHere reports whether a slash begins a regular expression, by what
// stands before it.
func regexpHere(words []word) bool {
	if len(words) == 0 {
		return true
	}
	last := words[len(words)-1]
	switch last.kind {
	case 'n':
		return last.text == "return" || last.text == "typeof" || last.text == "case" || last.text == "in" || last.text == "of"
	case 's', '0', ')', ']', '}':
		return false
	}
	return true
}

func skipRegexp(text string, at int) int {
	class := false
	for i := at + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '\n':
			return i
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '/' && !class:
			i++
			for i < len(text) && nameByte(text[i]) {
				i++
			}
			return i
		}
	}
	return len(text)
}

func nameByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
