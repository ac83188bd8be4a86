#!/usr/bin/env bash
# Compiles every kernel for every architecture and fails where one spills registers, on any of them. Compares
# registers, shared memory, stack, spills and the widths of loads from and stores to device memory on sm_86 and sm_90
# with docs/kernel-resources.csv; `--update` writes that file. Needs nvcc (scripts/install-nvcc.sh), no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

TABLE=docs/kernel-resources.csv
UPDATE=
case "${1:-}" in
"") ;;
--update) UPDATE=1 ;;
*) echo "usage: scripts/check-kernels.sh [--update]" >&2; exit 2 ;;
esac

# The list that build.rs embeds.
ARCHITECTURES=$(sed -n 's/^const ARCHITECTURES.*= \[\(.*\)\];/\1/p' build.rs | tr -d ',')
SHOWN="86 90"

if [ -z "${NVCC:-}" ]; then
    NVCC=$(ls "${CUDA_HOME:-/none}/bin/nvcc" "${CUDA_PATH:-/none}/bin/nvcc" 2>/dev/null | head -1 || true)
    NVCC=${NVCC:-$(command -v nvcc || true)}
    NVCC=${NVCC:-$(ls /usr/local/cuda/bin/nvcc /opt/cuda/bin/nvcc .cuda/nvidia/cu13/bin/nvcc 2>/dev/null | head -1 || true)}
fi
if [ -z "$NVCC" ]; then
    echo "check-kernels.sh: found no nvcc; scripts/install-nvcc.sh installs it" >&2
    exit 1
fi

LOGS=$(mktemp -d)
trap 'rm -rf "$LOGS"' EXIT
NVCC=$(realpath "$NVCC")
PATH=$(dirname "$NVCC"):$PATH
export NVCC LOGS ARCHITECTURES SHOWN

# One file, all architectures: the front end runs once per architecture either way, ptxas reports each.
compile() {
    local name flags=()
    name=$(basename "$1" .cu)
    for number in $ARCHITECTURES; do flags+=(-gencode "arch=compute_$number,code=sm_$number"); done
    "$NVCC" -fatbin -O3 -std=c++17 -lineinfo -I kernels "${flags[@]}" -Xptxas -v,-warn-spills \
        -o "$LOGS/$name.fatbin" "$1" >"$LOGS/$name.log" 2>&1 || { cat "$LOGS/$name.log" >&2; return 1; }
    # Loads and stores of device memory by width: LDG.E[.64|.128], STG.E[.64|.128], anything else but 32 bits is
    # narrower.
    for number in $SHOWN; do
        cuobjdump -sass -arch "sm_$number" "$LOGS/$name.fatbin" | awk -v arch="$number" '
            /Function : / { kernel = $3 }
            match($0, /(LDG|STG)\.[A-Z0-9.]+/) {
                word = substr($0, RSTART, RLENGTH)
                width = word ~ /\.128/ ? 128 : word ~ /\.64/ ? 64 : word ~ /\.[US](8|16)/ ? 16 : 32
                count[kernel, substr(word, 1, 3), width]++
            }
            END { for (key in count) { split(key, part, SUBSEP); print part[1], arch, part[2], part[3], count[key] } }
        ' >"$LOGS/$name.$number.widths"
    done
}
export -f compile
printf '%s\0' kernels/*.cu | xargs -0 -n 1 -P "$(nproc)" bash -c 'compile "$1"' _

# ptxas prints, per kernel and architecture:
#   Compiling entry function 'NAME' for 'sm_86'
#   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
#   Used 40 registers, used 1 barriers, 4608 bytes smem, ...
awk -v shown="$SHOWN" -v count="$(wc -w <<<"$ARCHITECTURES")" -v table="$LOGS/table" '
    function number(pattern) { return match($0, pattern) ? substr($0, RSTART, RLENGTH) + 0 : 0 }
    FILENAME ~ /\.widths$/ { wide[$1, $2, $3, $4] = $5; next }
    /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; arch = substr(part[4], 4); next }
    /warning/ && !/Registers are spilled/ { warnings = warnings "\n" $0 }
    # One such line per kernel and per device function that was not inlined, indented; warnings repeat the numbers.
    /^ +[0-9]+ bytes stack frame/ {
        stack[kernel, arch] += number("[0-9]+ bytes stack")
        spill[kernel, arch] += number("[0-9]+ bytes spill stores") + number("[0-9]+ bytes spill loads")
    }
    /Used [0-9]+ registers/ {
        match($0, /Used [0-9]+/); registers[kernel, arch] = substr($0, RSTART + 5, RLENGTH - 5)
        shared[kernel, arch] = number("[0-9]+ bytes smem"); seen[kernel]++
    }
    END {
        n = split(shown, column)
        for (kernel in seen) {
            for (i = 1; i <= n; i++) {
                a = column[i]
                row = sprintf("%s,sm_%s,%d,%d,%d,%d", kernel, a, registers[kernel, a], shared[kernel, a],
                              stack[kernel, a], spill[kernel, a])
                for (w = 16; w <= 128; w *= 2) row = row sprintf(",%d", wide[kernel, a, "LDG", w])
                for (w = 16; w <= 128; w *= 2) row = row sprintf(",%d", wide[kernel, a, "STG", w])
                print row >table
            }
            if (seen[kernel] != count) problems = problems "\n" kernel ": " seen[kernel] " reports of ptxas, expected " count
        }
        if (warnings) print "warnings:" warnings
        for (key in spill) if (spill[key] > 0) {
            split(key, part, SUBSEP); problems = problems "\n" part[1] " spills " spill[key] " bytes on sm_" part[2]
        }
        if (!length(seen)) problems = "\nno kernel was found"
        if (problems) { print "FAILED:" problems; exit 1 }
        print "no kernel spills on any of " count " architectures"
    }' "$LOGS"/*.log "$LOGS"/*.widths

# Loads and stores are instructions in the machine code, by bits (16: 8 or 16).
{
    echo "kernel,arch,registers,shared,stack,spills,load16,load32,load64,load128,store16,store32,store64,store128"
    LC_ALL=C sort -t, -k1,1 -k2,2 "$LOGS/table"
} >"$LOGS/resources.csv"
if [ -n "$UPDATE" ]; then
    cp "$LOGS/resources.csv" "$TABLE"
    echo "$TABLE is written"
elif ! diff -u "$TABLE" "$LOGS/resources.csv"; then
    echo "FAILED: $TABLE is not what nvcc makes of the kernels; where the change is meant:" \
        "scripts/check-kernels.sh --update" >&2
    exit 1
else
    echo "$TABLE is up to date: $(($(wc -l <"$TABLE") - 1)) rows"
fi
