package freshet

// A Component is actions in JavaScript over one credential, as elastic.io's
// components are: a descriptor and the sources of the actions.
type Component struct {
	Name       string                     `json:"-"`
	Descriptor Secret                     `json:"descriptor"`           // component.json as somebody wrote it; file: PATH reads it beside the resource file
	Actions    map[string]ComponentAction `json:"actions,omitempty"`    // by name: the file of its source, exports.process = async function (msg, cfg, snapshot) {…}
	Connection string                     `json:"connection,omitempty"` // whose token set actions find in cfg, under the field that the descriptor chose; by default the one with the component's name, if there is one
	Refresh    string                     `json:"refresh,omitempty"`    // freshet (default): actions get tokens that are fresh; component: they get what is stored, and refresh by themselves
	Env        map[string]Secret          `json:"env,omitempty"`        // what actions find in process.env, and nothing else; sealed
	Config     map[string]Secret          `json:"config,omitempty"`     // further members of cfg, any value; sealed
	Timeout    Duration                   `json:"timeout,omitzero"`     // of one message; by default 1m, at most 10m
	Retry      ComponentRetry             `json:"retry,omitzero"`       // what becomes of messages that fail
}

// A ComponentAction is one action.
type ComponentAction struct {
	Source Secret `json:"source"` // its JavaScript; file: PATH reads it beside the resource file
}

// A ComponentRetry says how often a message is tried again by itself: one that
// its action gave back (rebound), and with OnError one that failed, too.
type ComponentRetry struct {
	Attempts int      `json:"attempts,omitempty"` // in all; by default 10
	Wait     Duration `json:"wait,omitzero"`      // before the second, doubling; by default 15s
	OnError  bool     `json:"on_error,omitempty"` // failures, too; else they are kept until somebody retries them
}
