package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/access"
	"github.com/freshet-dev/freshet/internal/audit"
	"github.com/freshet-dev/freshet/internal/flow"
	"github.com/freshet-dev/freshet/internal/grant"
	"github.com/freshet-dev/freshet/internal/problem"
	"github.com/freshet-dev/freshet/internal/refresh"
	"github.com/freshet-dev/freshet/internal/resource"
	"github.com/freshet-dev/freshet/internal/store"
)

// problemOf is the table of the errors that only this package meets, before
// problem.FromError, which knows the rest.
func (a *API) problemOf(err error) *problem.Problem {
	p := lookup(err)
	if p == nil {
		_, known := problem.FromError(err)
		p = &known
	}
	if p.Cause == nil {
		p.Cause = err
	}
	if e, ok := errors.AsType[*freshet.StateError](err); ok && e.State == freshet.StateReauth && p.Extra != nil {
		p.Extra["connect_url"] = a.o.BaseURL + "/api/v1/connections/" + e.Name + "/connect"
	}
	return p
}

func lookup(err error) *problem.Problem {
	if p := identity(err); p != nil {
		return p
	}
	if p := runProblem(err); p != nil {
		return p
	}
	if p := tableProblem(err); p != nil {
		return p
	}
	if p := appProblem(err); p != nil {
		return p
	}
	if p := componentProblem(err); p != nil {
		return p
	}
	if p := workflowProblem(err); p != nil {
		return p
	}
	if p := processProblem(err); p != nil {
		return p
	}
	if f, ok := errors.AsType[resource.Faults](err); ok {
		return faults(f)
	}
	if e, ok := errors.AsType[*resource.ReferencedError](err); ok {
		p := problem.New(http.StatusConflict, "referenced", "Something else uses it", e.Error())
		p.Extra = map[string]any{"hint": e.Hint()}
		return p
	}
	if e, ok := errors.AsType[*resource.NotFoundError](err); ok {
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", e.Error())
	}
	if e, ok := errors.AsType[*refresh.DuplicateError](err); ok {
		p := problem.New(http.StatusConflict, "duplicate-grant", "Another connection holds the same refresh token", e.Error())
		p.Extra = map[string]any{"connection": e.Name, "other": e.Other}
		return p
	}
	if e, ok := errors.AsType[*refresh.SubjectError](err); ok {
		p := problem.New(http.StatusConflict, "other-account", "This is another account than before", e.Error())
		p.Extra = map[string]any{"connection": e.Name, "hint": "repeat it with ?other_account=true if the other account is meant"}
		return p
	}
	if e, ok := errors.AsType[*flow.GrantError](err); ok {
		return problem.New(http.StatusUnprocessableEntity, "cannot-connect", "The connection cannot be authorized in this way", e.Error())
	}
	if e, ok := errors.AsType[*flow.ReturnError](err); ok {
		return problem.New(http.StatusBadRequest, "bad-return", "The browser cannot be sent there", e.Error())
	}
	if e, ok := errors.AsType[*access.RequestError](err); ok {
		return invalid("body."+e.Field, e.Detail)
	}
	if e, ok := errors.AsType[*grant.Error](err); ok {
		p := problem.New(http.StatusBadGateway, "provider-refused", "The provider did not take part", e.Error())
		if e.Class == grant.Misconfigured {
			p.Status, p.Slug, p.Title = http.StatusFailedDependency, "misconfigured", "The connection's definition cannot be carried out"
		}
		p.RetryAfter = e.RetryAfter
		return p
	}
	switch {
	case errors.Is(err, flow.ErrUnknown):
		return problem.New(http.StatusNotFound, "unknown-flow", "There is no such authorization", err.Error())
	case errors.Is(err, audit.ErrUnrecorded):
		return &problem.Problem{Slug: "unrecorded", Title: "The request could not be put on record, so it was not carried out", Status: http.StatusServiceUnavailable,
			Detail: "the audit cannot be written: look at the server's log and disk", RetryAfter: time.Second}
	case errors.Is(err, refresh.ErrResting):
		return &problem.Problem{Slug: "refresh-resting", Title: "The API refuses tokens that are fresh", Status: http.StatusConflict,
			Detail: "another refresh would not help; look at scopes, account and API key", RetryAfter: time.Minute}
	case errors.Is(err, resource.ErrBusy):
		return &problem.Problem{Slug: "busy", Title: "Others are changing resources", Status: http.StatusServiceUnavailable, Detail: "nothing was changed; ask again", RetryAfter: time.Second}
	case errors.Is(err, store.ErrExists):
		return problem.New(http.StatusConflict, "name-taken", "The name is taken", "choose another name, or revoke the one that has it")
	case errors.Is(err, store.ErrReadOnly):
		return &problem.Problem{Slug: "store-read-only", Title: "The store takes no writes just now", Status: http.StatusServiceUnavailable,
			Detail: "nothing was changed; look at the server's disk and log", RetryAfter: 5 * time.Second}
	case errors.Is(err, freshet.ErrNotFound):
		return problem.New(http.StatusNotFound, "not-found", "There is nothing of that name", strings.TrimPrefix(err.Error(), "freshet: "))
	}
	return nil
}

// identity is what is wrong with who asks.
func identity(err error) *problem.Problem {
	if e, ok := errors.AsType[*access.LimitedError](err); ok {
		return &problem.Problem{Slug: "too-many-failures", Title: "Too many wrong API keys came from this address", Status: http.StatusTooManyRequests,
			Detail: "wait, and correct the key; a right key is taken at any time", RetryAfter: e.Wait}
	}
	detail := ""
	switch {
	case errors.Is(err, access.ErrMissing):
		detail = "send one as Authorization: Bearer fk_…; make one with freshet keys create"
	case errors.Is(err, access.ErrUnknown):
		detail = "it is not one of this server's, or it was revoked; make one with freshet keys create"
	case errors.Is(err, access.ErrExpired):
		detail = "it has expired; make another with freshet keys create"
	case errors.Is(err, access.ErrAddress):
		p := problem.New(http.StatusForbidden, "address-refused", "The API key may not be used from this address", "its address list names others")
		return p
	default:
		return nil
	}
	p := problem.New(http.StatusUnauthorized, "unauthorized", "A valid API key is needed", detail)
	p.Header = http.Header{"Www-Authenticate": {`Bearer realm="freshet"`}}
	return p
}

// faults is what is wrong with resources, by file, line and path.
func faults(f resource.Faults) *problem.Problem {
	const most = 200
	p := problem.New(http.StatusUnprocessableEntity, "invalid-resources", "The resources do not fit", f.Error())
	if errors.Is(f, resource.ErrPinned) {
		p.Status, p.Slug, p.Title = http.StatusConflict, "secret-pinned", "A stored secret would go to another host"
	}
	p.Extra = map[string]any{"faults": f[:min(len(f), most)], "hint": "nothing was changed; correct the resources and apply again"}
	return p
}

// invalid says that one value of a request is not what it should be.
func invalid(location, message string) *problem.Problem {
	return invalids([]detail{{Message: message, Location: location}})
}

// A detail is one thing that is wrong with a request.
type detail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
}

func invalids(list []detail) *problem.Problem {
	var b strings.Builder
	for i, d := range list {
		if i == 10 {
			fmt.Fprintf(&b, "; and %d more", len(list)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		if d.Location != "" {
			b.WriteString(d.Location + ": ")
		}
		b.WriteString(d.Message)
	}
	p := problem.New(http.StatusUnprocessableEntity, "invalid-request", "The request is not what it should be", b.String())
	p.Extra = map[string]any{"errors": list}
	return p
}

// A refusal is a Problem as huma takes it.
type refusal struct{ *problem.Problem }

// GetStatus returns the status.
func (r refusal) GetStatus() int { return r.Status }

// ContentType is that of problems.
func (r refusal) ContentType(string) string { return "application/problem+json" }

// GetHeaders returns the headers that go with it.
func (r refusal) GetHeaders() http.Header {
	h := r.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if r.RetryAfter > 0 {
		h.Set("Retry-After", fmt.Sprint(int((r.RetryAfter+time.Second-1)/time.Second)))
	}
	return h
}

// Schema describes it in the OpenAPI document.
func (refusal) Schema(huma.Registry) *huma.Schema {
	text := &huma.Schema{Type: huma.TypeString}
	return &huma.Schema{Type: huma.TypeObject, Description: "RFC 9457. The type is stable: docs/problems.md lists them.",
		Required: []string{"type", "title", "status"},
		Properties: map[string]*huma.Schema{
			"type": {Type: huma.TypeString, Format: "uri"}, "title": text, "status": {Type: huma.TypeInteger},
			"detail": {Type: huma.TypeString, Description: "What is wrong here, and what to do."}, "hint": text, "connection": text, "state": text, "reason": text, "connect_url": text,
			"retry_after": {Type: huma.TypeInteger, Description: "Seconds."},
			"errors":      {Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{"message": text, "location": text}, AdditionalProperties: true}},
			"faults":      {Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}},
		},
		AdditionalProperties: true}
}

// humaErrors makes huma's own errors ours. Its hooks are variables of the
// package, so that they are set once for all APIs of the process.
var humaErrors = sync.OnceFunc(func() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return refusal{ofHuma(status, msg, errs)}
	}
	huma.NewErrorWithContext = func(_ huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return refusal{ofHuma(status, msg, errs)}
	}
})

// ofHuma says what huma found wrong. It leaves out the values that it found,
// which may be secrets, and of its own failures everything.
func ofHuma(status int, msg string, errs []error) *problem.Problem {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return problem.New(status, "too-large", "The request body is too large", "")
	case status == http.StatusUnsupportedMediaType:
		return problem.New(status, "unsupported-media-type", "The body is of a type that is not read here", "send application/json")
	case status == http.StatusRequestTimeout:
		return problem.New(status, "timeout", "The request body did not arrive in time", "")
	case status >= 500 || status == 0:
		p := problem.New(http.StatusInternalServerError, "internal", "Something went wrong inside the server", "its log says what")
		p.Cause = errors.Join(append([]error{errors.New(msg)}, errs...)...)
		return p
	}
	var list []detail
	for _, err := range errs {
		d, ok := err.(huma.ErrorDetailer)
		if !ok {
			list = append(list, detail{Message: plainJSON(err)})
			continue
		}
		e := d.ErrorDetail()
		list = append(list, detail{Message: e.Message, Location: e.Location})
	}
	if len(list) == 0 {
		list = []detail{{Message: msg}}
	}
	p := invalids(list)
	p.Status = status
	return p
}

// plainJSON says what is wrong with a JSON text without quoting it.
func plainJSON(err error) string {
	if strings.Contains(err.Error(), "JSON") || strings.Contains(err.Error(), "json") || strings.Contains(err.Error(), "character") || strings.Contains(err.Error(), "EOF") {
		return "the body is not JSON"
	}
	return "the body does not read"
}
