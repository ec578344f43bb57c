package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

// pageStyle is the one style sheet of the pages that the server itself shows:
// no script, nothing from elsewhere, light or dark as the reader likes it.
const pageStyle = `
:root{color-scheme:light dark;--ink:#1d2733;--soft:#5b6875;--line:#d9dfe5;--ground:#fbfcfd;--card:#fff;--good:#1a7f4b;--bad:#b3261e;--accent:#1f5fa8}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9ee;--soft:#9aa7b4;--line:#2f3a45;--ground:#12181f;--card:#1a222b;--good:#4cc38a;--bad:#f2857c;--accent:#7db4f0}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:34rem;margin:12vh auto;padding:2rem;background:var(--card);border:1px solid var(--line);border-radius:12px}
main.wide{max-width:60rem;margin:3rem auto}
h1{font-size:1.35rem;margin:0 0 .75rem}
h2{font-size:1.1rem;margin:2.5rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--line)}
p{margin:.5rem 0}
a{color:var(--accent)}
code,pre{font:14px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
.soft{color:var(--soft)}
.good h1{color:var(--good)}
.bad h1{color:var(--bad)}
.said{border-left:3px solid var(--line);padding-left:.75rem;overflow-wrap:anywhere}
details{border:1px solid var(--line);border-radius:8px;margin:.5rem 0;padding:.5rem .75rem}
summary{cursor:pointer;overflow-wrap:anywhere}
summary b{display:inline-block;min-width:4.5rem;font-weight:600}
table{border-collapse:collapse;width:100%;font-size:14px}
td,th{text-align:left;vertical-align:top;padding:.25rem .5rem .25rem 0;border-bottom:1px solid var(--line)}
`

// pagePolicy lets a page show itself and nothing else.
var pagePolicy = func() []string {
	sum := sha256.Sum256([]byte(pageStyle))
	return []string{"default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}
}()

// page sets the headers of a page.
func page(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Security-Policy"] = pagePolicy
	h["X-Frame-Options"] = []string{"DENY"}
	h["Cross-Origin-Opener-Policy"] = []string{"same-origin"}
	h["Referrer-Policy"] = noReferrer
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
}

// A result is a page that says how something ended.
type result struct {
	Good     bool
	Title    string
	Text     string
	Said     string // what somebody else said; it is shown as text
	Next     string // what to do now
	Link     string // where to go on, one of our own paths
	LinkText string
}

var resultPage = template.Must(template.New("result").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<title>{{.Title}} · Freshet</title><style>{{.Style}}</style></head>
<body><main class="{{if .Good}}good{{else}}bad{{end}}"><h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .Said}}<p class="said">{{.}}</p>{{end}}
{{with .Next}}<p class="soft">{{.}}</p>{{end}}
{{if .Link}}<p><a href="{{.Link}}">{{.LinkText}}</a></p>{{end}}
</main></body></html>
`))

// show writes a result page.
func show(w http.ResponseWriter, status int, r result) {
	var b bytes.Buffer
	if err := resultPage.Execute(&b, struct {
		result
		Style template.CSS
	}{r, pageStyle}); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	page(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
