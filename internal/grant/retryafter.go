package grant

import (
	"net/http"
	"strings"
	"time"
)

// maxRetryAfter bounds what a provider may ask us to wait.
const maxRetryAfter = 24 * time.Hour

// retryAfter returns how long the Retry-After header asks to wait from now, 0
// when it does not say or says nonsense. date tells that it named an instant.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, date bool) {
	s := strings.TrimSpace(h.Get("Retry-After"))
	if s == "" {
		return 0, false
	}
	if digits([]byte(s), 0) == len(s) {
		s = strings.TrimLeft(s, "0")
		if len(s) > 5 { // more than a day, however long the number is
			return maxRetryAfter, false
		}
		var n time.Duration
		for _, c := range s {
			n = n*10 + time.Duration(c-'0')
		}
		return min(n*time.Second, maxRetryAfter), false
	}
	at, err := http.ParseTime(s)
	if err != nil || !at.After(now) {
		return 0, false
	}
	return min(at.Sub(now), maxRetryAfter), true
}
