#!/usr/bin/env bash
# Runs tests under the race detector, where a C compiler is there for it. SQLite
# is transpiled C, which the detector slows some twentyfold: of the packages
# whose tests live in it, those tests run that are about goroutines meeting; all
# of them run without the detector as well.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! { command -v cc || command -v gcc; } >/dev/null 2>&1; then
	echo "race: left out: there is no C compiler"
	[ "${CI:-}" != true ] || exit 1
	exit 0
fi
export CGO_ENABLED=1
go test -race -timeout 20m . ./api ./internal/access ./internal/audit ./internal/catalog ./internal/dial ./internal/flow ./internal/grant/... \
	./internal/httpapi ./internal/metrics ./internal/predicate ./internal/proxy ./internal/redact ./internal/template ./internal/upstream \
	./internal/vault ./internal/web ./internal/webhook ./internal/emulator/... ./internal/queue ./internal/workflow/outbound
go test -race -timeout 20m -run 'TestCoalesce|TestRejected|TestFenced|TestClose|TestStoreFails|TestBehind|TestEdited|TestLease' ./internal/refresh
go test -race -timeout 20m -run '^TestStore$/^(Race|Flow|Outbox)$' ./internal/store/sqlite
go test -race -timeout 20m -run 'TestGroupCommit' ./internal/run
go test -race -timeout 20m -run 'TestTwoReplicas|TestLock|TestConcurrent' ./internal/workflow/engine
