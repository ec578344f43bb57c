//go:build unix

package torture

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

// report says what was done and what came of it.
func (w *world) report(t *testing.T, took time.Duration) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "| | |\n|---|---|\n| seed | %d |\n| replicas, connections | %d, %d |\n| time under torture | %s |\n| tokens that the provider gave | %d |\n| reads answered with a token | %d, of which %d were checked with the provider at once |\n",
		w.plan.seed, w.plan.replicas, w.plan.connections, took.Round(time.Second), w.granted(), w.reads, w.checked)
	for _, k := range slices.Sorted(maps.Keys(w.done)) {
		fmt.Fprintf(&b, "| %s | %d |\n", k, w.done[k])
	}
	for _, k := range slices.Sorted(maps.Keys(w.refused)) {
		fmt.Fprintf(&b, "| callers who were told to wait: %s | %d |\n", k, w.refused[k])
	}
	for _, k := range slices.Sorted(maps.Keys(w.named)) {
		fmt.Fprintf(&b, "| grants that a lost answer cost, named `lost_in_flight`: model %s | %d |\n", k, w.named[k])
	}
	fmt.Fprintf(&b, "| broken promises | %d |\n", len(w.breaches))
	t.Log("\n" + b.String())
	file := os.Getenv("FRESHET_TORTURE_REPORT")
	if file == "" || t.Failed() {
		return
	}
	text := fmt.Sprintf(`# The torture report

Several replicas, one PostgreSQL whose default is `+"`synchronous_commit=off`"+`, a provider of every model, callers all the while; and everything that happens to
machines, at random from a seed. After it every connection had to refresh once more, or to say by name that its answer was lost on the wire to a provider that
forgives nothing; the provider was asked whether a refresh token was ever in flight twice, presented twice without a record of why, or a family revoked;
each token that a caller got was shown to the provider; and logs, metrics, files and every row of the database were searched for tokens.

%s`+"```console\n$ FRESHET_TORTURE_SEED=%d FRESHET_TORTURE_CONNECTIONS=%d FRESHET_TORTURE_REFRESHES=%d FRESHET_TORTURE_KILLS=%d FRESHET_TORTURE_PG_KILLS=%d FRESHET_TORTURE_MINUTES=%d \\\n    FRESHET_TORTURE_REPORT=$PWD/docs/torture-report.md go test -timeout 3h -run TestTorture ./test/torture\n```\n"+`
The models sometimes, rotate and strict refuse the previous refresh token: an answer that was lost on its way to them is a grant that no client can keep. All
other models lost none. Nothing that was acknowledged to a caller was lost with any of them: no generation that a caller was shown was ever gone.
`, b.String(), w.plan.seed, w.plan.connections, w.plan.refreshes, w.plan.kills, w.plan.pgKills, int(w.plan.limit/time.Minute))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
