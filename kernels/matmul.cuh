// C = beta C + op(A) op(B), then optionally bias and activation, for matmul.cu and matmul_mma.cu.
//
// Layout: everything row-major and dense; op transposes A, B or neither.
// Schedule: a block per 64 x 64 tile of C (tile.cuh). blockIdx.z cuts k into `splits` ranges for the products whose C is
//   small and whose k is a whole batch (gradients of weights): each writes its own partial tile and `gemm_merge` adds
//   them in order.
#pragma once
#include "tile.cuh"

template <Unit U, bool TA, bool TB>
__device__ __forceinline__ void gemm(const float *a, const float *b, float *c, const float *bias, float *partial, int m,
                                     int k, int n, int splits, float beta, int activation, float slope) {
    int row0, col0;
    place(n, row0, col0);
    int slabs = (k + SLAB - 1) / SLAB;
    int per_split = (slabs + splits - 1) / splits * SLAB;
    int k_begin = blockIdx.z * per_split, k_end = min(k, k_begin + per_split);
    Sums sum = {};
    multiply<U, !TA, TB>(
        sum, k_begin, k_end,
        [&](int r, int kk) {
            return row0 + r < m ? a[TA ? (size_t)kk * m + row0 + r : (size_t)(row0 + r) * k + kk] : 0.0f;
        },
        [&](int kk, int c) {
            return col0 + c < n ? b[TB ? (size_t)(col0 + c) * k + kk : (size_t)kk * n + col0 + c] : 0.0f;
        },
        [](const Slab &) {});
    float *out = splits > 1 ? partial + (size_t)blockIdx.z * m * n : c;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = row0 + row_of<U>(i, j), col = col0 + col_of<U>(i, j);
            if (row >= m || col >= n) continue;
            size_t at = (size_t)row * n + col;
            float v = sum[i][j];
            if (splits == 1) {
                if (beta != 0.0f) v += beta * c[at];
                if (bias) v += bias[col];
                v = activate(v, activation, slope);
            }
            out[at] = v;
        }
    }
}
