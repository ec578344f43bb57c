package deploy

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"sigs.k8s.io/yaml"
)

var chartDir = filepath.Join(root, "deploy/helm/freshet")

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render does what helm template does.
func render(t *testing.T, values string) (objects map[string]map[string]any, notes string, err error) {
	t.Helper()
	v := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &v); err != nil {
		t.Fatal(err)
	}
	i := action.NewInstall(new(action.Configuration))
	i.DryRun, i.ClientOnly, i.ReleaseName, i.Namespace = true, true, "tokens", "infra"
	i.KubeVersion = &chartutil.KubeVersion{Version: "v1.31.0", Major: "1", Minor: "31"}
	r, err := i.Run(load(t), v)
	if err != nil {
		return nil, "", err
	}
	objects = map[string]map[string]any{}
	for _, doc := range regexp.MustCompile(`(?m)^---$`).Split(r.Manifest, -1) {
		o := map[string]any{}
		if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if len(o) == 0 {
			continue
		}
		name := at[string](o, "kind") + " " + at[string](o, "metadata", "name")
		if objects[name] != nil {
			t.Errorf("%s is there twice", name)
		}
		objects[name] = o
	}
	return objects, r.Info.Notes, nil
}

// at walks into maps and, by "#", into the first element of lists.
func at[T any](o any, path ...string) (v T) {
	for _, p := range path {
		if p == "#" {
			l, _ := o.([]any)
			if len(l) == 0 {
				return v
			}
			o = l[0]
			continue
		}
		m, _ := o.(map[string]any)
		o = m[p]
	}
	v, _ = o.(T)
	return v
}

// env are the variables of the server's container.
func env(t *testing.T, set map[string]any) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, e := range at[[]any](set, "spec", "template", "spec", "containers", "#", "env") {
		name := at[string](e, "name")
		if _, twice := out[name]; twice {
			t.Errorf("%s is set twice", name)
		}
		out[name] = e
		wantVariable(t, "the chart", name)
	}
	return out
}

const everything = `
baseURL: https://tokens.example
database: {directKey: direct}
audit: strict
config: {10-acme.yaml: "providers: {}\n"}
env: [{name: ACME_SECRET, valueFrom: {secretKeyRef: {name: acme, key: secret}}}]
envFrom: [{secretRef: {name: more}}]
ingress: {enabled: true, className: nginx, host: tokens.example, tlsSecretName: tls, annotations: {a: b}}
metrics: {serviceMonitor: {enabled: true, labels: {release: prom}}, rules: {enabled: true, labels: {release: prom}}}
networkPolicy: {enabled: true, ingressFrom: [{namespaceSelector: {}}]}
imagePullSecrets: [{name: pull}]
podAnnotations: {a: b}
podLabels: {team: x}
nodeSelector: {disk: ssd}
tolerations: [{operator: Exists}]
affinity: {nodeAffinity: {}}
priorityClassName: high
serviceAccount: {annotations: {a: b}}
service: {annotations: {a: b}}
persistence: {storageClass: fast}
`

func TestChartLints(t *testing.T) {
	for name, values := range map[string]string{"as it comes": "{}", "with everything": everything, "one replica without a volume": "{replicas: 1, persistence: {enabled: false}, metrics: {enabled: false}, podDisruptionBudget: {enabled: false}}"} {
		t.Run(name, func(t *testing.T) {
			v := map[string]any{}
			if err := yaml.Unmarshal([]byte(values), &v); err != nil {
				t.Fatal(err)
			}
			l := action.NewLint()
			l.Strict = true
			l.Namespace = "infra"
			r := l.Run([]string{chartDir}, v)
			for _, m := range r.Messages {
				if !strings.Contains(m.Err.Error(), "icon is recommended") {
					t.Error(m)
				}
			}
			if _, _, err := render(t, values); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestChart(t *testing.T) {
	objects, notes, err := render(t, everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"StatefulSet tokens-freshet", "Service tokens-freshet", "Service tokens-freshet-replicas", "ServiceAccount tokens-freshet", "ConfigMap tokens-freshet",
		"Ingress tokens-freshet", "PodDisruptionBudget tokens-freshet", "NetworkPolicy tokens-freshet", "ServiceMonitor tokens-freshet", "PrometheusRule tokens-freshet",
	} {
		if objects[want] == nil {
			t.Errorf("there is no %s", want)
		}
	}
	set := objects["StatefulSet tokens-freshet"]
	pod := at[map[string]any](set, "spec", "template", "spec")
	c := at[map[string]any](pod, "containers", "#")
	if !at[bool](pod, "securityContext", "runAsNonRoot") || !at[bool](c, "securityContext", "readOnlyRootFilesystem") ||
		at[string](c, "securityContext", "capabilities", "drop", "#") != "ALL" || at[string](pod, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
		t.Error("the pod may do more than it has to")
	}
	if at[float64](pod, "terminationGracePeriodSeconds") <= 30 {
		t.Error("the pod is killed before it has drained")
	}
	vars := env(t, set)
	for _, name := range []string{"FRESHET_MASTER_KEY", "FRESHET_DATABASE_URL", "FRESHET_DATABASE_DIRECT_URL"} {
		if at[string](vars[name], "valueFrom", "secretKeyRef", "name") == "" || at[string](vars[name], "value") != "" {
			t.Errorf("%s is not taken from a secret", name)
		}
	}
	if at[string](vars["FRESHET_CONFIG"], "value") == "" || at[string](vars["FRESHET_AUDIT"], "value") != "strict" || vars["ACME_SECRET"] == nil {
		t.Errorf("the variables are %v", vars)
	}
	if at[string](set, "spec", "volumeClaimTemplates", "#", "metadata", "name") != "data" {
		t.Error("a replica has no volume of its own")
	}
	// What selects must match what is selected.
	labels := at[map[string]any](set, "spec", "template", "metadata", "labels")
	for name, o := range objects {
		for _, path := range [][]string{{"spec", "selector"}, {"spec", "selector", "matchLabels"}, {"spec", "podSelector", "matchLabels"}} {
			for k, v := range at[map[string]any](o, path...) {
				if s, ok := v.(string); ok && labels[k] != s && !strings.HasPrefix(name, "ServiceMonitor") {
					t.Errorf("%s selects %s=%s, which no pod has", name, k, s)
				}
			}
		}
	}
	if got, want := at[string](objects["Ingress tokens-freshet"], "spec", "rules", "#", "host"), "tokens.example"; got != want {
		t.Errorf("the ingress is for %q", got)
	}
	if strings.Contains(notes, "baseURL is not set") || !strings.Contains(notes, "tokens-freshet-0") {
		t.Errorf("notes: %s", notes)
	}
	if len(at[[]any](objects["PrometheusRule tokens-freshet"], "spec", "groups", "#", "rules")) < 10 {
		t.Error("the rules are not in the PrometheusRule")
	}
}

// No secret goes through values: what a release stores is readable to many.
func TestChartMakesNoSecret(t *testing.T) {
	objects, _, err := render(t, "{}")
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range objects {
		if strings.HasPrefix(name, "Secret ") {
			t.Errorf("the chart makes %s", name)
		}
		if strings.HasPrefix(name, "ConfigMap ") {
			t.Errorf("there is a %s without config", name)
		}
		if b, err := json.Marshal(o); err != nil || strings.Contains(string(b), "postgres://") {
			t.Errorf("%s holds a database URL: %v", name, err)
		}
	}
	if base := at[string](env(t, objects["StatefulSet tokens-freshet"])["FRESHET_BASE_URL"], "value"); base != "http://tokens-freshet.infra.svc" {
		t.Errorf("callers in the cluster reach it as %q", base)
	}
}

func TestChartRefuses(t *testing.T) {
	for values, names := range map[string]string{
		"{replicas: 0}":                               "replicas",
		"{replica: 3}":                                "replica",
		"{masterKey: {secretName: ''}}":               "secretName",
		"{database: {url: 'postgres://u:p@h/d'}}":     "url",
		"{baseURL: tokens.example}":                   "baseURL",
		"{baseURL: 'https://tokens.example/'}":        "baseURL",
		"{audit: sometimes}":                          "audit",
		"{config: {acme: 'providers: {}'}}":           "acme",
		"{ingress: {enabled: true}}":                  "ingress",
		"{drain: 1m}":                                 "drain",
		"{metrics: {serviceMonitor: {enable: true}}}": "serviceMonitor",
	} {
		if _, _, err := render(t, values); err == nil || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v", values, err)
		}
	}
}

func TestChartOfThisRepository(t *testing.T) {
	c := load(t)
	if got, want := read(t, "deploy/helm/freshet/alerts.yaml"), read(t, "deploy/prometheus/alerts.yaml"); got != want {
		t.Error("the chart's alerts.yaml is not deploy/prometheus/alerts.yaml: copy it")
	}
	if !slices.ContainsFunc(c.Metadata.Sources, func(s string) bool { return strings.HasSuffix(s, "freshet-dev/freshet") }) {
		t.Error("the chart does not say where it comes from")
	}
}
