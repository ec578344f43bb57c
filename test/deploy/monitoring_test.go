package deploy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// foreign are the metrics that are not Freshet's own.
var foreign = []string{"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}

// wantMetrics parses a query and looks up what it asks for.
func wantMetrics(t *testing.T, where, expr string) {
	t.Helper()
	e, err := parser.ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %q: %v", where, expr, err)
		return
	}
	metrics := known(t, "freshet_[a-z_]+")
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		name := v.Name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && slices.Contains(metrics, base) {
				name = base
			}
		}
		if !slices.Contains(metrics, name) && !slices.Contains(foreign, name) {
			t.Errorf("%s asks for %s, which nothing tells", where, name)
		}
		for _, m := range v.LabelMatchers {
			if m.Name == labels.MetricName && m.Value == "" {
				t.Errorf("%s: %q asks for everything", where, expr)
			}
		}
		return nil
	})
}

func TestAlerts(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalStrict([]byte(read(t, "deploy/prometheus/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	page := read(t, "docs/operating.md")
	seen := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if seen[r.Alert] {
				t.Errorf("%s is there twice", r.Alert)
			}
			seen[r.Alert] = true
			wantMetrics(t, r.Alert, r.Expr)
			for _, a := range []string{"summary", "description", "runbook"} {
				if r.Annotations[a] == "" {
					t.Errorf("%s has no %s", r.Alert, a)
				}
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s is %q", r.Alert, s)
			}
			if !strings.Contains(page, "`"+r.Alert+"`") {
				t.Errorf("docs/operating.md does not say what to do at %s", r.Alert)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts", len(seen))
	}
}

func TestDashboard(t *testing.T) {
	var board struct {
		Title, UID string
		Templating struct{ List []struct{ Name string } }
		Panels     []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/freshet.json")), &board); err != nil {
		t.Fatal(err)
	}
	vars := []string{"__rate_interval"}
	for _, v := range board.Templating.List {
		vars = append(vars, v.Name)
	}
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("panel %d is there twice", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			expr := regexp.MustCompile(`\$\{?(\w+)\}?`).ReplaceAllStringFunc(q.Expr, func(v string) string {
				if !slices.Contains(vars, strings.Trim(v, "${}")) {
					t.Errorf("%s uses %s, which the dashboard has not", p.Title, v)
				}
				return "5m"
			})
			wantMetrics(t, p.Title, expr)
		}
	}
	if board.Title != "Freshet" || len(ids) < 15 {
		t.Errorf("%q with %d panels", board.Title, len(ids))
	}
}
