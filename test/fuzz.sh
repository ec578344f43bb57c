#!/usr/bin/env bash
# Runs every fuzz target of the project for the time given.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
	dir=$(dirname "$file")
	grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | cut -c6- | while read -r name; do
		go test -run '^$' -fuzz "^$name\$" -fuzztime "${1:-10s}" "$dir"
	done
done
