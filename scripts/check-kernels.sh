#!/usr/bin/env bash
# Compiles every kernel for every architecture and fails where one spills registers, on any of them. Prints
# registers, shared memory and spills of each kernel for sm_86 and sm_90. Needs nvcc (scripts/install-nvcc.sh),
# no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

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
export NVCC LOGS ARCHITECTURES

# One file, all architectures: the front end runs once per architecture either way, ptxas reports each.
compile() {
    local name flags=()
    name=$(basename "$1" .cu)
    for number in $ARCHITECTURES; do flags+=(-gencode "arch=compute_$number,code=sm_$number"); done
    "$NVCC" -fatbin -O3 -std=c++17 -lineinfo -I kernels "${flags[@]}" -Xptxas -v,-warn-spills \
        -o "$LOGS/$name.fatbin" "$1" >"$LOGS/$name.log" 2>&1 || { cat "$LOGS/$name.log" >&2; return 1; }
}
export -f compile
printf '%s\0' kernels/*.cu | xargs -0 -n 1 -P "$(nproc)" bash -c 'compile "$1"' _

# ptxas prints, per kernel and architecture:
#   Compiling entry function 'NAME' for 'sm_86'
#   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
#   Used 40 registers, used 1 barriers, 4608 bytes smem, ...
awk -v shown="$SHOWN" -v count="$(wc -w <<<"$ARCHITECTURES")" '
    function number(pattern) { return match($0, pattern) ? substr($0, RSTART, RLENGTH) + 0 : 0 }
    BEGIN { n = split(shown, column) }
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
        printf "%-36s", "kernel"
        for (i = 1; i <= n; i++) printf "  sm_%s: %9s %7s %6s %6s", column[i], "registers", "shared", "stack", "spills"
        print ""
        for (kernel in seen) {
            row = sprintf("%-36s", kernel)
            for (i = 1; i <= n; i++) {
                a = column[i]
                row = row sprintf("         %9d %7d %6d %6d", registers[kernel, a], shared[kernel, a], stack[kernel, a], spill[kernel, a])
            }
            print row | "sort"
            if (seen[kernel] != count) problems = problems "\n" kernel ": " seen[kernel] " reports of ptxas, expected " count
        }
        close("sort")
        if (warnings) print "warnings:" warnings
        for (key in spill) if (spill[key] > 0) {
            split(key, part, SUBSEP); problems = problems "\n" part[1] " spills " spill[key] " bytes on sm_" part[2]
        }
        if (!length(seen)) problems = "\nno kernel was found"
        if (problems) { print "FAILED:" problems; exit 1 }
        print "no kernel spills on any of " count " architectures"
    }' "$LOGS"/*.log
