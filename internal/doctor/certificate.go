package doctor

import (
	"fmt"
	"time"

	"github.com/freshet-dev/freshet"
	"github.com/freshet-dev/freshet/internal/grant"
)

// CertificateWarnings are how many days before its end a client certificate is
// spoken of.
var CertificateWarnings = []int{30, 7, 1}

// certificate looks at the certificate that a client shows its provider. ok is
// false if it shows none.
func certificate(def *freshet.Definition, now time.Time) (f Finding, ok bool) {
	who := "connection " + def.Connection.Name
	if def.Connection.Client != "" {
		who = "client " + def.Connection.Client
	}
	f = Finding{Check: "certificate of " + who, Do: "put a new certificate into the client and apply"}
	end, err := grant.CertificateEnd(def)
	switch {
	case err != nil:
		f.Level, f.Detail = Problem, err.Error()
		return f, true
	case end.IsZero():
		return Finding{}, false
	}
	day := end.UTC().Format("2006-01-02 15:04 MST")
	left := end.Sub(now)
	switch {
	case left <= 0:
		f.Level, f.Detail = Problem, "it ended on "+day+": the provider refuses the client, nothing is lost"
	case left <= days(CertificateWarnings[2]):
		f.Level, f.Detail = Problem, "it ends within a day, on "+day
	case left <= days(CertificateWarnings[0]):
		f.Level, f.Detail = Warning, fmt.Sprintf("it ends in %d days, on %s", int(left/days(1)), day)
	default:
		f.Level, f.Detail, f.Do = OK, "good until "+day, ""
	}
	return f, true
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
