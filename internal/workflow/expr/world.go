package expr

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// A world is what the script of one evaluation sees of its run.
type world struct {
	evaluator *Evaluator
	scope     Scope
	script    bool // a RunJavaScript: outcomes may be set
	outcomes  []string
}

// plainGlobals are the globals that are no functions. Variables come last: one of the
// same name wins.
var plainGlobals = []string{"input", "workflowInstanceId", "workflowDefinitionId", "workflowDefinitionVersion", "correlationId", "currentCulture", "workflowContext"}

// fixedGlobals cannot be shadowed in the language itself.
var fixedGlobals = map[string]bool{"undefined": true, "NaN": true, "Infinity": true, "globalThis": true, "eval": true}

// Global returns a variable, or one of the values.
func (w *world) Global(name string) (any, bool) {
	if fixedGlobals[name] {
		return nil, false
	}
	if v, ok := w.scope.Variable(name); ok {
		return v, true
	}
	switch name {
	case "input":
		return w.scope.Input(), true
	case "workflowInstanceId":
		return w.scope.Instance().InstanceID, true
	case "workflowDefinitionId":
		return w.scope.Instance().DefinitionID, true
	case "workflowDefinitionVersion":
		return int64(w.scope.Instance().DefinitionVersion), true
	case "correlationId":
		return w.scope.Instance().CorrelationID, true
	case "currentCulture":
		return "", true
	case "workflowContext":
		return nil, true
	}
	return nil, false
}

// Globals lists what Global knows.
func (w *world) Globals() []string {
	names := slices.Clone(plainGlobals)
	for name := range w.scope.Variables() {
		if !fixedGlobals[name] && !slices.Contains(plainGlobals, name) {
			names = append(names, name)
		}
	}
	return names
}

// Call is what the prelude calls.
func (w *world) Call(ctx context.Context, name string, args []any) (any, error) {
	arg := func(i int) any {
		if i < len(args) {
			return args[i]
		}
		return nil
	}
	s, services := w.scope, w.evaluator.options.Services
	switch name {
	case "getVariable":
		v, _ := s.Variable(Print(arg(0)))
		return v, nil
	case "setVariable":
		s.SetVariable(Print(arg(0)), arg(1))
		return script.Undefined{}, nil
	case "getTransientVariable":
		v, _ := s.TransientVariable(Print(arg(0)))
		return v, nil
	case "setTransientVariable":
		s.SetTransientVariable(Print(arg(0)), arg(1))
		return script.Undefined{}, nil

	case "known":
		_, ok := s.Activity(Print(arg(0)))
		return ok, nil
	case "names":
		return texts(s.ActivityNames()), nil
	case "output", "getActivityProperty":
		a, ok := s.Activity(Print(arg(0)))
		if !ok {
			return nil, nil
		}
		return outputOf(a, Print(arg(1))), nil
	case "outputs":
		a, ok := s.Activity(Print(arg(0)))
		if !ok {
			return []any{}, nil
		}
		return texts(slices.Sorted(maps.Keys(a.Outputs))), nil
	case "getActivityId":
		if a, ok := s.Activity(Print(arg(0))); ok {
			return a.ID, nil
		}
		return nil, nil
	case "getActivity":
		a, ok := s.Activity(Print(arg(0)))
		if !ok {
			return nil, nil
		}
		out := map[string]any{"id": a.ID, "name": a.Name, "type": a.Type}
		for k, v := range a.Outputs {
			out[k] = v
		}
		return out, nil
	case "findExecutedActivityIdByType":
		if id, ok := s.Executed(Print(arg(0))); ok {
			return id, nil
		}
		return nil, nil

	case "addJournal":
		s.AddJournal(Print(arg(0)), arg(1))
		return script.Undefined{}, nil
	case "setOutcome", "setOutcomes":
		return script.Undefined{}, w.setOutcomes(arg(0))

	case "getWorkflowDefinitionIdByName":
		return w.evaluator.definition(ctx, services.DefinitionByName, Print(arg(0)))
	case "getWorkflowDefinitionIdByTag":
		return w.evaluator.definition(ctx, services.DefinitionByTag, Print(arg(0)))
	case "processField":
		if services.ProcessField == nil {
			return nil, errors.New("there are no processes here whose fields could be read")
		}
		return services.ProcessField(ctx, Print(arg(0)), Print(arg(1)))
	case "queryString", "getRouteValue", "getRemoteIPAddress", "absoluteUrl", "signalUrl":
		return w.http(ctx, name, arg(0))
	}
	return pure(name, arg(0), arg(1))
}

// Waits names the functions that may take a while.
func (w *world) Waits(name string) bool {
	switch name {
	case "processField", "getWorkflowDefinitionIdByName", "getWorkflowDefinitionIdByTag", "signalUrl":
		return true
	}
	return false
}

// pure are the functions that need nothing of the run.
func pure(name string, a, b any) (any, error) {
	switch name {
	case "guid":
		return newGUID(), nil
	case "parseGuid":
		return parseGUID(Print(a))
	case "blank":
		return strings.TrimSpace(Print(a)) == "", nil
	case "base64Encode":
		if b, ok := a.([]byte); ok {
			return base64.StdEncoding.EncodeToString(b), nil
		}
		return base64.StdEncoding.EncodeToString([]byte(Print(a))), nil
	case "base64Decode":
		b, err := decodeBase64(Print(a))
		if err != nil {
			return nil, err
		}
		return strings.ToValidUTF8(string(b), "\uFFFD"), nil
	case "bytes":
		return []byte(Print(a)), nil
	case "text":
		if b, ok := a.([]byte); ok {
			return strings.ToValidUTF8(string(b), "\uFFFD"), nil
		}
		return Print(a), nil
	case "formatInstant":
		t, ok := a.(time.Time)
		if !ok {
			return nil, errors.New("formatInstant needs an instant")
		}
		return formatTime(t, Print(b)), nil
	}
	return nil, fmt.Errorf("there is no function %q", name)
}

func (w *world) setOutcomes(v any) error {
	if !w.script {
		return errors.New("an outcome can be set by a RunJavaScript activity only")
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, o := range list {
		if name := Print(o); name != "" && !slices.Contains(w.outcomes, name) {
			w.outcomes = append(w.outcomes, name)
		}
	}
	return nil
}

func (e *Evaluator) definition(ctx context.Context, find func(context.Context, string) (string, bool), name string) (any, error) {
	if find == nil {
		return nil, errors.New("other workflows cannot be looked up here")
	}
	if id, ok := find(ctx, name); ok {
		return id, nil
	}
	return nil, nil
}

// http answers what needs the HTTP call that the run began with.
func (w *world) http(ctx context.Context, name string, arg any) (any, error) {
	in := w.scope.Instance()
	r := in.Request
	switch name {
	case "signalUrl":
		if w.evaluator.options.Services.SignalURL == nil {
			return nil, errors.New("signals have no addresses here")
		}
		return w.evaluator.options.Services.SignalURL(ctx, Print(arg), in.InstanceID)
	case "absoluteUrl":
		path := "/" + strings.TrimLeft(Print(arg), "/")
		switch {
		case r != nil && r.Host != "":
			return r.Scheme + "://" + r.Host + strings.TrimRight(r.PathBase, "/") + path, nil
		case in.BaseURL != "":
			return strings.TrimRight(in.BaseURL, "/") + path, nil
		}
	}
	if r == nil {
		return nil, fmt.Errorf("%s needs an HTTP request, and this run was not started by one", name)
	}
	switch name {
	case "queryString":
		if v, ok := r.QueryString[Print(arg)]; ok {
			return v, nil
		}
		return nil, nil
	case "getRouteValue":
		return r.RouteValues[Print(arg)], nil
	default:
		return r.RemoteIP, nil
	}
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return guidText(b)
}

func guidText(b [16]byte) string {
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func parseGUID(s string) (any, error) {
	bare := strings.NewReplacer("-", "", "{", "", "}", "", "(", "", ")", "").Replace(strings.TrimSpace(s))
	var b [16]byte
	if n, err := hex.Decode(b[:], []byte(bare[:min(len(bare), 32)])); err != nil || n != 16 || len(bare) != 32 {
		return nil, errors.New("not a GUID; one has 32 hexadecimal digits")
	}
	return guidText(b), nil
}

// decodeBase64 takes the standard and the URL alphabet, padded or not, with
// line breaks.
func decodeBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/", "\n", "", "\r", "", " ", "", "=", "").Replace(s)
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("not base64")
	}
	return b, nil
}

// Print is a value as text: what a template writes and a text field gets.
func Print(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000Z")
	case model.JSON:
		return string(v)
	case fmt.Stringer: // a secret says that it is one
		return v.String()
	}
	b, err := plainJSON(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
