package workflow

import (
	"bytes"
)

// A Document is a file as somebody wrote it, and the way to every value in it.
// Its bytes do not change; an edit makes another Document.
type Document struct {
	src  []byte
	root *node // nil: YAML
}

// Read reads a file in either spelling. It keeps b. The error is a
// *SyntaxError.
func Read(b []byte) (*Document, error) {
	if IsYAML(b) {
		if _, _, err := decodeYAML(b); err != nil {
			return nil, err
		}
		return &Document{src: b}, nil
	}
	root, err := parseJSON(b)
	if err != nil {
		return nil, err
	}
	return &Document{src: b, root: root}, nil
}

// IsYAML reports whether a file is in Freshet's own spelling rather than in
// the JSON of an export, which begins with a brace.
func IsYAML(b []byte) bool {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, bom), " \t\r\n")
	return len(b) > 0 && b[0] != '{' && b[0] != '['
}

// Bytes returns the file. It is shared: read only.
func (d *Document) Bytes() []byte { return d.src }

// Definition returns what the file says, and what is odd about it.
func (d *Document) Definition() (*Definition, []Finding, error) {
	if d.root == nil {
		return decodeYAML(d.src)
	}
	return decode(d.src, d.root)
}
