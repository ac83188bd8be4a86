#!/usr/bin/env bash
# Packs what a machine with a card needs to check and measure everything, without Rust, a compiler or a network there:
#
#   scripts/gpu/bundle.sh                        here: builds, and writes target/waata-gpu-REVISION.tar.gz
#   tar xf waata-gpu-REVISION.tar.gz             there (Linux, x86-64, glibc 2.34 or newer)
#   waata-gpu-REVISION/run.sh                    there: one JSON record, to be committed to benches/results/
set -euo pipefail
cd "$(dirname "$0")/../.."

WAATA_REVISION=$(git describe --always --dirty)
export WAATA_REVISION
# The tests that use a card where there is one.
TESTS="ops balance optim"

cargo build --release --bin waata
if ! target/release/waata doctor --json | grep -q '"compiled": true'; then
    echo "bundle.sh: this build has no kernels: scripts/install-nvcc.sh, and unset WAATA_NVCC" >&2
    exit 1
fi

STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
ROOT=$STAGE/waata-gpu-$WAATA_REVISION
mkdir -p "$ROOT/tests" "$ROOT/peers" "$ROOT/sample"
cp target/release/waata "$ROOT/waata"
for name in $TESTS; do
    # Cargo says where it put the binary.
    binary=$(cargo test --release --no-run --message-format=json --test "$name" 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\/deps\/'"$name"'-[^"]*\)".*/\1/p' | tail -1)
    [ -x "$binary" ] || { echo "bundle.sh: found no binary of test $name" >&2; exit 1; }
    cp "$binary" "$ROOT/tests/$name"
done
cp data/sample/*.csv data/sample/run.toml "$ROOT/sample/"
cp scripts/peers/*.py scripts/peers/requirements.txt "$ROOT/peers/"
cp scripts/gpu/run.sh "$ROOT/run.sh"
echo "$WAATA_REVISION" >"$ROOT/revision"

OUT=target/waata-gpu-$WAATA_REVISION.tar.gz
tar -C "$STAGE" -czf "$OUT" "waata-gpu-$WAATA_REVISION"
echo "$OUT"
