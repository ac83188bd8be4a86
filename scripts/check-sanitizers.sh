#!/usr/bin/env bash
# Runs the kernels, by the host executor, under g++'s AddressSanitizer and UndefinedBehaviorSanitizer, and under
# ThreadSanitizer with every CUDA thread as a thread of its own. First a planted fault of each kind must be found.
# The executor's own checks (cargo test) see more; these are independent of them, and see the bounds of each variable
# in static shared memory.
set -euo pipefail
cd "$(dirname "$0")/.."

# Builds beside the other ones; only the executor and the test programs are compiled again for the second sanitizer.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}
CARGO=${CARGO:-cargo}
LOG=$(mktemp)
trap 'rm -f "$LOG"' EXIT

# The path of a test program of this build.
program() {
    "$CARGO" test --release --test "$1" --no-run --message-format=json 2>/dev/null |
        grep '"kind":\["test"\]' | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
}

build() {
    export WAATA_HOST_SANITIZER=$1
    "$CARGO" test --quiet --release --test ops --test faults --no-run
    OPS=$(program ops) FAULTS=$(program faults)
}

# The library comes first in the program: it has to replace malloc. setarch: ThreadSanitizer wants addresses where
# the kernel's full randomisation does not always put them.
under() {
    local library=$1
    shift
    setarch -R env LD_PRELOAD="$(g++ -print-file-name="$library")" "$@"
}

# A fault must end the program with this report.
finds() {
    local library=$1 fault=$2 report=$3
    if WAATA_FAULT=$fault under "$library" "$FAULTS" --ignored --exact plant --nocapture >"$LOG" 2>&1; then
        echo "check-sanitizers.sh: $fault went unnoticed" >&2
        exit 1
    fi
    if ! grep -q "$report" "$LOG" || ! grep -q "planted.cu:[0-9]" "$LOG"; then
        cat "$LOG" >&2
        echo "check-sanitizers.sh: $fault: no report of \"$report\" in planted.cu" >&2
        exit 1
    fi
    echo "found: $fault: $report"
}

# Leaks: Rust's test harness and the fibers keep memory to the end.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1
build address
finds libasan.so fault_read_global "heap-buffer-overflow"
finds libasan.so fault_write_global "heap-buffer-overflow"
finds libasan.so fault_read_shared "global-buffer-overflow"
finds libasan.so fault_write_shared "insufficient space\|global-buffer-overflow"
finds libasan.so fault_dynamic_shared "use-after-poison"
finds libasan.so fault_array_bounds "out of bounds"
finds libasan.so fault_overflow "signed integer overflow"
# The far ends of sparse tables and the faults belong to the executor's own checks.
under libasan.so "$OPS" --quiet kernels --skip planted --skip far

# ThreadSanitizer. Rust's threads and locks are not compiled for it: what the C library does for them (memset, malloc)
# it would take for races, so it leaves those calls alone. Tests one after another: all share the executor's fibers.
export TSAN_OPTIONS=halt_on_error=1:exitcode=99:report_signal_unsafe=0:ignore_interceptors_accesses=1
build thread
finds libtsan.so fault_missing_barrier "data race"
finds libtsan.so fault_race_shared "data race"
finds libtsan.so fault_race_global "data race"
finds libtsan.so fault_race_warp "data race"
under libtsan.so "$OPS" --quiet kernels --skip planted --skip far --test-threads 1
echo "no sanitizer has anything to report"
