package expr_test

import (
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/script"
	"github.com/freshet-dev/freshet/internal/workflow"
	"github.com/freshet-dev/freshet/internal/workflow/expr"
)

// callMyAPI are the expressions that one run of CallMyAPI evaluates while its
// token is valid, in their order.
var callMyAPI = []struct{ syntax, text string }{
	{workflow.JavaScript, `activities.list.Output()[0].ObjectId`},
	{workflow.JavaScript, "var t = getVariable(\"AccessToken\")\nconst data2 = t.Data2;\nconst now = new Date();\nfunction isEarlierThanNow(dateString) {\n    if (!dateString) {\n        return true;\n    }\n    const date = new Date(dateString);\n    if (isNaN(date.getTime())) {\n        return true;\n    }\n    return date < now;\n}\nreturn isEarlierThanNow(data2);\n"},
	{workflow.JavaScript, `getVariable("AccessToken").Data1`},
	{workflow.JavaScript, `activities.list.Output()[0].ObjectId`},
	{workflow.JavaScript, `getVariable("AccessToken").Data1+getVariable("api")`},
	{workflow.JavaScript, `getVariable("Method")`},
	{workflow.JavaScript, `getVariable("Content")` + "\n"},
	{workflow.Liquid, `Bearer {{Variables.access_token}}`},
	{workflow.JavaScript, `return 'finished '+getVariable("Method2")+" "+getVariable("api") `},
	{workflow.JavaScript, `JSON.stringify(activities.httpAPI.ResponseContent(),null,2)`},
}

func benchEvaluator(b *testing.B) *expr.Evaluator {
	engine, err := script.New(expr.ScriptOptions(script.Options{Now: time.Now}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { engine.Close() })
	return expr.New(expr.Options{Engine: engine})
}

func burst(b *testing.B, e *expr.Evaluator, r *run) {
	ctx, done := e.Open(b.Context())
	defer done()
	for _, x := range callMyAPI {
		if _, err := e.Eval(ctx, r, x.syntax, x.text, expr.Field{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRun is what all expressions of one run cost, its machine included.
func BenchmarkRun(b *testing.B) {
	e, r := benchEvaluator(b), sample()
	for b.Loop() {
		burst(b, e, r)
	}
}

// BenchmarkRuns is the same on all processors.
func BenchmarkRuns(b *testing.B) {
	e := benchEvaluator(b)
	b.RunParallel(func(pb *testing.PB) {
		r := sample()
		for pb.Next() {
			burst(b, e, r)
		}
	})
}

// BenchmarkExpression is one expression in a machine that is there.
func BenchmarkExpression(b *testing.B) {
	e, r := benchEvaluator(b), sample()
	ctx, done := e.Open(b.Context())
	defer done()
	for _, x := range []struct{ name, syntax, text string }{
		{"variable", workflow.JavaScript, `getVariable("AccessToken").Data1`},
		{"output", workflow.JavaScript, `activities.list.Output()[0].ObjectId`},
		{"script", workflow.JavaScript, callMyAPI[1].text},
		{"liquid", workflow.Liquid, `Bearer {{Variables.access_token}}`},
	} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := e.Eval(ctx, r, x.syntax, x.text, expr.Field{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
