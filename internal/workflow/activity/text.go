package activity

import (
	"encoding/json"
	"fmt"
)

// texts makes a list of texts of a value of kind Texts, Ints or List.
func texts(v any) []string {
	switch v := v.(type) {
	case []string:
		return v
	case []int64:
		out := make([]string, len(v))
		for i, n := range v {
			out[i] = fmt.Sprint(n)
		}
		return out
	case []any:
		out := make([]string, len(v))
		for i, x := range v {
			out[i] = Format(x)
		}
		return out
	case string:
		return []string{v}
	}
	return nil
}

// parseTexts reads a JSON list as texts.
func parseTexts(text string) ([]string, error) {
	var list []any
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("read a list: %w", err)
	}
	return texts(list), nil
}

// caseNames lists the names of the cases of a Switch.
func caseNames(text string) ([]string, error) {
	var cases []struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal([]byte(text), &cases); err != nil {
		return nil, fmt.Errorf("read the cases: %w", err)
	}
	out := make([]string, len(cases))
	for i, c := range cases {
		out[i] = c.Name
	}
	return out, nil
}
