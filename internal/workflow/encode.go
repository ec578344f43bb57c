package workflow

import (
	"bytes"
	"encoding/json"
)

// EncodeJSON writes a definition as an export of the platform: what its importer
// reads. It holds what the model knows; a file that came from elsewhere is
// exported as it came instead.
func EncodeJSON(d *Definition) []byte {
	w := wireDefinition{
		DefinitionID: d.ID, VersionID: d.ID, Name: d.Name, DisplayName: d.DisplayName, Description: d.Description, Version: d.Version,
		Variables: wireData{orEmpty(d.Variables)}, CustomAttributes: wireData{orEmpty(d.CustomAttributes)},
		IsSingleton: d.Singleton, Persistence: d.Persistence, DeleteCompleted: d.DeleteCompleted, Tag: d.Tag, Channel: d.Channel,
		Activities: wireActivities(d.Activities), Connections: wireEdges(d.Edges), ID: d.ID,
	}
	if w.Persistence == "" {
		w.Persistence = PersistBurst
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(w); err != nil {
		panic(err) // everything in a Definition came out of JSON or YAML
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

type wireData struct {
	Data map[string]any `json:"data"`
}

type wireDefinition struct {
	DefinitionID     string         `json:"definitionId,omitempty"`
	VersionID        string         `json:"versionId,omitempty"`
	Name             string         `json:"name,omitempty"`
	DisplayName      string         `json:"displayName,omitempty"`
	Description      string         `json:"description,omitempty"`
	Version          int            `json:"version"`
	Variables        wireData       `json:"variables"`
	CustomAttributes wireData       `json:"customAttributes"`
	IsSingleton      bool           `json:"isSingleton"`
	Persistence      Persistence    `json:"persistenceBehavior"`
	DeleteCompleted  bool           `json:"deleteCompletedInstances"`
	Tag              string         `json:"tag,omitempty"`
	Channel          string         `json:"channel,omitempty"`
	Activities       []wireActivity `json:"activities"`
	Connections      []wireEdge     `json:"connections"`
	ID               string         `json:"id,omitempty"`
}

type wireActivity struct {
	ActivityID      string            `json:"activityId"`
	Type            string            `json:"type"`
	Name            string            `json:"name,omitempty"`
	DisplayName     string            `json:"displayName,omitempty"`
	Description     string            `json:"description,omitempty"`
	X               int               `json:"x"`
	Y               int               `json:"y"`
	PersistWorkflow bool              `json:"persistWorkflow"`
	LoadContext     bool              `json:"loadWorkflowContext"`
	SaveContext     bool              `json:"saveWorkflowContext"`
	Properties      []wireProperty    `json:"properties"`
	Storage         map[string]string `json:"propertyStorageProviders"`
	Activities      []wireActivity    `json:"activities,omitempty"`
	Connections     []wireEdge        `json:"connections,omitempty"`
}

type wireProperty struct {
	Name        string            `json:"name"`
	Syntax      string            `json:"syntax,omitempty"`
	Expressions map[string]string `json:"expressions"`
}

type wireEdge struct {
	Source  string `json:"sourceActivityId"`
	Target  string `json:"targetActivityId"`
	Outcome string `json:"outcome,omitempty"`
}

func wireActivities(list []Activity) []wireActivity {
	out := make([]wireActivity, len(list))
	for i, a := range list {
		w := wireActivity{ActivityID: a.ID, Type: a.Type, Name: a.Name, DisplayName: a.DisplayName, Description: a.Description, X: a.X, Y: a.Y,
			PersistWorkflow: a.PersistWorkflow, LoadContext: a.LoadContext, SaveContext: a.SaveContext, Storage: a.Storage, Properties: []wireProperty{}}
		if w.Storage == nil {
			w.Storage = map[string]string{}
		}
		for _, p := range a.Properties {
			e := p.Expressions
			if e == nil {
				e = map[string]string{}
			}
			w.Properties = append(w.Properties, wireProperty{p.Name, p.Syntax, e})
		}
		if len(a.Activities) > 0 {
			w.Activities, w.Connections = wireActivities(a.Activities), wireEdges(a.Edges)
		}
		out[i] = w
	}
	return out
}

func wireEdges(list []Edge) []wireEdge {
	out := make([]wireEdge, len(list))
	for i, e := range list {
		out[i] = wireEdge{e.Source, e.Target, e.Outcome}
	}
	return out
}
