#!/usr/bin/env bash
# Everything that can be said of this program on a card, in one call, as one JSON record. Part of the bundle that
# scripts/gpu/bundle.sh makes; needs a driver, and uses compute-sanitizer and a python3 with torch where they are there.
#
#   ./run.sh [--out FILE] [--reruns 50] [--skip-peers]
#   ./run.sh --rehearse        the same path on the CPU at tiny sizes; its record has "card": null and "rehearsal": true
#
# Exit codes: 0 all well; 1 a check failed; 4 no card (the record then has "card": null and measures nothing).
set -uo pipefail
cd "$(dirname "$0")"

OUT="" RERUNS=50 PEERS=1 REHEARSE=0
while [ $# -gt 0 ]; do
    case $1 in
        --out) OUT=$2; shift ;;
        --reruns) RERUNS=$2; shift ;;
        --skip-peers) PEERS=0 ;;
        --rehearse) REHEARSE=1 ;;
        *) echo "run.sh: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done

REVISION=$(cat revision)
export WAATA_REVISION=$REVISION
DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
FAILED=0
SKIPPED=()

# A text as a JSON string.
quote() {
    local text
    text=$(printf '%s' "$1" | tr -d '\000-\010\013-\037' | tr '\t' ' ' | sed 's/\\/\\\\/g; s/"/\\"/g')
    printf '"%s"' "${text//$'\n'/\\n}"
}

say() { echo "== $*" >&2; }

skip() {
    say "skipped: $*"
    SKIPPED+=("$(quote "$*")")
}

# The document that a command left, or null.
document() {
    if [ -s "$1" ]; then cat "$1"; else printf null; fi
}

# Runs a check. RESULT is its exit code, its seconds and the end of its log as a JSON object.
check() {
    local name=$1 begin=$SECONDS code
    shift
    say "$name: $*"
    "$@" >"$WORK/log" 2>&1
    code=$?
    [ $code -eq 0 ] || { FAILED=1; say "$name FAILED with $code"; tail -20 "$WORK/log" >&2; }
    RESULT=$(printf '{"name": %s, "exit_code": %d, "seconds": %d, "end": %s}' \
        "$(quote "$name")" $code $((SECONDS - begin)) "$(quote "$(tail -5 "$WORK/log")")")
}

join() {
    local IFS=,
    printf '%s' "$*"
}

CARD=null
if command -v nvidia-smi >/dev/null && nvidia-smi -L >"$WORK/cards" 2>/dev/null && [ -s "$WORK/cards" ]; then
    fields=name,driver_version,compute_cap,memory.total,clocks.max.sm,clocks.max.mem,power.limit
    CARD=$(quote "$(nvidia-smi --query-gpu=$fields --format=csv | head -2)")
fi
if [ "$CARD" = null ] && [ $REHEARSE -eq 0 ]; then
    say "no card: nothing is checked or measured"
    skip "parity, sanitizers, equal bits, bench and peers: nvidia-smi finds no card"
fi
if [ $REHEARSE -eq 1 ]; then CARD=null; fi

SIZES=()
DEVICE=cuda
if [ $REHEARSE -eq 1 ]; then
    DEVICE=cpu
    SIZES=(--learners 700 --courses 60 --enrolments 4000 --dim 32 --batch 65 --triples 600 --ranked 90 --rows 50)
fi

./waata doctor --json >"$WORK/doctor" 2>/dev/null
PARITY=() SANITIZERS=() RERUN=null
if [ "$CARD" != null ] || [ $REHEARSE -eq 1 ]; then
    if [ $REHEARSE -eq 0 ] && ! grep -q '"choice": "cuda"' "$WORK/doctor"; then
        say "this program does not take the card: see doctor in the record"
        FAILED=1
    fi
    # Every kernel against the CPU code: the tests take the card where there is one.
    for test in tests/*; do
        if [ $REHEARSE -eq 1 ] && [ "$test" != tests/balance ]; then continue; fi
        check "$test" "$test"
        PARITY+=("$RESULT")
    done

    if [ $REHEARSE -eq 0 ] && command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck initcheck synccheck; do
            check "$tool, tests/ops" compute-sanitizer --tool $tool --error-exitcode 99 tests/ops
            SANITIZERS+=("$RESULT")
            check "$tool, train" compute-sanitizer --tool $tool --error-exitcode 99 ./waata train --data sample \
                --device cuda --set train.max_steps=3 --out "$WORK/$tool"
            SANITIZERS+=("$RESULT")
        done
    else
        skip "compute-sanitizer: not found"
    fi

    # The same training again and again: one hash of all checkpoints.
    say "equal bits over $RERUNS runs"
    for i in $(seq "$RERUNS"); do
        ./waata train --data sample --device $DEVICE --out "$WORK/run" --set train.max_steps=20 --set train.epochs=2 \
            >"$WORK/log" 2>&1 || { say "training failed"; tail -5 "$WORK/log" >&2; FAILED=1; }
        files=$(find "$WORK/run" -name '*.safetensors' | sort)
        [ -n "$files" ] || { say "training left no checkpoint"; FAILED=1; break; }
        # shellcheck disable=SC2086
        cat $files | sha256sum | cut -d' ' -f1 >>"$WORK/hashes"
        rm -rf "$WORK/run"
    done
    touch "$WORK/hashes"
    DIFFERENT=$(sort -u "$WORK/hashes" | wc -l)
    [ "$DIFFERENT" -eq 1 ] || { say "$DIFFERENT different results in $RERUNS runs"; FAILED=1; }
    RERUN=$(printf '{"runs": %d, "different": %d, "sha256": %s}' "$(wc -l <"$WORK/hashes")" "$DIFFERENT" "$(quote "$(sort -u "$WORK/hashes" | head -3)")")

    say "bench"
    ./waata bench all --device $DEVICE "${SIZES[@]}" --json >"$WORK/bench" || { FAILED=1; : >"$WORK/bench"; }

    if [ $PEERS -eq 0 ]; then
        skip "peers: --skip-peers"
    elif ! python3 -c 'import torch' 2>/dev/null; then
        skip "peers: python3 has no torch"
    elif [ $REHEARSE -eq 0 ] && ! python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
        skip "peers: torch finds no card"
    else
        say "peers"
        python3 peers/peers.py --waata ./waata --device $DEVICE --rounds 1 --sizes "${SIZES[*]}" --out "$WORK/peers" || FAILED=1
    fi
fi

if [ -z "$OUT" ]; then
    if [ "$CARD" = null ]; then OUT=no-card.json; else OUT=$(date -u +%Y-%m-%d)-card.json; fi
fi
{
    printf '{"schema_version": 1, "kind": "card", "card": %s, "rehearsal": %s,\n' \
        "$CARD" "$([ $REHEARSE -eq 1 ] && echo true || echo false)"
    printf '"date": %s, "revision": %s, "host": %s,\n' "$(quote "$DATE")" "$(quote "$REVISION")" "$(quote "$(uname -srm)")"
    printf '"skipped": [%s],\n' "$(join "${SKIPPED[@]:-}")"
    printf '"doctor": %s,\n' "$(document "$WORK/doctor")"
    printf '"parity": [%s],\n' "$(join "${PARITY[@]:-}")"
    printf '"sanitizers": [%s],\n' "$(join "${SANITIZERS[@]:-}")"
    printf '"equal_bits": %s,\n' "$RERUN"
    printf '"bench": %s,\n' "$(document "$WORK/bench")"
    printf '"peers": %s}\n' "$(document "$WORK/peers")"
} >"$OUT"
say "record: $OUT"
if [ "$CARD" = null ] && [ $REHEARSE -eq 0 ]; then exit 4; fi
exit $FAILED
