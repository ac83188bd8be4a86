#!/usr/bin/env bash
# Installs the pinned CUDA compiler into .cuda/ (about 104 MB from PyPI; no root, no GPU, no driver).
# build.rs looks there by itself. Does nothing where this version is already installed.
set -euo pipefail
cd "$(dirname "$0")/.."

# One release for all: a newer NVVM writes PTX that this ptxas, and driver 580, refuse. Hence --no-deps, too.
PACKAGES=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85
    nvidia-cuda-cuobjdump==13.2.86
    nvidia-cuda-nvdisasm==13.2.86
)
TARGET=.cuda
NVCC=$TARGET/nvidia/cu13/bin/nvcc
STAMP=$TARGET/packages.txt

if [ -x "$NVCC" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "${PACKAGES[*]}" ] && "$NVCC" --version >/dev/null 2>&1; then
    echo "nvcc is installed already: $PWD/$NVCC"
    exit 0
fi

PYTHON=${PYTHON:-python3}
if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then
    echo "install-nvcc.sh: needs Python with pip; on Debian or Ubuntu: apt install python3-pip" >&2
    exit 1
fi

rm -rf "$TARGET"
"$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --target "$TARGET" "${PACKAGES[@]}"
"$NVCC" --version >/dev/null
# Written last: an interrupted installation is repeated.
echo "${PACKAGES[*]}" >"$STAMP"
# cargo runs the build script again, which finds the compiler now.
touch build.rs
echo "nvcc is installed: $PWD/$NVCC"
