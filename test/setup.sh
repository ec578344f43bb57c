#!/usr/bin/env bash
# Brings what the tests need, and says what it had to leave out. With CI=true
# nothing may be left out.
set -uo pipefail
cd "$(dirname "$0")/.."

missing=()
leave() { missing+=("$1"); }
have() { command -v "$1" >/dev/null 2>&1; }

sudo=""
can_apt=false
if have apt-get; then
	if [ "$(id -u)" = 0 ]; then
		can_apt=true
	elif have sudo && sudo -n true 2>/dev/null; then
		can_apt=true
		sudo="sudo -n"
	fi
fi
updated=false
# apt PACKAGE…: installs, quietly, and reports whether that worked.
apt() {
	$can_apt || return 1
	if ! $updated; then
		$sudo apt-get -qq update >/dev/null 2>&1
		updated=true
	fi
	DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq install -y --no-install-recommends "$@" >/dev/null 2>&1
}

have go || { echo "setup: Go 1.26 or newer is needed: https://go.dev/dl" >&2; exit 1; }
echo "setup: Go modules"
go mod download || exit 1
(cd test/fosite && go mod download) || exit 1

chromium() { have chromium || have chromium-browser || have google-chrome; }
if ! chromium; then
	echo "setup: Chromium"
	apt chromium || apt chromium-browser
	chromium || leave "Chromium (package chromium): the browser walk through freshet connect"
fi

postgres() { have postgres || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; }
if ! postgres; then
	echo "setup: PostgreSQL"
	apt postgresql
	postgres || leave "PostgreSQL (package postgresql): the store's suite on it"
fi

pgbouncer() { have pgbouncer || [ -x /usr/sbin/pgbouncer ]; }
if ! pgbouncer; then
	echo "setup: PgBouncer"
	apt pgbouncer
	pgbouncer || leave "PgBouncer (package pgbouncer): the store's suite behind a pooler of transactions"
fi

if ! have node; then
	apt nodejs npm
fi
if have node && have npm; then
	echo "setup: npm packages of test/oidc"
	if [ ! -d test/oidc/node_modules ] || [ test/oidc/package-lock.json -nt test/oidc/node_modules ]; then
		(cd test/oidc && npm ci --no-audit --no-fund --loglevel=error) || leave "npm packages of test/oidc: the certified authorization server"
		touch test/oidc/node_modules 2>/dev/null || true
	fi
else
	leave "Node.js 20 (packages nodejs npm): the certified authorization server"
fi

have strace || apt strace || true
have strace || leave "strace (package strace): fsyncs counted against commits"

if ! have cc && ! have gcc; then
	leave "a C compiler (package gcc): the race detector"
fi

if [ ${#missing[@]} -gt 0 ]; then
	echo "setup: left out, because it is not here and could not be installed:"
	printf '  - %s\n' "${missing[@]}"
	if [ "${CI:-}" = true ]; then
		echo "setup: with CI=true nothing may be left out" >&2
		exit 1
	fi
fi
