package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits of what is read. They bound memory against files that are not
// resource files at all and against aliases that multiply.
const (
	maxFile    = 8 << 20  // bytes of one file
	maxFiles   = 2000     // files of one apply
	maxTotal   = 64 << 20 // bytes of all files of one apply
	maxDepth   = 48       // objects and lists inside each other
	maxAliased = 100_000  // values of one file that come by way of aliases
	maxText    = 64 << 10 // bytes of one text or secret

	maxDocument = 8 << 20 // bytes of one file that a resource is made of
)

// parse turns a file into documents. Both forms become YAML nodes with their
// places, because encoding/json has none to give.
func parse(f File) ([]*yaml.Node, *Fault) {
	if len(f.Content) > maxFile {
		return nil, &Fault{Place: Place{File: f.Name}, Detail: fmt.Sprintf("is larger than %d MiB: split it", maxFile>>20)}
	}
	if !utf8.ValidString(f.Content) {
		return nil, &Fault{Place: Place{File: f.Name}, Detail: "is not UTF-8 text"}
	}
	if strings.EqualFold(extension(f.Name), ".json") {
		return parseJSON(f)
	}
	return parseYAML(f)
}

func extension(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 && !strings.ContainsAny(name[i:], `/\`) {
		return name[i:]
	}
	return ""
}

func parseYAML(f File) (docs []*yaml.Node, fault *Fault) {
	dec := yaml.NewDecoder(strings.NewReader(f.Content))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, yamlFault(f, err)
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			docs = append(docs, n.Content[0])
		}
	}
}

var (
	yamlLine    = regexp.MustCompile(`^line (\d+): `)
	yamlAnchor  = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
	yamlGrammar = regexp.MustCompile(`^did not find expected (node content|key|<|'-'|',')`)
)

// yamlFault words a syntax error. The parser quotes the names of anchors, and
// a secret that begins with * reads as one, so that text is not repeated.
func yamlFault(file File, err error) *Fault {
	f := &Fault{Place: Place{File: file.Name, Line: 1}}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		f.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
		if yamlGrammar.MatchString(text) {
			f.Line++ // these count lines from 0
		}
	}
	if m := yamlAnchor.FindStringSubmatch(text); m != nil {
		before, _, _ := strings.Cut(file.Content, "*"+m[1])
		f.Line = strings.Count(before, "\n") + 1
		f.Detail = "text that begins with * refers to an anchor, and there is none of that name: put such text in quotes"
		return f
	}
	if strings.Contains(text, "cannot start any token") || strings.Contains(text, "tab character") {
		text = "indent with spaces, not tabs, and put text with special characters in quotes"
	}
	f.Detail = "is not YAML here: " + text
	return f
}

// parseJSON reads one JSON value. It keeps members that are given twice, so
// that decoding can refuse them.
func parseJSON(f File) ([]*yaml.Node, *Fault) {
	src := strings.TrimPrefix(f.Content, "\ufeff")
	p := jsonParser{src: src, line: 1, column: 1, dec: json.NewDecoder(strings.NewReader(src))}
	p.dec.UseNumber()
	n, err := p.value(0)
	if errors.Is(err, io.EOF) && strings.TrimSpace(src) == "" {
		return nil, nil
	}
	if err == nil {
		if _, err = p.dec.Token(); err == nil {
			err = errTrailing
		} else if errors.Is(err, io.EOF) {
			return []*yaml.Node{n}, nil
		}
	}
	p.seek(min(p.dec.InputOffset(), int64(len(src))))
	detail := "is not JSON here"
	switch {
	case errors.Is(err, errDepth), errors.Is(err, errTrailing):
		detail = err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		detail = "ends too early: a bracket or a quote is not closed"
	}
	return nil, &Fault{Place: Place{File: f.Name, Line: p.line, Column: p.column}, Detail: detail}
}

var (
	errDepth    = errors.New("goes too deep")
	errTrailing = errors.New("holds more than one JSON value")
)

type jsonParser struct {
	src          string
	dec          *json.Decoder
	offset       int // of line and column
	line, column int
}

// seek moves line and column to an offset that is not before the last one.
func (p *jsonParser) seek(to int64) {
	for _, c := range p.src[p.offset:to] {
		if c == '\n' {
			p.line, p.column = p.line+1, 1
		} else {
			p.column++
		}
	}
	p.offset = int(to)
}

// token returns the next token with the node that stands for its place.
func (p *jsonParser) token() (json.Token, *yaml.Node, error) {
	start := p.dec.InputOffset()
	for start < int64(len(p.src)) && strings.IndexByte(" \t\r\n,:", p.src[start]) >= 0 {
		start++
	}
	t, err := p.dec.Token()
	if err != nil {
		return nil, nil, err
	}
	p.seek(start)
	return t, &yaml.Node{Line: p.line, Column: p.column}, nil
}

func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	t, n, err := p.token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errDepth
	}
	n.Kind = yaml.ScalarNode
	switch t := t.(type) {
	case string:
		n.Tag, n.Value, n.Style = "!!str", t, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(t)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	case json.Delim:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for p.dec.More() {
			if t == '{' {
				k, kn, err := p.token()
				if err != nil {
					return nil, err
				}
				kn.Kind, kn.Tag, kn.Style = yaml.ScalarNode, "!!str", yaml.DoubleQuotedStyle
				kn.Value, _ = k.(string)
				n.Content = append(n.Content, kn)
			}
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, v)
		}
		_, _, err = p.token()
	}
	return n, err
}

// encodeJSON writes v without HTML escapes and without a line end. Maps come
// out in order of their keys, so that equal trees are equal bytes.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
