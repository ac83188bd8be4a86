#!/usr/bin/env bash
# How long builds take: wall clock and CPU seconds of a first build, of the tests after it, and of typical edits.
#
#     scripts/build-times.sh                 everything, in a new target folder
#     scripts/build-times.sh --warm          edits only, in the folder of CARGO_TARGET_DIR or target/
#     scripts/build-times.sh --timings       also the crates of the first build by the time they took
#
# Nothing else should run meanwhile. Edits are new modification times: no file changes.
set -euo pipefail
cd "$(dirname "$0")/.."

cold=true timings=()
for option in "$@"; do
    case $option in
        --warm) cold=false ;;
        --timings) timings=(--timings) ;;
        *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done

# Runs a command and prints its wall clock and CPU seconds.
measure() {
    local name=$1 log seconds
    shift
    log=$(mktemp)
    if ! seconds=$( { TIMEFORMAT='%R %U %S'; time "$@" >"$log" 2>&1; } 2>&1 ); then
        cat "$log" >&2
        rm -f "$log"
        echo "$name failed: $*" >&2
        exit 1
    fi
    rm -f "$log"
    read -r wall user system <<<"$seconds"
    printf '%8.1f %8.1f  %s\n' "$wall" "$(awk "BEGIN { print $user + $system }")" "$name"
}

# Measures commands after an edit of a file.
edit() {
    local file=$1
    shift
    [ -f "$file" ] || { echo "$file is gone: name another file of that package here" >&2; exit 1; }
    touch "$file"
    for command in "$@"; do
        # Words are split on purpose: a command is a list of arguments without blanks.
        # shellcheck disable=SC2086
        measure "touch $file; cargo $command" cargo $command
    done
}

# Crates of the newest report of --timings, the slowest first: seconds and name.
crates() {
    local page=$CARGO_TARGET_DIR/cargo-timings/cargo-timing.html
    [ -f "$page" ] || return 0
    echo
    echo "crates of the first build, seconds"
    python3 - "$page" <<'PYTHON'
import json, re, sys
from collections import defaultdict

text = open(sys.argv[1]).read()
units = json.loads(re.search(r"UNIT_DATA = (\[.*?\n?\]);", text, re.S)[1])
total = defaultdict(float)
for unit in units:
    total[unit["name"]] += unit["duration"]
for name, seconds in sorted(total.items(), key=lambda item: -item[1])[:25]:
    print(f"{seconds:8.1f}  {name}")
print(f"{sum(total.values()):8.1f}  all {len(total)} crates")
PYTHON
}

echo "$(rustc --version); $(nproc) cores; $(git describe --always --dirty 2>/dev/null || echo 'no git')"
printf '%8s %8s\n' wall cpu
if $cold; then
    CARGO_TARGET_DIR=$(mktemp -d "${TMPDIR:-/tmp}/waata-build-times.XXXXXX")
    export CARGO_TARGET_DIR
    trap 'rm -rf "$CARGO_TARGET_DIR"' EXIT
    cargo fetch --quiet
    measure "first cargo build --release" cargo build --release "${timings[@]}"
    measure "then cargo test --release --no-run" cargo test --release --no-run
else
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}
    cargo build --quiet --release
    cargo test --quiet --release --no-run
fi
edit src/data/formats/kgat.rs "test --release -p waata-data --no-run" "build --release"
edit src/report/lib.rs "test --release -p waata-report --no-run" "build --release"
edit src/ops/gate.rs "test --release --test ops --no-run"
if $cold && [ "${#timings[@]}" -gt 0 ]; then
    crates
fi
