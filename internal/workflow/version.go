package workflow

import "time"

// A Version is one state of a workflow in the library. Versions are shared:
// read only.
type Version struct {
	ID        string // of the workflow, ours: the same over versions, never reused
	Name      string // which the workflow goes by here; the file may say another one
	Number    int    // counts from 1
	Published bool   // new runs use it

	*Definition
	Attachments

	Hash      string // SHA-256 of the file, in hex
	Size      int    // bytes of the file
	CreatedAt time.Time
	By        string // who made it, "" if nobody is known
}

// Attachments are what people add to a workflow beside its file, so that a
// foreign export runs unchanged.
type Attachments struct {
	Variables map[string]any    `json:"variables,omitempty"` // default variables, over those of the file
	MapInput  map[string]string `json:"map_input,omitempty"` // variable: JavaScript over input, evaluated before the first activity
	Public    bool              `json:"public,omitempty"`    // endpoints without security of their own are open
	Lock      string            `json:"lock,omitempty"`      // JavaScript for a key: runs of the same key go one at a time
}

// Defaults returns the default variables of a run: the file's, and over them
// the attached ones. The map is the caller's, its values are shared.
func (v *Version) Defaults() map[string]any {
	out := make(map[string]any, len(v.Definition.Variables)+len(v.Attachments.Variables))
	for name, x := range v.Definition.Variables {
		out[name] = x
	}
	for name, x := range v.Attachments.Variables {
		out[name] = x
	}
	return out
}
