package check

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/freshet-dev/freshet/internal/workflow"
)

var (
	credential = regexp.MustCompile(`(?i)["']?(password|passwd|pwd|client_?secret|api_?key|access_?token|refresh_?token|secret)["']?\s*[:=]\s*["']?[^\s"',;}&]|\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}|grant_type=password`)
	variable   = regexp.MustCompile(`getVariable\(|Variables\.|activities\.|Activities\.|\{\{`)
	parsed     = regexp.MustCompile(`\b(parseInt|parseFloat|Number)\(|\.set(Minutes|Seconds|Hours|Time|Milliseconds|UTC[A-Z]\w+)\(`)
	iso        = regexp.MustCompile(`\.toISOString\(\)`)
	guarded    = regexp.MustCompile(`isNaN\(|isFinite\(|> ?0|Number\.is`)
	expires    = regexp.MustCompile(`(?i)expir|Data2`)
	instant    = regexp.MustCompile(`new Date\(|Date\.now\(`)
	margin     = regexp.MustCompile(`(?i)\b\d{4,}\b|\d+ ?\* ?\d+|margin|skew|leeway|setMinutes|setSeconds`)
	compared   = regexp.MustCompile(`[<>]`)
)

// traps finds what documents and exports of the platform are known to get
// wrong, and old credentials. No value is shown.
func (c *Checker) traps(v *workflow.Version, all []*text) (out []workflow.Finding) {
	for i := range v.Definition.Activities {
		out = append(out, credentials(&v.Definition.Activities[i], all)...)
	}
	if credential.MatchString(v.Definition.Description) && !onlyComputed(v.Definition.Description) {
		out = append(out, workflow.Finding{Severity: workflow.Warning, Code: "old-credential", Place: workflow.Place{Path: "description"}, What: "the description of the workflow looks like it holds a credential",
			Why: "everybody who may see the definition reads it", Do: "take it out, and change the credential where it was issued"})
	}
	for _, t := range all {
		if t.syntax == workflow.JavaScript && iso.MatchString(t.text) && parsed.MatchString(t.text) && variable.MatchString(t.text) && !guarded.MatchString(t.text) {
			out = append(out, workflow.Finding{Severity: workflow.Warning, Code: "lifetime-missing", What: "a lifetime that is missing or no number makes toISOString throw",
				Why: "the run faults after the token was issued and before it is stored: the token is lost", Do: "take a default, for example parseFloat(x) > 0 ? x : 0; or let a connection log in"}.OnProperty(t.a, t.p))
		}
		if t.a.Type == "If" && t.syntax == workflow.JavaScript && expires.MatchString(t.text) && instant.MatchString(t.text) && compared.MatchString(t.text) && !margin.MatchString(t.text) {
			out = append(out, workflow.Finding{Severity: workflow.Info, Code: "no-skew", What: "the expiry is compared with this very moment",
				Why: "a token with a second left counts as valid and dies on its way", Do: "call it spent a minute early; connections do"}.OnProperty(t.a, t.p))
		}
		if t.syntax == workflow.Liquid && t.p.Name == "Content" && strings.Contains(t.text, "{{") && !strings.Contains(t.text, "raw") {
			out = append(out, workflow.Finding{Severity: workflow.Info, Code: "liquid-encoding", What: "the platform writes & < > \" ' and + of a value as HTML entities here, and so spoils passwords and tokens",
				Why: "here a value is escaped for what it stands in: JSON in JSON, HTML in HTML, else it is as it is", Do: "nothing, unless an API relied on the entities (docs/importing.md)"}.OnProperty(t.a, t.p))
		}
	}
	return out
}

// onlyComputed reports whether what looks like a credential is one that a run
// fills in.
func onlyComputed(text string) bool {
	for _, m := range credential.FindAllStringIndex(text, -1) {
		if !variable.MatchString(text[m[0]:min(len(text), m[1]+40)]) {
			return false
		}
	}
	return true
}

// credentials looks at what is never evaluated: descriptions, and texts in
// syntaxes that are not in use.
func credentials(a *workflow.Activity, all []*text) (out []workflow.Finding) {
	if credential.MatchString(a.Description) && !onlyComputed(a.Description) {
		out = append(out, workflow.Finding{Severity: workflow.Warning, Code: "old-credential", What: "the description looks like it holds a credential", Why: "it is never evaluated, but everybody who may see the definition reads it",
			Do: "take it out, and change the credential where it was issued"}.On(a))
	}
	for i := range a.Properties {
		p := &a.Properties[i]
		active := ""
		for _, t := range all {
			if t.p == p {
				active = t.text
			}
		}
		for _, syntax := range sortedKeys(p.Expressions) {
			if s := p.Expressions[syntax]; s != active && credential.MatchString(s) && !onlyComputed(s) {
				out = append(out, workflow.Finding{Severity: workflow.Warning, Code: "old-credential", What: fmt.Sprintf("the text for %s, which is not in use, looks like it holds a credential", syntax),
					Why: "everybody who may see the definition reads it", Do: "take it out, and change the credential where it was issued"}.OnProperty(a, p))
			}
		}
	}
	for i := range a.Activities {
		out = append(out, credentials(&a.Activities[i], all)...)
	}
	return out
}
