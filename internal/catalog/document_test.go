package catalog

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet"
)

var update = flag.Bool("update", false, "write docs/catalogue.md")

// limits are what an entry cannot do, and what it would take. They are the
// second table of docs/catalogue.md, beside what Provider.Unsupported says.
var limits = map[string][2]string{
	"atlassian":          {"An expired token that shows as 403 or 404 makes no refresh: those statuses also have honest reasons.", "Keep `before_expiry`, the default, in the policy."},
	"cybersource":        {"A dead refresh token cannot be told from an outage: every failure is status 500.", "Nothing on our side; after the bounded attempts the connection waits in `attention`."},
	"docuware":           {"The first two of its three steps, a service address and OpenID discovery from there.", "A person looks `identity_service` up once."},
	"facebook":           {"Apps that demand `appsecret_proof`, an HMAC of each token.", "A filter that signs, in the templates of injection."},
	"nable-ncentral":     {"Its refresh token is stored and not used: the facts do not say how.", "A `refresh_request`; until then we log in again with the user's JWT, which does the same."},
	"passportal":         {"The HMAC of the login is not computed.", "A person makes it once: it covers a text of our own choice and never changes."},
	"sap-successfactors": {"SAML 2.0 assertions (RFC 7522) are sent, not signed.", "A signer for XML; until then something of yours makes the assertion, or `refresh.by` names a routine that logs in."},
	"shopify":            {"The HMAC that signs the redirect back is not checked.", "A check in the callback; the random `state` protects it without."},
	"smartsheet":         {"The hash of secret and code that may take the place of the secret.", "Not needed: the secret itself is taken too."},
	"withings":           {"Partners whose token calls must be signed with nonce and HMAC.", "A filter that signs, in the templates of requests."},
}

// TestCatalogueDocument holds docs/catalogue.md to the data. go generate
// writes it.
func TestCatalogueDocument(t *testing.T) {
	const path = "../../docs/catalogue.md"
	want := document()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the data says: run go generate ./internal/catalog", path)
	}
}

// TestCap070 is about what a person reads before connecting: for each preset
// when it refreshes, with which leeway, which scopes travel how, and how the
// client proves itself.
func TestCap070(t *testing.T) {
	text := document()
	for _, p := range All() {
		t.Run("cap070 "+p.Name, func(t *testing.T) {
			row := ""
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "| `"+p.Name+"` |") {
					row = line
					break
				}
			}
			cells := strings.Split(strings.Trim(strings.TrimSpace(row), "|"), " | ")
			if len(cells) != 8 {
				t.Fatalf("%d cells, want 8: %q", len(cells), row)
			}
			for i, what := range []string{"name", "title", "grants", "client auth", "scopes", "refresh and leeway", "rotation"} {
				if strings.TrimSpace(cells[i]) == "" {
					t.Errorf("nothing is said of %s", what)
				}
			}
			if p.EarlyRefresh > 0 && !strings.Contains(cells[5], p.EarlyRefresh.String()) {
				t.Errorf("early_refresh %v is not told: %s", p.EarlyRefresh, cells[5])
			}
			if p.Rotation.Grace > 0 && !strings.Contains(cells[6], p.Rotation.Grace.String()) {
				t.Errorf("the grace is not told: %s", cells[6])
			}
			for _, n := range p.Notes {
				if !strings.Contains(row, cell(n)) {
					t.Errorf("a note is not told: %s", n)
				}
			}
		})
	}
}

func document() string {
	var b strings.Builder
	b.WriteString(`<!-- Made by go generate ./internal/catalog of internal/catalog/providers. -->
# The catalogue of providers

Name one of these as the ` + "`provider`" + ` of a client or a connection and say no more about it:

` + "```yaml" + `
clients:
  books: { provider: xero, id: "${XERO_ID}", secret: "${XERO_SECRET}" }
connections:
  acme-books:
    client: books
    scopes: [accounting.transactions, offline_access]
    refresh: { margin: 1m }                 # when and how early, for this connection
` + "```" + `

A connection takes the first grant of its provider unless it names another. Client authentication, policy,
leeway and scopes are each connection's own: ` + "`client_auth`, `refresh.when`, `refresh.margin`, `scopes`" + `. What
this page says holds where they are silent. Unless a row says otherwise a token is refreshed before it expires
(by the smaller of 30 seconds and a tenth of its lifetime) and when the API answers 401; PKCE is S256.
Variables, such as a tenant, belong into ` + "`variables`" + ` of the client or the connection.

Something is different at yours? A provider of the same name in your files changes the fields that it gives and
leaves the others as they are; for an API that is not here [providers.md](providers.md) says how to describe it.

` + "```yaml" + `
providers:
  okta: { rotation: { grace: 10s } }        # as your app is configured
` + "```" + `

| name | what | grants | client auth | scopes | refresh and leeway | rotation of refresh tokens | know before |
|---|---|---|---|---|---|---|---|
`)
	all := All()
	for _, p := range all {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s |\n", p.Name, cell(p.Title), grantsCell(p), authCell(p), scopesCell(p), refreshCell(p), rotationCell(p), notesCell(p))
	}
	b.WriteString(`
Rotation: *never* means that a refresh token stays the same, *omitted* that it stays and the answer to a refresh
leaves it out. The grace is how long the previous refresh token still works after an answer got lost; a spent one
is *accepted*, answered with the same answer again (*replayed*), *refused*, or it *revokes* the whole grant.

## What an entry cannot do

Two providers cannot be had by data at all, and a connection to them is refused with the reason; the others work
with the limit that stands here.

| name | cannot be | what would be needed |
|---|---|---|
`)
	for _, p := range all {
		if p.Unsupported != "" {
			what, needed, _ := strings.Cut(p.Unsupported, ": ")
			fmt.Fprintf(&b, "| `%s` | %s. | %s |\n", p.Name, cell(what), cell(strings.ToUpper(needed[:1])+needed[1:]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, cell(limits[name][0]), cell(limits[name][1]))
	}
	b.WriteString(`
## Where an entry differs from the facts it was made of

| name | field | why |
|---|---|---|
`)
	for _, name := range slices.Sorted(maps.Keys(deviations)) {
		for _, field := range slices.Sorted(maps.Keys(deviations[name])) {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, field, cell(deviations[name][field]))
		}
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func grantsCell(p freshet.Provider) string {
	if len(p.Grants) == 0 {
		return "none"
	}
	var names []string
	for _, g := range p.Grants {
		names = append(names, string(g))
	}
	return strings.Join(names, ", ")
}

func authCell(p freshet.Provider) string {
	s := string(p.ClientAuth)
	if p.RefreshClientAuth != "" {
		s += ", refresh " + string(p.RefreshClientAuth)
	}
	if p.PKCE == "off" {
		s += "; no PKCE"
	}
	return s
}

func scopesCell(p freshet.Provider) string {
	s := "space"
	if p.ScopeSeparator != nil {
		s = map[string]string{",": "comma"}[*p.ScopeSeparator]
	}
	if p.SendScope {
		s += ", sent again"
	}
	if p.Assertion != nil && p.Assertion.Scope {
		s = "a claim"
	}
	return s
}

func refreshCell(p freshet.Provider) string {
	var s []string
	add := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	if p.EarlyRefresh > 0 {
		add("not before the last %v", p.EarlyRefresh)
	}
	if p.RefreshRequest != nil && len(p.RefreshRequest.Params) > 0 {
		add("renews the access token itself")
	}
	if p.SecondStep != nil {
		add("in two steps")
	}
	if p.Response.Expires.Fixed > 0 {
		add("lifetime %v", p.Response.Expires.Fixed)
	}
	if p.DefaultLifetime > 0 {
		add("lifetime %v unless told", p.DefaultLifetime)
	}
	if p.Rejected.Body != "" {
		add("rejected when `%s`", cell(p.Rejected.Body))
	}
	if p.Quota.Requests > 0 {
		add("at most %d in %v", p.Quota.Requests, p.Quota.Window)
	}
	if p.Quota.LiveTokens > 0 {
		add("%d live at once", p.Quota.LiveTokens)
	}
	if p.IdleLifetime > 0 {
		add("kept alive: dies after %v unused", p.IdleLifetime)
	}
	if p.RefreshLifetime > 0 {
		add("refresh token lives %v", p.RefreshLifetime)
	}
	if s == nil {
		return "default"
	}
	return strings.Join(s, "; ")
}

func rotationCell(p freshet.Provider) string {
	r := p.Rotation
	if r == (freshet.Rotation{}) {
		return "–"
	}
	s := r.Kind
	if r.Grace > 0 {
		s += ", grace " + r.Grace.String()
	}
	if r.Reuse != "" {
		s += ", then " + r.Reuse
		if r.Grace == 0 {
			s = r.Kind + ", reuse " + r.Reuse
		}
	}
	return s
}

func notesCell(p freshet.Provider) string {
	var s []string
	for _, name := range slices.Sorted(maps.Keys(p.Variables)) {
		v := p.Variables[name]
		switch {
		case v.Default != "":
			s = append(s, fmt.Sprintf("`%s` (%s): %s.", name, v.Default, cell(v.Doc)))
		case v.Optional:
			s = append(s, fmt.Sprintf("`%s` (optional): %s.", name, cell(v.Doc)))
		default:
			s = append(s, fmt.Sprintf("`%s`: %s.", name, cell(v.Doc)))
		}
	}
	for _, n := range p.Notes {
		s = append(s, cell(n))
	}
	return strings.Join(s, " ")
}
