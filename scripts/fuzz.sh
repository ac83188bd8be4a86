#!/usr/bin/env bash
# Runs the fuzz targets for a bounded time each, from the committed inputs on.
#
#   scripts/fuzz.sh                     20 seconds each
#   SECONDS_EACH=600 scripts/fuzz.sh formats
#   MERGE=1 scripts/fuzz.sh             adds what reaches more to fuzz/corpus
#
# An input that breaks something stays in fuzz/artifacts/TARGET; `fuzz/target/.../TARGET FILE` runs it again.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(formats store settings)
host=$(rustc -vV | sed -n 's/^host: //p')

# Coverage as cargo-fuzz asks for it, without a sanitizer: those need a nightly compiler, and the unsafe code that they look
# at is tested under them elsewhere (scripts/check-sanitizers.sh).
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
# Kernels are not fuzzed.
export WAATA_NVCC=off
cargo build --release --locked --target "$host" --bins

for target in "${targets[@]}"; do
    mkdir -p "artifacts/$target" "corpus/$target" "found/$target"
    echo "== $target: ${SECONDS_EACH:-20} s from $(find "corpus/$target" -type f | wc -l) inputs"
    # Twice the file and 64 MiB is what a reader may allocate; the rest is the fuzzer's own.
    "target/$host/release/$target" "found/$target" "corpus/$target" -max_total_time="${SECONDS_EACH:-20}" \
        -max_len=8192 -timeout=10 -malloc_limit_mb=72 -rss_limit_mb=1024 -artifact_prefix="artifacts/$target/" \
        -print_final_stats=1 2>"found/$target.log" || { tail -40 "found/$target.log" >&2; exit 1; }
    grep -E 'stat::(number_of_executed_units|new_units_added)|cov:.*DONE' "found/$target.log" || true
    if [ -n "${MERGE:-}" ]; then
        "target/$host/release/$target" -merge=1 "corpus/$target" "found/$target" 2>>"found/$target.log"
    fi
done
