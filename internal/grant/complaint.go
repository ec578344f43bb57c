package grant

import (
	"slices"
	"strconv"
	"strings"
)

// A complaint is what an answer says went wrong, in whichever of the common
// envelopes:
//
//	{"error":"invalid_grant","error_description":"…"}            RFC 6749 §5.2
//	{"ok":false,"error":"…"}                                     Slack
//	{"error":{"code":190,"message":"…","is_transient":true}}     Meta
//	{"errors":[{"errorType":"…","message":"…"}]}                 Fitbit, Strava
//	{"errcode":40030,"errmsg":"…"}                               WeChat
//	{"status":"BAD_REFRESH_TOKEN","message":"…"}                 HubSpot
//	{"status":400,"message":"…"}                                 Twitch
//	{"Code":10013,"Error":"…"}                                   Proton
//	{"errorCode":"E0000006","errorSummary":"…"}                  Okta
//	{"data":{"error_code":…}}, {"fault":{"faultstring":"…"}}     TikTok, Apigee
type complaint struct {
	codes     []string // candidates for the code, the best first
	texts     []string // what it says to people
	extra     []string // what the provider's support will ask for
	strong    bool     // it says error; otherwise it may be a status of success
	object    bool     // "error" is an object
	transient bool     // the provider says that it will pass
}

// Member names that hold a code when there is an error, and only then.
var strongNames = []string{"error", "Error", "errors", "errcode", "error_code", "errorCode", "ErrorCode", "err_code", "errno", "errorcode"}

// Member names that hold a code, or a status of success.
var weakNames = []string{"code", "Code", "status", "statusCode", "status_code"}

// Member names of an error object that hold its code.
var objectNames = []string{"code", "errorType", "error", "error_code", "errorCode", "errorcode", "type", "status", "name", "reason"}

var textNames = []string{"error_description", "errorDescription", "message", "Message", "msg", "errmsg", "error_msg", "error_message", "errorMessage",
	"errorSummary", "error_summary", "description", "detail", "details", "title", "faultstring", "reason", "hint", "error_user_msg", "userMessage"}

var extraNames = []string{"suberror", "error_codes", "error_subcode", "correlation_id", "correlationId", "trace_id", "request_id", "requestId", "log_id", "fbtrace_id"}

// maxWords is how much of one text is looked at.
const maxWords = 2048

var envelopeNames = []string{"data", "body", "result", "response", "fault", "meta", "detail"}

// complaint finds what the answer says went wrong, nil if nothing does.
func (a *reading) complaint() *complaint {
	c := &complaint{}
	if a.shape.Error != "" {
		if n, ok := a.at(a.shape.Error); ok {
			c.value(n)
		}
	}
	if a.shape.ErrorText != "" {
		if n, ok := a.at(a.shape.ErrorText); ok {
			c.say(n.text())
		}
	}
	switch d := a.doc; d.kind {
	case bodyObject:
		c.read(d.members)
	case bodyList:
		if list := d.root.elements(1); len(list) == 1 {
			c.read(list[0].members())
		}
	case bodyText:
		if a.r.Status/100 == 2 || d.looksLikeHTML() || len(d.text) > maxWords {
			break
		}
		s := string(d.text)
		if isKnown(s) {
			c.codes, c.strong = append(c.codes, s), true
		}
		c.say(s)
	}
	if len(c.codes) == 0 && !c.strong && a.r.Status/100 != 2 {
		c.challenge(a.r.Header.Get("WWW-Authenticate"))
	}
	if len(c.codes) == 0 && len(c.texts) == 0 && !c.strong {
		return nil
	}
	return c
}

// read gathers from an object at the root of an answer.
func (c *complaint) read(ms []member) {
	for _, name := range strongNames {
		if n, ok := pick(ms, name); ok {
			c.value(n)
		}
	}
	for _, name := range weakNames {
		if n, ok := pick(ms, name); ok && !namesNoError(n.text()) {
			c.codes = append(c.codes, shorten(n.text(), maxWords))
		}
	}
	c.words(ms)
	for _, name := range envelopeNames {
		n, ok := pick(ms, name)
		if !ok || n.kind() != '{' {
			continue
		}
		inner := n.members()
		for _, name := range strongNames {
			if n, ok := pick(inner, name); ok {
				c.value(n)
			}
		}
		if name == "fault" || name == "detail" {
			c.words(inner)
			if n, ok := pick(inner, "detail"); ok && n.kind() == '{' {
				c.errorObject(n.members())
			}
		} else if c.strong {
			c.words(inner)
		}
	}
}

// value takes in the value of a member that is there when something is wrong.
func (c *complaint) value(n node) {
	switch n.kind() {
	case '"', '0', 't':
		s := strings.TrimSpace(shorten(n.text(), maxWords))
		switch strings.ToLower(s) {
		case "", "0", "false", "no", "none", "null", "ok", "success":
			return
		case "true", "yes":
			c.strong = true
			return
		}
		if n.kind() == '0' && isZero(s) {
			return
		}
		c.strong = true
		c.codes = append(c.codes, s)
	case '{':
		ms := n.members()
		if len(ms) == 0 {
			return
		}
		if code, ok := pick(ms, "code"); ok && namesNoError(code.text()) {
			return // TikTok: {"error":{"code":"ok","message":""}} beside the data
		}
		c.strong, c.object = true, true
		c.errorObject(ms)
	case '[':
		for i, e := range n.elements(8) {
			c.strong = true
			switch e.kind() {
			case '{':
				if i == 0 {
					c.errorObject(e.members())
				} else {
					c.words(e.members())
				}
			case '"':
				if s := shorten(e.text(), maxWords); i == 0 && s != "" {
					c.codes = append(c.codes, s)
				} else {
					c.say(s)
				}
			}
		}
	}
}

// errorObject takes in an error object: one level, its code and its words.
func (c *complaint) errorObject(ms []member) {
	for _, name := range objectNames {
		if n, ok := pick(ms, name); ok {
			if s := strings.TrimSpace(shorten(n.text(), maxWords)); s != "" && !isZero(s) {
				c.codes = append(c.codes, s)
			}
		}
	}
	if n, ok := pick(ms, "is_transient"); ok && n.kind() == 't' {
		c.transient = true
	}
	c.words(ms)
	// Strava says which field in members of its own.
	for _, name := range []string{"resource", "field"} {
		if n, ok := pick(ms, name); ok {
			c.say(n.text())
		}
	}
}

func (c *complaint) words(ms []member) {
	for _, name := range textNames {
		if n, ok := pick(ms, name); ok && n.kind() == '"' {
			c.say(n.text())
		}
	}
	for _, name := range extraNames {
		n, ok := pick(ms, name)
		if !ok {
			continue
		}
		s := n.text()
		for i, e := range n.elements(4) {
			if i > 0 {
				s += " "
			}
			s += e.text()
		}
		if s != "" && len(s) <= 64 {
			c.extra = append(c.extra, name+" "+s)
		}
	}
	if n, ok := pick(ms, "is_transient"); ok && n.kind() == 't' {
		c.transient = true
	}
}

func (c *complaint) say(s string) {
	if s = strings.TrimSpace(shorten(s, maxWords)); s != "" && !slices.Contains(c.texts, s) {
		c.texts = append(c.texts, s)
	}
}

// challenge takes the error parameter of a WWW-Authenticate header, which some
// servers send with an empty body.
func (c *complaint) challenge(h string) {
	_, rest, ok := strings.Cut(h, `error="`)
	if !ok {
		return
	}
	if code, _, ok := strings.Cut(rest, `"`); ok && isName(code) {
		c.codes, c.strong = append(c.codes, code), true
	}
	if _, rest, ok = strings.Cut(h, `error_description="`); ok {
		text, _, _ := strings.Cut(rest, `"`)
		c.say(text)
	}
}

// code returns the candidate that the tables know, else the first.
func (c *complaint) code() string {
	for _, s := range c.codes {
		if isKnown(s) {
			return s
		}
	}
	if len(c.codes) > 0 {
		return c.codes[0]
	}
	return ""
}

// all returns everything said, in small letters, for the rules that read words.
func (c *complaint) all() string {
	return strings.ToLower(strings.Join(append(slices.Clone(c.texts), c.codes...), " | "))
}

func isZero(s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	return err == nil && f == 0
}

// namesNoError reports whether a status or code says that all is well, or
// nothing at all.
func namesNoError(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "", "ok", "success", "succeeded", "successful", "approved", "active", "complete", "completed", "valid", "granted", "true":
		return true
	// These say that there is an error, and not which.
	case "error", "fail", "failed", "failure", "false":
		return true
	}
	n, err := strconv.Atoi(strings.TrimSpace(s))
	return err == nil && (n == 0 || n/100 == 2)
}
