# make test does all the set-up that the tests need. The two commands of the
# README are `go run ./cmd/freshet demo` and `make test`.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)

.PHONY: build test setup check unit race fosite deploy kill demo figures fuzz clean

build: ## the binary, in ./freshet
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o freshet ./cmd/freshet

test: setup check unit race fosite deploy kill demo ## everything that must hold before a change lands
	@echo "all tests passed"

setup: ## what the tests need: modules, npm packages, Chromium, PostgreSQL
	@test/setup.sh

check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags failpoints ./internal/failpoint ./internal/refresh ./cmd/freshet

unit:
	$(GO) test -timeout 30m ./...

race: ## the same under the race detector, as far as it can bear it
	@test/race.sh

fosite: ## a second, independent authorization server, in a module of its own
	cd test/fosite && $(GO) test -timeout 10m ./...

deploy: ## the chart, the alerts and the compose file, by their own tools, in a module of its own
	cd test/deploy && $(GO) test -timeout 10m ./...

kill: ## SIGKILL at every fail point, against every model of provider
	$(GO) test -tags failpoints -timeout 30m ./test/kill

demo: ## the main job, once, on a fresh directory
	$(GO) run ./cmd/freshet demo --once

figures: ## measures this machine and rewrites docs/benchmarks.md
	$(GO) run ./cmd/freshet bench --report docs/benchmarks.md

fuzz: ## ten seconds for each fuzz target
	test/fuzz.sh 10s

clean:
	rm -rf freshet dist
