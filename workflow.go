package freshet

// A Workflow is a definition in the library, with what people attach to it.
type Workflow struct {
	// Definition is the file as somebody wrote it: the JSON of a World of
	// Workflows or Elsa 2 export, or YAML. It is kept byte for byte. file: PATH
	// reads it beside the resource file.
	Definition Secret `json:"definition"`

	Publish   bool              `json:"publish,omitempty"`   // what runs; else a draft, and what was published before goes on
	Variables map[string]Secret `json:"variables,omitempty"` // default variables, any value, over those of the definition; sealed
	MapInput  map[string]string `json:"map_input,omitempty"` // variable: JavaScript over input, evaluated before the first activity
	Public    bool              `json:"public,omitempty"`    // endpoints that declare no security are open to everybody
	Lock      string            `json:"lock,omitempty"`      // JavaScript for a key: runs of the same key go one at a time
}
