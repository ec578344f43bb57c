package httpapi

import (
	"bytes"
	"encoding/json"
	"html/template"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// The page of the API is made of the OpenAPI document on the server: no script,
// and nothing that a machine without a network would miss.
var docsTemplate = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} API</title><style>{{.Style}}</style></head>
<body><main class="wide"><h1>{{.Title}} API <span class="soft">{{.Version}}</span></h1>
<p>{{.Description}}</p>
<p class="soft">For programs: <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>. Send <code>Authorization: Bearer fk_…</code>.</p>
{{range .Groups}}<h2>{{.Name}}</h2><p class="soft">{{.Description}}</p>
{{range .Operations}}<details id="{{.ID}}"><summary><b>{{.Method}}</b> <code>{{.Path}}</code> <span class="soft">{{.Summary}} · {{.Scope}}</span></summary>
{{range .Paragraphs}}<p>{{.}}</p>{{end}}
{{with .Parameters}}<table><tr><th>parameter</th><th>in</th><th></th></tr>{{range .}}<tr><td><code>{{.Name}}</code></td><td>{{.In}}</td><td>{{.Doc}}</td></tr>{{end}}</table>{{end}}
{{with .Request}}<p class="soft">Request body</p>{{template "fields" .}}{{end}}
{{with .Response}}<p class="soft">Answer</p>{{template "fields" .}}{{end}}
</details>
{{end}}{{end}}
</main></body></html>
{{define "fields"}}<table>{{range .}}<tr><td><code>{{.Name}}</code></td><td>{{.Type}}</td><td>{{.Doc}}</td></tr>{{end}}</table>{{end}}
`))

type docsGroup struct {
	Name, Description string
	Operations        []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Scope string
	Paragraphs                       []string
	Parameters                       []docsParameter
	Request, Response                []docsField
}

type docsParameter struct{ Name, In, Doc string }

type docsField struct{ Name, Type, Doc string }

// docsPage renders an OpenAPI document.
func docsPage(doc *huma.OpenAPI) []byte {
	v := struct {
		Title, Version, Description string
		Style                       template.CSS
		Groups                      []docsGroup
	}{doc.Info.Title, doc.Info.Version, doc.Info.Description, pageStyle, nil}
	for _, t := range doc.Tags {
		g := docsGroup{Name: t.Name, Description: t.Description}
		for path, item := range doc.Paths {
			for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
				if op != nil && slices.Contains(op.Tags, t.Name) {
					g.Operations = append(g.Operations, docsOf(doc, path, op))
				}
			}
		}
		slices.SortFunc(g.Operations, func(a, b docsOperation) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
		v.Groups = append(v.Groups, g)
	}
	var b bytes.Buffer
	if err := docsTemplate.Execute(&b, v); err != nil {
		return []byte("the page cannot be made: " + template.HTMLEscapeString(err.Error()))
	}
	return b.Bytes()
}

func docsOf(doc *huma.OpenAPI, path string, op *huma.Operation) docsOperation {
	d := docsOperation{ID: op.OperationID, Method: op.Method, Path: path, Summary: op.Summary}
	d.Scope, _ = op.Extensions["x-scope"].(string)
	for p := range strings.SplitSeq(op.Description, "\n\n") {
		if p != "" && !strings.HasPrefix(p, "Scope: ") {
			d.Paragraphs = append(d.Paragraphs, p)
		}
	}
	for _, p := range op.Parameters {
		text := p.Description
		if text == "" && p.Schema != nil {
			text = p.Schema.Description
		}
		d.Parameters = append(d.Parameters, docsParameter{p.Name, p.In, text})
	}
	if op.RequestBody != nil {
		d.Request = docsFields(doc, op.RequestBody.Content, "")
	}
	for _, status := range []string{"200", "201"} {
		if r := op.Responses[status]; r != nil {
			d.Response = docsFields(doc, r.Content, r.Description)
		}
	}
	return d
}

// docsFields lists the members of a body, one level of them.
func docsFields(doc *huma.OpenAPI, content map[string]*huma.MediaType, otherwise string) []docsField {
	for _, t := range []string{"application/json", "application/yaml", "text/event-stream", "application/octet-stream"} {
		m := content[t]
		if m == nil || m.Schema == nil {
			continue
		}
		s := resolve(doc, m.Schema)
		var out []docsField
		for name, p := range s.Properties {
			out = append(out, docsField{name, typeName(doc, p), p.Description})
		}
		slices.SortFunc(out, func(a, b docsField) int { return strings.Compare(a.Name, b.Name) })
		if len(out) == 0 {
			text := s.Description
			if text == "" {
				text = otherwise
			}
			out = []docsField{{t, s.Type, text}}
		}
		return out
	}
	return nil
}

func resolve(doc *huma.OpenAPI, s *huma.Schema) *huma.Schema {
	for s.Ref != "" {
		to := doc.Components.Schemas.SchemaFromRef(s.Ref)
		if to == nil {
			break
		}
		s = to
	}
	return s
}

func typeName(doc *huma.OpenAPI, s *huma.Schema) string {
	r := resolve(doc, s)
	switch {
	case len(r.Enum) > 0:
		b, err := json.Marshal(r.Enum)
		if err == nil {
			return string(b)
		}
	case r.Type == huma.TypeArray && r.Items != nil:
		return "list of " + typeName(doc, r.Items)
	case r.Format != "":
		return r.Type + " (" + r.Format + ")"
	}
	return r.Type
}
