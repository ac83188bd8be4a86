// C = beta C + op(A) op(B), then optionally bias and activation; gradients of activations; sums of columns.
//
// Layout: everything row-major and dense; op transposes A, B or neither.
// Schedule: a block per 64 x 64 tile of C (tile.cuh). blockIdx.z cuts k into `splits` ranges for the products whose C is
//   small and whose k is a whole batch (gradients of weights): each writes its own partial tile and `gemm_merge` adds
//   them in order.
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
    for_each_sum<U>(sum, row0, col0, m, n, [&](int row, int col, float v) {
        size_t at = (size_t)row * n + col;
        if (splits == 1) {
            if (beta != 0.0f) v += beta * c[at];
            if (bias) v += bias[col];
            v = activate(v, activation, slope);
        }
        out[at] = v;
    });
}

UNIT_VARIANTS(gemm_nn, (256, 2),
              (const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
               int splits, float beta, int activation, float slope),
              gemm<U, false, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);)

UNIT_VARIANTS(gemm_nt, (256, 2),
              (const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
               int splits, float beta, int activation, float slope),
              gemm<U, false, true>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);)

UNIT_VARIANTS(gemm_tn, (256, 2),
              (const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
               int splits, float beta, int activation, float slope),
              gemm<U, true, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);)

// c = beta c + the sum of the splits' partial tiles, in split order.
extern "C" __global__ void gemm_merge(float *c, const float *partial, unsigned long long n, int splits, float beta) {
    FOR_EACH(i, n) {
        float sum = 0.0f;
        for (int s = 0; s < splits; s++) sum += partial[s * n + i];
        c[i] = beta != 0.0f ? beta * c[i] + sum : sum;
    }
}

// dz = dy * act'(z), with act'(z) read off the output y.
extern "C" __global__ void act_bwd(float *dz, const float *dy, const float *y, unsigned long long n, int activation,
                                   float slope) {
    FOR_EACH(i, n) dz[i] = dy[i] * derivative(y[i], activation, slope);
}

// Sums of columns over chunks of rows, a chunk for each blockIdx.x: partial (chunks, cols). Threads of a block read
// consecutive columns.
extern "C" __global__ void column_sums(float *partial, const float *x, int rows, int cols, int chunk) {
    int col = blockIdx.y * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    int begin = blockIdx.x * chunk, end = min(rows, begin + chunk);
    float sum = 0.0f;
    for (int r = begin; r < end; r++) sum += x[(size_t)r * cols + col];
    partial[(size_t)blockIdx.x * cols + col] = sum;
}

// out += the chunks' sums, in chunk order.
extern "C" __global__ void column_sums_merge(float *out, const float *partial, int chunks, int cols) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    float sum = 0.0f;
    for (int c = 0; c < chunks; c++) sum += partial[(size_t)c * cols + col];
    out[col] += sum;
}
