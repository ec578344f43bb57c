package content

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/freshet-dev/freshet/internal/workflow/model"
)

var bom = []byte("\xef\xbb\xbf")

// JSON reads one JSON text of any kind. An object or a list stays the text that
// it is, see model.JSON, so that a workflow hands on what it was given. An empty
// text is nil. The error says where the text is broken and quotes nothing of it.
func JSON(b []byte) (any, error) {
	b = bytes.TrimSpace(bytes.TrimPrefix(b, bom))
	if len(b) == 0 {
		return nil, nil
	}
	v, err := model.ParseJSON(b)
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nil, fmt.Errorf("not JSON: broken at byte %d", s.Offset)
	}
	return v, err
}

// Encode writes v as JSON on one line and leaves <, > and & as they are.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode as JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
