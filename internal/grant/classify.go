package grant

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/freshet-dev/freshet"
)

// The code tables: RFC 6749 §5.2 and its extensions, and what providers say
// instead. Whoever adds a permanent code condemns grants with it.
var (
	permanentCodes = set("190", "BAD_REFRESH_TOKEN", "bad_refresh_token", "consent_required", "inactive_user", "interaction_required", "invalid_code",
		"invalid_grant", "invalid_refresh_token", "login_required", "token_revoked")

	misconfiguredCodes = set("BAD_CLIENT_ID", "BAD_CLIENT_SECRET", "access_denied", "bad_client_secret", "deleted_client", "disabled_client",
		"incorrect_client_credentials", "invalid_client", "invalid_client_id", "invalid_dpop_proof", "invalid_request", "invalid_scope", "invalid_target",
		"payment_required", "redirect_uri_mismatch", "unauthorized_client", "unsupported_grant_type", "unsupported_token_type")

	// retryableCodes tells whether the provider may have processed the request.
	retryableCodes = map[string]bool{
		"429": false, "authorization_pending": false, "rate_limit_exceeded": false, "rate_limited": false, "ratelimited": false, "slow_down": false,
		"temporarily_unavailable": false, "too_many_requests": false, "use_dpop_nonce": false,
		"conflict": true, "fatal_error": true, "internal_error": true, "internal_failure": true, "server_error": true, "unknown_error": true,
	}

	// vagueCodes are those misconfigured codes that providers also use for a
	// dead refresh token (LinkedIn, Naver: invalid_request). The others mean what
	// they say, whatever their description mentions.
	vagueCodes = set("access_denied", "invalid_request", "unauthorized_client")
)

// What providers say in words. The order in which these are asked is rule 9 of
// the answers: harmless readings first.
var (
	throttledText = regexp.MustCompile(`too[ _-]?many|rate[ _-]?limit|rate exceeded|throttl|slow[ _-]?down|quota|limit (has been )?(exceeded|reached)|request limit`)
	transientText = regexp.MustCompile(`temporar|transient|try again later|try later|retry (your request |the request )?later|please retry|internal (server )?error|unexpected error|unavailable|timed? ?out|is_transient`)
	refreshText   = regexp.MustCompile(`refresh[ _-]?token`)
	deadText      = regexp.MustCompile(`\b(invalid|expired|revoked|unknown|incorrect|wrong|malformed|inactive|blacklisted|unrecogni[sz]ed)\b|bad refresh|not found|not valid|no longer|does ?n[o']t exist|already (been )?used|has been used`)
	ownFaultText  = regexp.MustCompile(`grant[ _-]?type|\bmissing\b|refresh[ _-]?token( parameter| field)? is required|required (parameter|field)|(unknown|unexpected) (parameter|field)|must be (provided|present|specified)|not (provided|specified|allowed|supported)|unsupported`)
	reusedText    = regexp.MustCompile(`\breuse|reused|\bstale\b|already (been )?used|replay`)
)

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// canonical returns code as the tables write it.
func canonical(code string) string {
	if permanentCodes[code] || misconfiguredCodes[code] {
		return code
	}
	return strings.ToLower(code)
}

// isKnown reports whether the tables know code.
func isKnown(code string) bool {
	code = canonical(code)
	_, retryable := retryableCodes[code]
	return retryable || permanentCodes[code] || misconfiguredCodes[code] || code == "expired_token"
}

// refusal reads an answer of status 4xx or 5xx.
func (a *reading) refusal() Outcome {
	c := a.complaint()
	if c == nil {
		c = &complaint{}
	}
	if a.r.Err != nil && len(c.codes) == 0 && a.r.Status < 500 {
		// The answer broke off before it said anything.
		return a.fail(transportError(&a.r))
	}
	return a.fail(a.classify(c))
}

// classify decides what a complaint means. It follows the rules 8 to 10 of the
// answers: the status when it speaks of time and load, then the provider's
// code, then its words, and our own fault when nothing is known.
func (a *reading) classify(c *complaint) *Error {
	status := a.r.Status
	code := a.mapped(c)
	known := canonical(code)
	e := &Error{Class: Retryable, Code: a.cleanCode(code), Detail: a.describe(c, code)}
	if c.object {
		a.flag(FlagErrorObject)
	}
	if e.Code == "" {
		e.Code = a.codeOfStatus(c)
	}
	switch {
	case status >= 500 || status == http.StatusRequestTimeout:
		e.Uncertain = true
		if status >= 500 && permanentCodes[known] {
			a.flag(FlagErrorIn5xx)
		}
		return e
	case status == 421 || status == 425 || status == 429:
		return e
	}
	if status == 403 && len(c.codes) == 0 && a.doc.looksLikeHTML() {
		// A web application firewall: not the authorization server speaking.
		e.Code = "http_403_html"
		e.Detail = "a page instead of an answer: " + a.excerpt()
		return e
	}
	e.Class, e.Uncertain = a.classOf(c, known)
	switch {
	case e.Class == Permanent && reusedText.MatchString(c.all()):
		a.flag(FlagReuse)
	case known == "use_dpop_nonce":
		e.Nonce = a.r.Header.Get("DPoP-Nonce")
	case known == "invalid_grant" || known == "invalid_dpop_proof" || known == "invalid_client":
		if d := a.skew(); e.Class == Misconfigured && d != 0 {
			e.Skew = d
			word := "ahead of"
			if d < 0 {
				word = "behind"
			}
			e.Detail = fit(fmt.Sprintf("our clock is %v %s the provider's; ", d.Abs(), word) + e.Detail)
		}
	}
	return e
}

// classOf decides by code, then by words.
func (a *reading) classOf(c *complaint, known string) (class Class, uncertain bool) {
	grant := a.r.Grant
	words := c.all()
	maybe, retryable := retryableCodes[known]
	switch {
	case known == "invalid_grant" && !a.r.Refresh && (grant == freshet.GrantClientCredentials || grant == freshet.GrantJWTBearer):
		// There is nobody who could authorize again: key or clock are wrong.
		return Misconfigured, false
	case permanentCodes[known]:
		return Permanent, false
	case grant == freshet.GrantDeviceCode && !a.r.Refresh && (known == "access_denied" || known == "expired_token"):
		return Permanent, false // RFC 8628 §3.5
	case retryable:
		return Retryable, maybe
	case throttledText.MatchString(words):
		return Retryable, false
	case c.transient || transientText.MatchString(words):
		return Retryable, true
	case a.r.Refresh && (!misconfiguredCodes[known] || vagueCodes[known]) && saysRefreshDead(words):
		a.flag(FlagMessage)
		return Permanent, false
	case misconfiguredCodes[known]:
		return Misconfigured, false
	case a.r.Status/100 == 2:
		return Retryable, true
	}
	return Misconfigured, false
}

// saysRefreshDead reports whether words, in small letters, call a refresh token
// dead. Words that speak of a missing parameter or of the grant type speak of
// our request.
func saysRefreshDead(words string) bool {
	// HubSpot's "missing or unknown refresh token" is no complaint about a
	// parameter.
	plain := strings.ReplaceAll(words, "missing or ", "")
	return refreshText.MatchString(words) && deadText.MatchString(plain) && !ownFaultText.MatchString(plain)
}

// saysError looks for an error in an answer of status 2xx. hasToken: it also
// holds a usable access token, so that only a plain error counts.
func (a *reading) saysError(hasToken bool) (*complaint, *Error) {
	if a.shape.Success != "" {
		ok, err := a.judge()
		if ok || err != nil {
			return nil, err
		}
		c := a.complaint()
		if c == nil {
			c = &complaint{}
		}
		return c, nil
	}
	c := a.complaint()
	switch {
	case c == nil || c.strong:
		return c, nil
	case hasToken:
		return nil, nil
	}
	if known := canonical(a.mapped(c)); !isKnown(known) {
		words := c.all()
		if !throttledText.MatchString(words) && !(a.r.Refresh && saysRefreshDead(words)) {
			return nil, nil
		}
	}
	return c, nil
}

// mapped returns the complaint's code, translated as the provider's entry says.
func (a *reading) mapped(c *complaint) string {
	for _, code := range c.codes {
		if to := a.shape.ErrorCodes[code]; to != "" {
			return to
		}
	}
	return c.code()
}

// codeOfStatus names an error that came without a code of its own.
func (a *reading) codeOfStatus(c *complaint) string {
	switch status := a.r.Status; {
	case status == 400:
		return "unrecognised_400"
	case status/100 == 2 && c.strong:
		return "error"
	case status/100 == 2:
		return "unsuccessful"
	default:
		return fmt.Sprintf("http_%d", status)
	}
}

// describe puts a complaint into words for people.
func (a *reading) describe(c *complaint, code string) string {
	parts := c.texts
	if len(parts) > 3 {
		parts = parts[:3]
	}
	s := strings.Join(parts, "; ")
	if s == "" && a.doc.kind == bodyText {
		s = "the answer begins: " + a.excerpt()
	}
	for _, own := range c.codes {
		if own != code && !strings.Contains(s, own) {
			s = strings.TrimPrefix(s+"; code "+own, "; ")
			break
		}
	}
	if len(c.extra) > 0 {
		s = strings.TrimPrefix(s+" ("+strings.Join(c.extra, ", ")+")", " ")
	}
	return a.clean(s)
}
