package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet/internal/access"
)

const maxBody = 1 << 20

// document is the OpenAPI document before its operations.
func (a *API) document() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	version := a.o.Version
	if version == "" {
		version = "dev"
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Freshet", Version: version,
				Description: "Valid access tokens for HTTP APIs, and calls made with them. Errors are application/problem+json (RFC 9457) with a stable type. Times are RFC 3339 in UTC. Lists page with limit and cursor: an answer that has next_cursor goes on there."},
			Servers: []*huma.Server{{URL: a.o.BaseURL}},
			Components: &huma.Components{Schemas: registry, SecuritySchemes: map[string]*huma.SecurityScheme{
				"key": {Type: "http", Scheme: "bearer", BearerFormat: "fk_…", Description: "An API key. Each operation says which scope it needs; admin has all."},
			}},
			Tags: []*huma.Tag{
				{Name: "tokens", Description: "Valid access tokens."},
				{Name: "connections", Description: "Grants: one account at one provider each."},
				{Name: "resources", Description: "What people declare: providers, clients, connections, webhooks, network."},
				{Name: "runs", Description: "What ran, and every step of it."},
				{Name: "schedules", Description: "Tasks that fire by the clock or on demand."},
				{Name: "workflows", Description: "Definitions, their versions, their import, and running them."},
				{Name: "tables", Description: "Rows that workflows and scripts read and change."},
				{Name: "events", Description: "What happened, as lists and as streams."},
				{Name: "operate", Description: "Keys, audit, master key, backup."},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}

// describe fills in what all operations have in common.
func (a *API) describe(op *huma.Operation, u rule) {
	op.Security = []map[string][]string{{"key": {}}}
	if op.MaxBodyBytes == 0 {
		op.MaxBodyBytes = maxBody
	}
	need := string(u.verb)
	if u.verb != access.Read && u.verb != access.Admin {
		need += ":{" + u.name + "}"
	}
	op.Extensions = map[string]any{"x-scope": need}
	op.Description = strings.TrimSpace(op.Description + "\n\nScope: " + need + ".")
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		op.Responses[strconv.Itoa(status)] = a.problemResponse(http.StatusText(status))
	}
}

func (a *API) problemResponse(text string) *huma.Response {
	return &huma.Response{Description: text, Content: map[string]*huma.MediaType{"application/problem+json": {Schema: refusal{}.Schema(nil)}}}
}

// docsEndpoints serve the document and its page. They are made last: the
// document is whole then.
func (a *API) docsEndpoints() {
	a.openapi = sync.OnceValue(func() []byte {
		b, err := json.MarshalIndent(a.huma.OpenAPI(), "", " ")
		if err != nil {
			a.log.Error("the OpenAPI document cannot be written", "error", err)
		}
		return b
	})
	a.page = sync.OnceValue(func() []byte { return docsPage(a.huma.OpenAPI()) })
	a.mux.HandleFunc("GET /api/v1/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		serve(w, "application/json", a.openapi())
	})
	a.mux.HandleFunc("GET /api/docs", func(w http.ResponseWriter, r *http.Request) {
		page(w)
		serve(w, "text/html; charset=utf-8", a.page())
	})
}

func serve(w http.ResponseWriter, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}
