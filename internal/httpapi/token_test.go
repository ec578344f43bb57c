package httpapi_test

import (
	"strings"
	"testing"
	"time"
)

func TestTokenRead(t *testing.T) {
	w := newWorld(t)
	w.declare(declared)
	a := w.do("GET", "/api/v1/connections/crm/token", "")
	v := a.json(t)
	if a.status != 200 || v["access_token"] == "" || v["token_type"] != "Bearer" || v["generation"] != 1.0 || v["stale"] != false || v["scope"] != "read" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	use := v["use"].(map[string]any)
	want := `{"hosts":["` + w.em.URL() + `"],"inject":[{"in":"header","name":"Authorization","value":"Bearer ` + v["access_token"].(string) + `"}],"rejected":{"status":[401]}}`
	if got := mustJSON(use); got != want {
		t.Errorf("use is %s, want %s", got, want)
	}
	until, err := time.Parse(time.RFC3339Nano, v["cache_until"].(string))
	expires, err2 := time.Parse(time.RFC3339Nano, v["expires_at"].(string))
	if err != nil || err2 != nil || !until.Before(expires) || until.Location() != time.UTC || !strings.HasSuffix(v["expires_at"].(string), "Z") {
		t.Errorf("cache_until %v, expires_at %v", v["cache_until"], v["expires_at"])
	}
	if again := w.do("GET", "/api/v1/connections/crm/token", ""); again.body != a.body {
		t.Errorf("a second read differs: %s", again.body)
	}
	for _, bad := range []string{"min_ttl=x", "min_ttl=-5s", "min_ttl=", "min_ttl=60s&min_ttl=1s", "minttl=60s", "min_ttl=%zz"} {
		if a := w.do("GET", "/api/v1/connections/crm/token?"+bad, ""); a.status != 400 || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("?%s: %d %s", bad, a.status, a.body)
		}
	}
	if a := w.do("GET", "/api/v1/connections/crm/token?min_ttl=30m", ""); a.status != 200 || a.json(t)["generation"] != 1.0 {
		t.Errorf("min_ttl below its life: %d %s", a.status, a.body)
	}
	if a := w.do("GET", "/api/v1/connections/nobody/token", ""); a.status != 404 || !strings.Contains(a.body, "/problems/not-found") {
		t.Errorf("an unknown name: %d %s", a.status, a.body)
	}
	if a := w.do("GET", "/api/v1/connections/%63rm/token", ""); a.status != 200 {
		t.Errorf("an escaped name: %d %s", a.status, a.body)
	}
}
