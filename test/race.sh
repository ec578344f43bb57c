#!/usr/bin/env bash
# Prints -race where a C compiler is there for it.
if { command -v cc || command -v gcc; } >/dev/null 2>&1 && [ "$(go env CGO_ENABLED)" = 1 ]; then
	echo -race
fi
