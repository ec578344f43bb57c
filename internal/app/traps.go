package app

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// traps notices what scripts for tokens get wrong: a rotated refresh token that
// is dropped, a token whose expiry cannot be read and that is therefore
// refreshed each time, a token that is sent while it expires, one that is
// printed.
type traps struct {
	fresh []issued // refresh tokens of answers
}

// An issued is a refresh token that an answer brought.
type issued struct {
	query string
	value string
}

// A grant is what of an answer is about tokens.
type grant struct {
	Access    string      `json:"access_token"`
	Refresh   string      `json:"refresh_token"`
	ExpiresIn json.Number `json:"expires_in"`
}

// received looks at an answer. With capture_refresh it returns where its refresh
// token was stored.
func (t *traps) received(j *job, q *query, text string) (key, stored string) {
	var g grant
	if json.Unmarshal([]byte(text), &g) != nil {
		// expires_in may be anything
		var only struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		if json.Unmarshal([]byte(text), &only) != nil {
			return "", ""
		}
		g.Access, g.Refresh = only.Access, only.Refresh
	}
	if g.Access == "" && g.Refresh == "" {
		return "", ""
	}
	j.written = true
	now := j.a.o.Now()
	if before, ok := j.r.spent[q.Name]; ok && g.Access != "" && q.refreshes() && now.Add(time.Minute).Before(before) {
		j.warn("%s brought a token although the one before it lives for another %s: the script refreshes on each call; "+
			"it cannot read the expiry of this token, so store expires_in beside it, or use GetAccessToken(connection)", q.Name, before.Sub(now).Round(time.Second))
	}
	delete(j.r.spent, q.Name)
	if exp := expiry(g.Access, g.ExpiresIn, now); !exp.IsZero() {
		j.r.spent[q.Name] = exp
	}
	if g.Refresh == "" {
		return "", ""
	}
	if !q.CaptureRefresh {
		t.fresh = append(t.fresh, issued{q.Name, g.Refresh})
		return "", ""
	}
	if key = q.refreshKey(); key == "" {
		j.warn("%s has capture_refresh, and takes no refresh token from appsmith.store: nothing says where to store the new one", q.Name)
		return "", ""
	}
	raw, err := json.Marshal(g.Refresh)
	if err != nil {
		return "", ""
	}
	j.keep.set(key, raw, true, true)
	if err := j.keep.flush(j.ctx); err != nil {
		j.failed = err
	}
	return key, g.Refresh
}

// refreshes reports whether a query sends a refresh token.
func (q *query) refreshes() bool {
	return q.refreshKey() != "" || slices.ContainsFunc(q.fields, func(f named) bool { return strings.Contains(strings.ToLower(f.name), "refresh") }) ||
		strings.Contains(strings.ToLower(strings.Join(q.body.texts, "")), "refresh")
}

// refreshKey is the key of the store that a query takes its refresh token from.
func (q *query) refreshKey() string {
	for _, k := range q.keys {
		if strings.Contains(strings.ToLower(k), "refresh") {
			return k
		}
	}
	if len(q.keys) == 1 && q.CaptureRefresh {
		return q.keys[0]
	}
	return ""
}

// stored looks at what a script keeps.
func (t *traps) stored(j *job, key string, v json.RawMessage) {
	low := strings.ToLower(key)
	if string(v) == "null" && strings.Contains(low, "exp") {
		j.warn("%s is stored as null, because the token's expiry could not be read: a token that is no JWT is refreshed on each call; store expires_in in its place, or use GetAccessToken(connection)", key)
	}
}

// sent looks at the token of a request.
func (t *traps) sent(j *job, q *query, r *request) {
	for name, v := range r.Headers {
		text, _ := v.(string)
		if !credential(name) {
			continue
		}
		now := j.a.o.Now()
		if exp := expiry(afterScheme(text), "", now); !exp.IsZero() && exp.Before(now.Add(10*time.Second)) {
			left := exp.Sub(now).Round(time.Millisecond)
			if left <= 0 {
				j.warn("%s sends a token that has expired: whoever checks it compares clocks without a margin; refresh some seconds before the expiry", q.Name)
			} else {
				j.warn("%s sends a token that lives for %s more: it may expire on its way; refresh some seconds before the expiry", q.Name, left)
			}
		}
	}
}

// finish says which refresh tokens were dropped.
func (t *traps) finish(j *job) {
	for _, f := range t.fresh {
		q, err := json.Marshal(f.value)
		if err != nil {
			continue
		}
		kept := false
		for _, v := range j.keep.all() {
			kept = kept || strings.Contains(string(v), string(q[1:len(q)-1]))
		}
		if !kept {
			j.warn("the answer to %s held a new refresh token that nothing stored: a provider that rotates them has retired the old one; capture_refresh: true on the query keeps it", f.query)
		}
	}
}

// expiry is when a token expires, by itself or by expires_in; zero: nobody says.
func expiry(token string, in json.Number, now time.Time) time.Time {
	if parts := strings.Split(token, "."); len(parts) == 3 {
		if b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "=")); err == nil {
			var claims struct {
				Exp float64 `json:"exp"`
			}
			if json.Unmarshal(b, &claims) == nil && claims.Exp > 0 && claims.Exp < 1e11 {
				return time.UnixMilli(int64(claims.Exp * 1000))
			}
		}
	}
	if s, err := in.Float64(); err == nil && s > 0 && s < 1e9 {
		return now.Add(time.Duration(s * float64(time.Second)))
	}
	return time.Time{}
}

// looksSecret reports whether a text is a JSON Web Token.
func looksSecret(s string) bool {
	return strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") >= 2
}
