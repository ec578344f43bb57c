package script

import (
	"container/list"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"

	"modernc.org/quickjs"
)

// A Program is a script that compiles. It is immutable, belongs to no machine,
// and is safe for concurrent use.
type Program struct {
	text  string // what machines evaluate
	lead  int    // lines that were put before the script's own
	waits bool   // it may leave promises behind

	words  []string // names that it may mean as globals
	roams  bool     // it may reach a global without mentioning it
	taints bool     // it may change what scripts share
	light  bool     // it can change no global
	extras uint64   // what it mentions, by bits
}

// mode is what the kernel is told about the script.
func (p *Program) mode() int {
	switch {
	case p.waits:
		return 1
	case p.light:
		return 2
	}
	return 0
}

// locate turns a place in the text into one in the script.
func (p *Program) locate(e *Error) {
	e.Line -= p.lead
	if e.Line < 1 {
		e.Line, e.Column = 0, 0
	}
}

// Words lists the names that the script mentions and may mean as globals.
func (p *Program) Words() []string { return p.words }

// Prepare compiles a script: as it stands, else as the body of a function, for
// the returns at top level that the platform tolerates. The error of a script
// that is neither is an [Error] with line and column, or a [LimitError].
func (e *Engine) Prepare(text string) (*Program, error) {
	if len(text) > e.options.Source {
		return nil, tooMuch(LimitSource, e.options.Source)
	}
	return e.programs.get(text, e.options.Memory)
}

// prepare asks js whether a text compiles.
func prepare(js *quickjs.VM, text string) (*Program, error) {
	p := &Program{text: text}
	_, err := js.Compile(text, quickjs.EvalGlobal)
	if err != nil {
		// A comment may end the script, and nothing may follow it on its line.
		wrapped := "(function(){\n" + text + "\n})()"
		if _, err2 := js.Compile(wrapped, quickjs.EvalGlobal); err2 != nil || !balanced(js, text) {
			// The error of the wrapped text is the better one if a return is
			// what the plain text failed at.
			if err2 != nil && strings.Contains(err.Error(), "return") {
				return nil, compileError(err2, 1)
			}
			return nil, compileError(err, 0)
		}
		p.text, p.lead = wrapped, 1
	}
	p.scan(text)
	return p, nil
}

// balanced reports whether the text is the body of one function, rather than
// one that closes the wrapping and opens another.
func balanced(js *quickjs.VM, text string) bool {
	_, err := js.Compile("(function(){\n"+text+"\n}\n)", quickjs.EvalGlobal)
	_, err2 := js.Compile("[function(){\n"+text+"\n}\n]", quickjs.EvalGlobal)
	return err == nil && err2 == nil
}

func compileError(err error, lead int) error {
	var q *quickjs.Error
	if !errors.As(err, &q) {
		return &Error{Name: "SyntaxError", Message: err.Error()}
	}
	switch {
	case strings.Contains(q.Message, "stack overflow") || strings.Contains(q.Message, "call stack"):
		return &LimitError{Limit: LimitStack}
	case strings.Contains(q.Message, "out of memory"):
		return &LimitError{Limit: LimitMemory, Allowed: "memory"}
	}
	e := &Error{Name: q.Name, Message: q.Message, Line: q.LineNumber, Column: q.ColumnNumber}
	if e.Name == "" {
		e.Name = "SyntaxError"
	}
	(&Program{lead: lead}).locate(e)
	return e
}

// touching are the names through which a script can change what all scripts of
// a machine share.
var touching = map[string]bool{
	"prototype": true, "constructor": true, "__proto__": true, "setPrototypeOf": true, "getPrototypeOf": true,
	"defineProperty": true, "defineProperties": true, "__defineGetter__": true, "__defineSetter__": true,
	"__lookupGetter__": true, "__lookupSetter__": true, "Reflect": true, "preventExtensions": true, "freeze": true, "seal": true, "assign": true,
}

// computed finds an assignment to a member whose name is computed: with names
// out of somebody's data, o[a][b] = c reaches what all lists share.
var computed = regexp.MustCompile(`\]\s*(?:=(?:[^=>]|$)|\+\+|--|(?:[-+*/%&|^]|\*\*|<<|>>>?|&&|\|\||\?\?)=)|(?:\+\+|--)\s*[\w$.]+\s*\[`)

// roaming are the names through which a script can reach a global whose name
// it does not mention.
var roaming = map[string]bool{"eval": true, "Function": true, "globalThis": true, "this": true, "with": true, "constructor": true}

// waiting are the names without which there are no promises.
var waiting = map[string]bool{"Promise": true, "async": true, "await": true, "import": true, "then": true, "fromAsync": true}

// defining are the words without which, and without an assignment, no global
// comes or goes.
var defining = map[string]bool{"var": true, "function": true, "class": true, "delete": true, "for": true, "let": true, "const": true}

// builtin are the objects of the language whose members all scripts share.
var builtin = map[string]bool{"Object": true, "Array": true, "String": true, "Number": true, "Boolean": true, "Symbol": true, "BigInt": true,
	"Math": true, "JSON": true, "Date": true, "RegExp": true, "Map": true, "Set": true, "WeakMap": true, "WeakSet": true, "Promise": true,
	"Proxy": true, "Error": true, "Iterator": true}

// scan looks over the words of a script. It reads no grammar: words in comments
// and strings count too, which costs a lookup and changes nothing.
func (p *Program) scan(text string) {
	seen := map[string]bool{}
	before := ""
	p.light = !strings.Contains(text, "=") && !strings.Contains(text, "++") && !strings.Contains(text, "--")
	p.taints = computed.MatchString(text)
	defer func() { p.light = p.light && !p.roams && !p.taints }()
	for i := 0; i < len(text); {
		if !wordByte(text[i]) {
			if text[i] == '\\' { // an escape in a name: \u0065val
				p.roams, p.taints = p.roams || strings.HasPrefix(text[i:], `\u`), p.taints || strings.HasPrefix(text[i:], `\u`)
			}
			i++
			continue
		}
		start := i
		for i < len(text) && wordByte(text[i]) {
			i++
		}
		word := text[start:i]
		p.taints = p.taints || touching[word]
		p.roams = p.roams || roaming[word]
		p.waits = p.waits || waiting[word]
		p.light = p.light && !defining[word]
		p.taints = p.taints || builtin[word] && changes(before, text[i:])
		before = word
		member := start > 0 && text[start-1] == '.' && !(start > 2 && text[start-3:start] == "...")
		if member || word[0] >= '0' && word[0] <= '9' || quotedArgument(text, start, i) || seen[word] {
			continue
		}
		seen[word] = true
		p.words = append(p.words, word)
	}
}

// used finds what is done with a builtin object that leaves it as it is: it is
// called, or a member is read.
var used = regexp.MustCompile(`^\s*(?:\(|\?\.|\.\s*[\w$]+\b\s*(?:$|[^\s=+\-*/%&|^<>?]|===?|=>|[+\-*/%&|^<>?][^=+\-&|?<>*]))`)

// changes reports whether a builtin object may be changed, between the word
// before it and the text behind.
func changes(before, behind string) bool {
	switch before {
	case "delete":
		return true
	case "instanceof", "new", "typeof":
		return false
	}
	return !used.MatchString(behind)
}

// quotedArgument reports whether the word is all of a string that is a
// function's first argument, as in getVariable("AccessToken").
func quotedArgument(text string, start, end int) bool {
	if start < 2 || end+1 >= len(text) {
		return false
	}
	q := text[start-1]
	return (q == '"' || q == '\'') && text[start-2] == '(' && text[end] == q && (text[end+1] == ')' || text[end+1] == ',')
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// maxPrograms is how many bytes of scripts an engine remembers.
const maxPrograms = 8 << 20

// programs remembers what compiled, and has the machine that compiles.
type programs struct {
	mu     sync.Mutex
	known  map[string]*list.Element
	order  *list.List // of entry, the one used last in front
	size   int
	extras map[string]uint64

	compile sync.Mutex // held while js works
	js      *quickjs.VM
	uses    int
	ended   bool
}

type entry struct {
	text    string
	program *Program
	err     error
}

func (c *programs) get(text string, memory int) (*Program, error) {
	if e := c.find(text); e != nil {
		return e.program, e.err
	}
	p, err := c.prepare(text, memory)
	if p != nil {
		for name, bit := range c.extras {
			if p.roams || slices.Contains(p.words, name) {
				p.extras |= bit
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known, c.order = map[string]*list.Element{}, list.New()
	}
	if _, ok := c.known[text]; !ok {
		c.known[text] = c.order.PushFront(&entry{text, p, err})
		c.size += len(text) + 200
	}
	for c.size > maxPrograms {
		e := c.order.Remove(c.order.Back()).(*entry)
		delete(c.known, e.text)
		c.size -= len(e.text) + 200
	}
	return p, err
}

func (c *programs) find(text string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.known[text]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*entry)
}

// prepare compiles on a machine of its own, which never runs anything, and
// which is made anew now and then and after every script that does not compile:
// atoms of what it read would pile up.
func (c *programs) prepare(text string, memory int) (*Program, error) {
	c.compile.Lock()
	defer c.compile.Unlock()
	if c.ended {
		return nil, ErrClosed
	}
	if c.js == nil {
		js, err := quickjs.NewVM()
		if err != nil {
			return nil, err
		}
		js.SetMaxStackSize(stackSlots)
		js.SetMemoryLimit(uintptr(memory))
		c.js, c.uses = js, 0
	}
	p, err := prepare(c.js, text)
	var l *LimitError
	if c.uses++; c.uses >= 500 || errors.As(err, &l) {
		c.js.Close()
		c.js = nil
	}
	return p, err
}

func (c *programs) close() {
	c.compile.Lock()
	defer c.compile.Unlock()
	c.ended = true
	if c.js != nil {
		c.js.Close()
		c.js = nil
	}
}

// Check reports whether a text compiles as Prepare would have it, without an
// engine and without remembering it.
func Check(text string, limit int) error {
	if len(text) > limit {
		return tooMuch(LimitSource, limit)
	}
	c := programs{}
	defer c.close()
	_, err := c.prepare(text, 32<<20)
	return err
}
