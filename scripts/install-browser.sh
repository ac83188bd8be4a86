#!/usr/bin/env bash
# Installs Chromium from the packages of Debian or Ubuntu, for the test that opens a report in a real browser
# (tests/report). Does nothing where a browser that the test would find is there already.
set -euo pipefail

# The names that tests/report/browser.rs looks for.
for name in "${WAATA_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -n "$name" ] && found=$(command -v "$name") && "$found" --version >/dev/null 2>&1; then
        echo "a browser is installed already: $found"
        exit 0
    fi
done

if ! command -v apt-get >/dev/null; then
    echo "install-browser.sh: found no browser and no apt-get; install Chromium, or name one in WAATA_BROWSER" >&2
    exit 1
fi
AS_ROOT=()
if [ "$(id -u)" != 0 ]; then
    AS_ROOT=(sudo)
    command -v sudo >/dev/null || { echo "install-browser.sh: needs root: apt-get install chromium" >&2; exit 1; }
fi
export DEBIAN_FRONTEND=noninteractive
# A list of packages that is days old names versions that are gone.
"${AS_ROOT[@]}" apt-get update -qq
"${AS_ROOT[@]}" apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
chromium --version
