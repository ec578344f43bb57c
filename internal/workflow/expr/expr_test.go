package expr_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	freshet "github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
	"github.com/freshet-dev/freshet/internal/workflow/model"
)

// run is a Scope by hand.
type run struct {
	input      any
	variables  map[string]any
	transient  map[string]any
	activities map[string]*expr.ActivityState
	instance   expr.Instance
	journal    map[string]any
}

func newRun() *run {
	return &run{variables: map[string]any{}, transient: map[string]any{}, activities: map[string]*expr.ActivityState{}, journal: map[string]any{}}
}

func (r *run) Input() any                                { return r.input }
func (r *run) Variable(name string) (any, bool)          { v, ok := r.variables[name]; return v, ok }
func (r *run) SetVariable(name string, v any)            { r.variables[name] = v }
func (r *run) Variables() map[string]any                 { return r.variables }
func (r *run) TransientVariable(name string) (any, bool) { v, ok := r.transient[name]; return v, ok }
func (r *run) SetTransientVariable(name string, v any)   { r.transient[name] = v }
func (r *run) ActivityNames() []string                   { return slices.Sorted(maps.Keys(r.activities)) }
func (r *run) Instance() expr.Instance                   { return r.instance }
func (r *run) AddJournal(key string, v any)              { r.journal[key] = v }
func (r *run) Activity(n string) (*expr.ActivityState, bool) {
	if a, ok := r.activities[n]; ok {
		return a, true
	}
	for _, a := range r.activities {
		if a.ID == n {
			return a, true
		}
	}
	return nil, false
}
func (r *run) Executed(typ string) (string, bool) {
	for _, a := range r.activities {
		if a.Type == typ && a.Outputs != nil {
			return a.ID, true
		}
	}
	return "", false
}

// now is a moment with every field different.
var now = time.Date(2026, 3, 31, 13, 4, 5, 60e6, time.UTC)

func newEvaluator(t testing.TB, s expr.Services) *expr.Evaluator {
	t.Helper()
	engine, err := script.New(expr.ScriptOptions(script.Options{Spare: -1, Now: func() time.Time { return now }}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return expr.New(expr.Options{Engine: engine, Services: s, Now: func() time.Time { return now }})
}

// sample is a run with something of everything.
func sample() *run {
	r := newRun()
	row := model.Row{ObjectID: 12, Values: map[string]any{"Key": "AccessToken", "Data1": "tok", "Data2": ""}, Columns: []string{"Key", "Data1"}}.Object()
	r.variables = map[string]any{
		"AccessToken": row, "n": int64(3), "text": "a'b \"c\"", "list": []any{int64(1), int64(2)}, "at": time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC),
		"obj": map[string]any{"a": map[string]any{"b": "deep"}}, "bytes": []byte("hi"), "html": "<b>&'\"+é</b>", "empty": "",
	}
	request := &model.Request{Path: "/x/7", Method: "GET", QueryString: map[string]string{"q": "1"}, RouteValues: map[string]any{"id": "7"},
		Headers: map[string]string{"Cookie": "c=1", "Host": "h"}, Body: map[string]any{"fileName": "f"}, Scheme: "https", Host: "h:1", Query: "q=1", RemoteIP: "1.2.3.4"}
	r.input = request.Object()
	r.instance = expr.Instance{InstanceID: "i-1", DefinitionID: "d-1", DefinitionVersion: 2, CorrelationID: "corr", ActivityID: "act", Request: request}
	r.activities["list"] = &expr.ActivityState{ID: "a1", Name: "list", Type: "ObjectInstanceList", Outputs: map[string]any{"Output": []any{row}}}
	r.activities["httpAPI"] = &expr.ActivityState{ID: "a2", Name: "httpAPI", Type: "SendHttpRequest", Outputs: map[string]any{
		"Response": model.Response{StatusCode: 200, Headers: map[string]string{"A": "b"}}.Object(), "ResponseContent": model.JSON(`{"z":1.50,"a":[{"id":1}]}`)}}
	r.activities["child"] = &expr.ActivityState{ID: "a3", Name: "child", Type: "RunWorkflow", Outputs: map[string]any{
		"Output": model.ChildResult{WorkflowOutput: "token!", WorkflowInstanceID: "c-1"}.Object()}}
	r.activities["later"] = &expr.ActivityState{ID: "a4", Name: "later", Type: "If"}
	return r
}

func TestJavaScript(t *testing.T) {
	e := newEvaluator(t, expr.Services{
		DefinitionByName: func(_ context.Context, name string) (string, bool) { return "id-of-" + name, name == "Child" },
		DefinitionByTag:  func(_ context.Context, tag string) (string, bool) { return "tagged", tag == "t" },
		ProcessField:     func(_ context.Context, i, f string) (any, error) { return i + "/" + f, nil },
	})
	ctx, done := e.Open(t.Context())
	defer done()
	for _, c := range []struct {
		text string
		want any
	}{
		// what the samples do
		{`activities.list.Output()[0].ObjectId`, int64(12)},
		{`getVariable("AccessToken").Data1`, "tok"},
		{`getVariable("AccessToken").Data2`, ""},
		{`var t = getVariable("AccessToken")
const data2 = t.Data2;
const now = new Date();
function isEarlierThanNow(dateString) {
    if (!dateString) { return true; }
    const date = new Date(dateString);
    if (isNaN(date.getTime())) { return true; }
    return date < now;
}
return isEarlierThanNow(data2);
//console.log(isEarlier);
`, true},
		{`return activities.child.Output().workflowOutput + ' - failed'`, "token! - failed"},
		{`activities.child.Output().WorkflowInstanceId`, "c-1"},
		{`activities.httpAPI.Response().StatusCode.toString()`, "200"},
		{`JSON.stringify(activities.httpAPI.ResponseContent(),null,2)`, "{\n  \"z\": 1.5,\n  \"a\": [\n    {\n      \"id\": 1\n    }\n  ]\n}"},
		{`return 'error: '+getVariable("Method2")+" "+getVariable("api")`, "error: null null"},
		{`return getWorkflowDefinitionIdByName("Child")`, "id-of-Child"},
		{`getWorkflowDefinitionIdByName("Other")`, nil},
		{`getWorkflowDefinitionIdByTag("t")`, "tagged"},
		{`!isNullOrEmpty(activities.httpAPI.ResponseContent().authToken)`, false},

		// variables
		{`setVariable("x", {d: new Date(0)}); getVariable("x").d.getTime()`, int64(0)},
		{`n + 1`, int64(4)},
		{`let n = 9; n`, int64(9)},
		{`list.length + list.Count + list.count + Array.from(list).map(x => x * 2)[1]`, int64(10)},
		{`list.push(5); list.length`, int64(3)},
		{`at.getTime()`, time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC).UnixMilli()},
		{`at`, time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)},
		{`bytes.length + Encoding.UTF8.GetString(bytes)`, "2hi"},
		{`Encoding.UTF8.getBytes("é").length`, int64(2)},
		{`setTransientVariable("t", 1); getTransientVariable("t") + "" + getTransientVariable("u")`, "1null"},
		{`typeof nothing`, "undefined"},

		// objects of the platform
		{`input.body.fileName + input.Body.fileName + input.method + input.headers.Cookie`, "ffGETc=1"},
		{`input.body.FileName`, nil},
		{`setVariable("in", input); getVariable("in")?.headers?.Cookie + getVariable("in").Path`, "c=1/x/7"},
		{`Object.keys(input).join()`, "Path,Method,QueryString,RouteValues,Headers,Body,RawBody"},
		{`JSON.stringify(activities.list.Output())`, `[{"ObjectId":12,"Key":"AccessToken","Data1":"tok","Data2":""}]`},
		{`var r = getVariable("AccessToken"); r.objectId = 13; JSON.stringify(r)`, `{"ObjectId":13,"Key":"AccessToken","Data1":"tok","Data2":""}`},
		{`AccessToken instanceof Object && AccessToken.constructor === Object && AccessToken.hasOwnProperty("Key")`, true},
		{`({...AccessToken}).ObjectId`, int64(12)},
		{`AccessToken.key`, nil},

		// activities
		{`activities.later.Output()`, nil},
		{`activities.list.Nothing()`, nil},
		{`activities.list.output()[0].objectId`, int64(12)},
		{`activities["list"].Output().Count`, int64(1)},
		{`typeof activities.nobody`, "undefined"},
		{`Object.keys(activities).join()`, "child,httpAPI,later,list"},
		{`"list" in activities && !("nobody" in activities)`, true},
		{`getActivityId("list") + getActivity("a2").type + getActivityProperty("child", "Output").WorkflowOutput + findExecutedActivityIdByType("RunWorkflow")`, "a1SendHttpRequesttoken!a3"},
		{`getActivity("nobody")`, nil},

		// the run and its request
		{`workflowInstanceId + workflowDefinitionId + workflowDefinitionVersion + correlationId + currentCulture + workflowContext`, "i-1d-12corrnull"},
		{`queryString("q") + getRouteValue("id") + getRemoteIPAddress() + absoluteUrl("/p") + queryString("none")`, "171.2.3.4https://h:1/pnull"},
		{`addJournal("k", [1]); 1`, int64(1)},
		{`processField("TokenKeeper-1","AccessToken")`, "TokenKeeper-1/AccessToken"},

		// helpers
		{`[isNullOrEmpty(null), isNullOrEmpty(undefined), isNullOrEmpty(""), isNullOrEmpty([]), isNullOrEmpty({}), isNullOrEmpty(" "), isNullOrEmpty(0)].join()`, "true,true,true,false,false,false,false"},
		{`[isNullOrWhiteSpace(" \t\u00a0"), isNullOrWhiteSpace(null), isNullOrWhiteSpace([]), isNullOrWhiteSpace("x")].join()`, "true,true,false,false"},
		{`jsonEncode({a:[1]}) + jsonDecode('{"b":2}').b`, `{"a":[1]}2`},
		{`base64Encode("é") + base64Decode("w6k=") + base64Decode("w6k") + base64Encode({a:1})`, "w6k=éée" + "yJhIjoxfQ=="},
		{`guid().length + parseGuid("{00112233445566778899AABBCCDDEEFF}") + Guid.Empty.length`, "3600112233-4455-6677-8899-aabbccddeeff36"},
		{`Guid.NewGuid() !== Guid.newGuid()`, true},
		{`typeof console + typeof setTimeout + typeof fetch + typeof require + typeof getConfig`, "undefinedundefinedundefinedundefinedundefined"},

		// instants
		{`currentInstant().toISOString()`, "2026-03-31T13:04:05.060Z"},
		{`currentYear()`, int64(2026)},
		{`"" + startOfMonth() + endOfMonth() + startOfPreviousMonth()`, "2026-03-012026-03-312026-02-01"},
		{`instantFromUtc(2026, 1, 2, 3, 4, 5).toISOString()`, "2026-01-02T03:04:05.000Z"},
		{`addDurationTo(instantFromUtc(2026,1,1,0,0,0), durationFromMinutes(90)).toISOString()`, "2026-01-01T01:30:00.000Z"},
		{`plus(currentInstant(), Duration.FromDays(1)).toISOString()`, "2026-04-01T13:04:05.060Z"},
		{`subtractDurationFrom(currentInstant(), durationFromHours(1)).getHours()`, int64(12)},
		{`minus(instantFromUtc(2026,1,2,0,0,0), instantFromUtc(2026,1,1,0,0,0)).TotalHours`, int64(24)},
		{`Duration.FromMinutes(5)`, "00:05:00"},
		{`"" + Duration.FromSeconds(90061.5)`, "1.01:01:01.500"},
		{`Duration.FromMinutes(90).totalHours + Duration.FromMinutes(90).Minutes`, 31.5},
		{`durationBetween(new Date(0), new Date(1500)).TotalSeconds`, 1.5},
		{`currentInstant().Plus(Period.FromMonths(1)).toISOString()`, "2026-04-30T13:04:05.060Z"},
		{`"" + periodFromNow(instantFromUtc(2026, 5, 1, 14, 4, 5))`, "P1M1DT59M59.94S"},
		{`"" + localDateFromInstant(currentInstant()).plusDays(1)`, "2026-04-01"},
		{`instantFromLocalDate(new LocalDate(2026, 2, 3)).toISOString()`, "2026-02-03T00:00:00.000Z"},
		{`formatInstant(currentInstant(), "yyyy-MM-dd HH:mm:ss.fff dddd 'at' h tt")`, "2026-03-31 13:04:05.060 Tuesday at 1 PM"},
		{`formatInstant(currentInstant())`, "2026-03-31T13:04:05Z"},
		{`Instant.FromUnixTimeSeconds(5).toUnixTimeMilliseconds()`, int64(5000)},

		{``, nil},
		{"\n ", nil},
	} {
		r := sample()
		got, err := e.Eval(ctx, r, workflow.JavaScript, c.text, expr.Field{})
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s\n = %#v, %v; want %#v", c.text, got, err, c.want)
		}
	}
}

func TestJavaScriptErrors(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	for _, c := range []struct{ text, want string }{
		{`getVariable("BaseURL").Data1+getVariable("api")`, "setting `SendHttpRequest.Url`: JavaScript: TypeError: cannot read property 'Data1' of null (line 1)"},
		{`activities.nobody.Output()`, "setting `SendHttpRequest.Url`: JavaScript: TypeError: cannot read property 'Output' of undefined (line 1)"},
		{`setOutcome("x")`, "an outcome can be set by a RunJavaScript activity only"},
		{`getWorkflowDefinitionIdByName("x")`, "other workflows cannot be looked up here"},
		{`queryString("x")`, "needs an HTTP request, and this run was not started by one"},
		{`processField("a","b")`, "there are no processes here"},
		{`parseGuid("x")`, "not a GUID"},
		{`base64Decode("*")`, "not base64"},
		{`console.log(1)`, "'console' is not defined"},
		{`new Date(NaN).toISOString()`, "RangeError"},
	} {
		_, err := e.Eval(t.Context(), newRun(), workflow.JavaScript, c.text, expr.Field{Activity: "SendHttpRequest", Name: "Url"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", c.text, err, c.want)
		}
	}
	var failed *expr.Error
	if _, err := expr.New(expr.Options{}).Eval(t.Context(), newRun(), workflow.JavaScript, "1", expr.Field{Activity: "If", Name: "Condition"}); !errors.Is(err, expr.ErrNoScripts) || !errors.As(err, &failed) {
		t.Errorf("without an engine: %v", err)
	}
}

func TestScript(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	r := sample()
	r.input = map[string]any{"api": "/State", "method2": "POST", "content2": map[string]any{"PortId": int64(1)}}
	v, outcomes, err := e.Script(t.Context(), r, `let parameters = input
setVariable("api", parameters.api);
setVariable("Method", parameters.method2);
setVariable("Content", JSON.stringify(parameters.content2));
setOutcome("ok"); setOutcomes(["more", "ok"]);
return {done: true}`)
	if err != nil || !reflect.DeepEqual(v, map[string]any{"done": true}) || !slices.Equal(outcomes, []string{"ok", "more"}) {
		t.Errorf("= %v, %v, %v", v, outcomes, err)
	}
	if r.variables["api"] != "/State" || r.variables["Method"] != "POST" || r.variables["Content"] != `{"PortId":1}` {
		t.Errorf("variables = %v", r.variables)
	}
	if _, outcomes, err := e.Script(t.Context(), r, `1`); outcomes != nil || err != nil {
		t.Errorf("no outcome: %v, %v", outcomes, err)
	}
	if _, _, err := e.Script(t.Context(), r, `var x = ;`); err == nil || !strings.HasPrefix(err.Error(), "setting `RunJavaScript.Script`: JavaScript: SyntaxError") {
		t.Errorf("syntax: %v", err)
	}
}

func TestOtherSyntaxes(t *testing.T) {
	var warned []string
	e := newEvaluator(t, expr.Services{
		Secret: func(_ context.Context, typ, name string) (freshet.Secret, bool, error) {
			switch typ + "|" + name {
			case "OAuth2|EntraID: WoW":
				return freshet.NewSecret("Bearer tok"), true, nil
			case "|plain":
				return freshet.NewSecret("p"), true, nil
			case "OAuth2|broken":
				return freshet.Secret{}, false, errors.New("the connection needs consent")
			}
			return freshet.Secret{}, false, nil
		},
		Warn: func(_ context.Context, _ expr.Scope, what string) { warned = append(warned, what) },
	})
	eval := func(syntax, text string, f expr.Field) (any, error) {
		return e.Property(t.Context(), sample(), &workflow.Property{Name: f.Name, Syntax: syntax, Expressions: map[string]string{syntax: text}}, f)
	}
	for _, c := range []struct {
		syntax, text string
		kind         expr.Kind
		want         any
	}{
		{"Literal", " as it is\n", expr.Text, " as it is\n"},
		{"Literal", "", expr.Text, ""},
		{"Literal", "True", expr.Bool, true},
		{"Literal", " ", expr.Bool, nil},
		{"Literal", "200", expr.Int, int64(200)},
		{"Literal", "12", expr.Any, "12"},
		{"Json", `["200"]`, expr.Ints, []any{int64(200)}},
		{"Json", `["a", 1]`, expr.Texts, []any{"a", "1"}},
		{"Json", `{"a":{"b":1}}`, expr.Map, map[string]any{"a": map[string]any{"b": int64(1)}}},
		{"Json", ``, expr.Map, nil},
		{"Json", `"x"`, expr.Text, "x"},
		{"Variable", "n", expr.Any, int64(3)},
		{"Variable", "nobody", expr.Any, nil},
		{"Output", "child.Output", expr.Any, sample().activities["child"].Outputs["Output"]},
		{"Secret", "empty", expr.Text, nil},
		{"Secret", "", expr.Text, nil},
		{"Secret", "OAuth2:nobody", expr.Text, nil},
		{"JavaScript", `" https://x/a b\n"`, expr.URL, "https://x/a%20b"},
		{"JavaScript", `activities.list.Output().length`, expr.Bool, true},
		{"JavaScript", `({a: [1]})`, expr.Text, `{"a":[1]}`},
		{"JavaScript", `activities.list.Output()`, expr.Text, `[{"ObjectId":12,"Key":"AccessToken","Data1":"tok","Data2":""}]`},
		{"JavaScript", `({d: new Date(0)})`, expr.Map, map[string]any{"d": time.Unix(0, 0).UTC()}},
		{"JavaScript", `""`, expr.Map, nil},
		{"JavaScript", `return "return 5"`, expr.Code, `return "return 5"`},
		{"Liquid", `{{ Variables.n }}`, expr.Int, int64(3)},
		{"Liquid", `{{ Variables.nobody }}`, expr.Int, nil},
		{"Liquid", ``, expr.Map, nil},
		{"Switch", `[{"name":"a","syntax":"JavaScript","expressions":{"$id":"1","JavaScript":"n == 3"}},{"name":"b","syntax":"JavaScript","expressions":{"JavaScript":"nope.x"}},
			{"name":"c","expressions":{"Literal":"true"}},{"name":"d","syntax":"Liquid","expressions":{"Liquid":"{{ Variables.n }}"}}]`, expr.Cases,
			[]expr.Case{{Name: "a", Met: true}, {Name: "b"}, {Name: "c", Met: true}, {Name: "d"}}},
	} {
		got, err := eval(c.syntax, c.text, expr.Field{Activity: "T", Name: "P", Kind: c.kind})
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %q as %s = %#v, %v; want %#v", c.syntax, c.text, c.kind, got, err, c.want)
		}
	}
	if len(warned) != 3 || !strings.Contains(warned[0], `"OAuth2:nobody"`) || !strings.Contains(warned[1], `"b" counts as not met`) {
		t.Errorf("warnings = %q", warned)
	}
	for ref, want := range map[string]string{"OAuth2:EntraID: WoW": "Bearer tok", "plain": "p"} {
		got, err := eval("Secret", ref, expr.Field{Kind: expr.Text})
		if s, ok := got.(freshet.Secret); err != nil || !ok || s.Reveal() != want {
			t.Errorf("secret %s = %v, %v", ref, got, err)
		}
	}
	for _, c := range []struct{ syntax, text, want string }{
		{"Secret", "OAuth2:broken", "setting `T.P`: Secret: secret \"OAuth2:broken\": the connection needs consent"},
		{"Json", `{"a"`, "setting `T.P`: Json: unexpected end of JSON input"},
		{"Tcl", `puts`, "nothing here evaluates the syntax \"Tcl\""},
		{"JavaScript", `({})`, "setting `T.P`: an object where a whole number is wanted"},
		{"JavaScript", `2.5`, "setting `T.P`: the number 2.5 where a whole number is wanted"},
		{"JavaScript", `"secret text"`, "setting `T.P`: a text of 11 characters where a whole number is wanted"},
		{"Output", `nobody.Output`, "there is no activity \"nobody\""},
	} {
		_, err := eval(c.syntax, c.text, expr.Field{Activity: "T", Name: "P", Kind: expr.Int})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v; want %s", c.syntax, c.text, err, c.want)
		}
	}
}

func TestLiveExpression(t *testing.T) {
	e := newEvaluator(t, expr.Services{})
	p := func(syntax string, expressions ...string) *workflow.Property {
		m := map[string]string{}
		for i := 0; i < len(expressions); i += 2 {
			m[expressions[i]] = expressions[i+1]
		}
		return &workflow.Property{Syntax: syntax, Expressions: m}
	}
	for _, c := range []struct {
		p    *workflow.Property
		f    expr.Field
		want any
	}{
		{p("JavaScript", "Literal", "POST", "JavaScript", `"GET"`), expr.Field{Kind: expr.Text}, "GET"},
		{p("", "Json", `["200"]`), expr.Field{Kind: expr.Ints, Syntax: "Json"}, []any{int64(200)}},
		{p("", "JavaScript", `true`), expr.Field{Kind: expr.Bool}, nil},
		{p("", "Literal", `x`, "Json", `[1]`), expr.Field{Kind: expr.Text}, "x"},
		{p("Liquid", "Literal", "x"), expr.Field{Kind: expr.Text}, nil},
		{nil, expr.Field{Kind: expr.Text}, nil},
	} {
		got, err := e.Property(t.Context(), newRun(), c.p, c.f)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v = %#v, %v; want %#v", c.p, got, err, c.want)
		}
	}
}

func TestConvert(t *testing.T) {
	row := model.Row{ObjectID: 1}.Object()
	for _, c := range []struct {
		v    any
		f    expr.Field
		want any
	}{
		{1.5, expr.Field{Kind: expr.Text}, "1.5"},
		{true, expr.Field{Kind: expr.Text}, "true"},
		{time.UnixMilli(0), expr.Field{Kind: expr.Text}, "1970-01-01T00:00:00.000Z"},
		{[]byte("x"), expr.Field{Kind: expr.Text}, "x"},
		{map[string]any{"a": "<&>"}, expr.Field{Kind: expr.Text}, `{"a":"<&>"}`},
		{int64(0), expr.Field{Kind: expr.Bool}, false},
		{0.1, expr.Field{Kind: expr.Bool}, true},
		{" FALSE ", expr.Field{Kind: expr.Bool}, false},
		{"12.0", expr.Field{Kind: expr.Int}, int64(12)},
		{"1e2", expr.Field{Kind: expr.Float}, 100.0},
		{"ok", expr.Field{Kind: expr.Enum, Options: []string{"OK", "Created"}}, "OK"},
		{int64(200), expr.Field{Kind: expr.Enum, Options: []string{"OK"}}, "200"},
		{"anything", expr.Field{Kind: expr.Enum}, "anything"},
		{"GET", expr.Field{Kind: expr.Texts}, []any{"GET"}},
		{`["GET", 5, null]`, expr.Field{Kind: expr.Texts}, []any{"GET", "5"}},
		{model.JSON(`[1,{"a":2}]`), expr.Field{Kind: expr.List}, []any{int64(1), map[string]any{"a": int64(2)}}},
		{`{"a": 1}`, expr.Field{Kind: expr.Map}, map[string]any{"a": int64(1)}},
		{row, expr.Field{Kind: expr.Map}, map[string]any{"ObjectId": int64(1)}},
		{row, expr.Field{Kind: expr.Any}, row},
		{"", expr.Field{Kind: expr.Int}, nil},
		{nil, expr.Field{Kind: expr.Text}, nil},
	} {
		got, err := expr.Convert(c.v, c.f)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%#v as %s = %#v, %v; want %#v", c.v, c.f.Kind, got, err, c.want)
		}
	}
	for _, c := range []struct {
		v    any
		f    expr.Field
		want string
	}{
		{"maybe", expr.Field{Kind: expr.Bool}, "a text of 5 characters where true or false is wanted"},
		{[]any{}, expr.Field{Kind: expr.Bool}, "a list where true or false is wanted"},
		{"x", expr.Field{Kind: expr.List}, "a text of 1 characters where a list is wanted"},
		{"x", expr.Field{Kind: expr.Ints}, "element 0: a text of 1 characters where a whole number is wanted"},
		{"x", expr.Field{Kind: expr.Map}, "a text that is no JSON object"},
		{"Teapot", expr.Field{Kind: expr.Enum, Options: []string{"OK", "Created"}}, "is none of OK, Created"},
		{freshet.NewSecret("s"), expr.Field{Kind: expr.Int}, "a secret is a text"},
	} {
		if _, err := expr.Convert(c.v, c.f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%#v as %s: %v; want %s", c.v, c.f.Kind, err, c.want)
		}
	}
}
