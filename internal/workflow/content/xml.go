package content

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// XML decodes a document into a map with one member, the root element. An
// element with neither attributes nor children is its text (nil without any);
// else a map: @name an attribute, #text the text, children by their names, a
// list where a name repeats. Comments and processing instructions are dropped,
// and no entity is fetched or expanded but XML's own five.
func XML(b []byte) (any, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(name string, r io.Reader) (io.Reader, error) {
		enc, err := htmlindex.Get(name)
		if err != nil {
			return nil, fmt.Errorf("charset %q is not known", name)
		}
		return enc.NewDecoder().Reader(r), nil
	}
	for {
		t, err := d.RawToken()
		if err == io.EOF {
			return nil, errors.New("not XML: there is no element")
		}
		if err != nil {
			return nil, broken(d, err)
		}
		if start, ok := t.(xml.StartElement); ok {
			v, err := element(d, start, 1)
			if err != nil {
				return nil, err
			}
			return map[string]any{label(start.Name): v}, nil
		}
	}
}

func broken(d *xml.Decoder, err error) error {
	if err == model.ErrDepth {
		return err
	}
	line, column := d.InputPos()
	return fmt.Errorf("not XML: broken at line %d, column %d", line, column)
}

// label is a name as written, prefix and all: RawToken resolves nothing.
func label(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

func element(d *xml.Decoder, start xml.StartElement, depth int) (any, error) {
	if depth > model.MaxDepth {
		return nil, model.ErrDepth
	}
	members := map[string]any{}
	for _, a := range start.Attr {
		members["@"+label(a.Name)] = a.Value
	}
	var text strings.Builder
	for {
		t, err := d.RawToken()
		if err != nil {
			return nil, broken(d, err)
		}
		switch t := t.(type) {
		case xml.CharData:
			text.Write(t)
		case xml.StartElement:
			v, err := element(d, t, depth+1)
			if err != nil {
				return nil, err
			}
			add(members, label(t.Name), v)
		case xml.EndElement:
			if t.Name != start.Name {
				return nil, broken(d, errors.New("an element ends that did not begin"))
			}
			s := text.String()
			if blank := strings.TrimSpace(s) == ""; len(members) == 0 {
				if blank {
					return nil, nil
				}
				return s, nil
			} else if !blank {
				members["#text"] = s
			}
			return members, nil
		}
	}
}

func add(members map[string]any, name string, v any) {
	old, ok := members[name]
	if !ok {
		members[name] = v
		return
	}
	if list, ok := old.([]any); ok {
		members[name] = append(list, v)
		return
	}
	members[name] = []any{old, v}
}
