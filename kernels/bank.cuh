// Layers of several MLPs at once, for bank.cu and bank_mma.cu: member e of up to eight in blockIdx.z.
//
// Layout: row-major; x_e, y_e and the like are blocks of columns of wider matrices, given by their first element and
//   the row's length `ld`. W_e (k, n), b_e (n). dz_e = dy_e act'(y_e), with y_e absent (null) where dy_e is dz_e.
// Schedule: a block per 64 x 64 tile (tile.cuh), all along x, as in matmul.cuh. Sums over the batch are cut into `splits` ranges, whose partial sums
//   bank_merge adds in order.
#pragma once
#include "tile.cuh"

// An element of dz.
struct Upstream {
    const float *dy, *y;
    int ld, activation;
    float slope;
    __device__ __forceinline__ float operator()(int row, int col) const {
        size_t at = (size_t)row * ld + col;
        return y ? dy[at] * derivative(y[at], activation, slope) : dy[at];
    }
};

// y_e = act(x_e W_e + b_e)
template <Unit U>
__device__ __forceinline__ void bank_forward(const Pointers &x, int ldx, const Pointers &w, const Pointers &b,
                                             const Pointers &y, int ldy, int rows, int k, int n, int activation,
                                             float slope) {
    const float *input = x.at[blockIdx.z], *weight = w.at[blockIdx.z], *bias = b.at[blockIdx.z];
    float *out = y.at[blockIdx.z];
    int row0, col0;
    place(n, row0, col0);
    Sums sum = {};
    multiply<U, true, false>(
        sum, 0, k, [&](int r, int kk) { return row0 + r < rows ? input[(size_t)(row0 + r) * ldx + kk] : 0.0f; },
        [&](int kk, int c) { return col0 + c < n ? weight[(size_t)kk * n + col0 + c] : 0.0f; }, [](const Slab &) {});
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = row0 + row_of<U>(i, j), col = col0 + col_of<U>(i, j);
            if (row < rows && col < n) out[(size_t)row * ldy + col] = activate(sum[i][j] + bias[col], activation, slope);
        }
    }
}

// partial (splits, members, k + 1, n): x_e^T dz_e, and below it the column sums of dz_e.
template <Unit U>
__device__ __forceinline__ void bank_weights(float *partial, const Pointers &x, int ldx, const Pointers &dy,
                                             const Pointers &y, int ldy, int rows, int k, int n, int splits,
                                             int activation, float slope) {
    int e = blockIdx.z / splits, split = blockIdx.z % splits, members = gridDim.z / splits;
    int row0, col0;
    place(n, row0, col0);
    int slabs = (rows + SLAB - 1) / SLAB, per_split = (slabs + splits - 1) / splits * SLAB;
    int begin = split * per_split, end = min(rows, begin + per_split);
    const float *input = x.at[e];
    const Upstream dz = {dy.at[e], y.at[e], ldy, activation, slope};
    const bool biases = row0 == 0 && threadIdx.x < TILE;
    float bias = 0.0f;
    Sums sum = {};
    multiply<U, false, false>(
        sum, begin, end, [&](int r, int kk) { return row0 + r < k ? input[(size_t)kk * ldx + row0 + r] : 0.0f; },
        [&](int kk, int c) { return col0 + c < n ? dz(kk, col0 + c) : 0.0f; },
        [&](const Slab &bs) {
            if (biases)
                for (int kk = 0; kk < SLAB; kk++) bias += bs[kk][threadIdx.x];
        });
    float *out = partial + (size_t)(split * members + e) * (k + 1) * n;
    if (biases && col0 + (int)threadIdx.x < n) out[(size_t)k * n + col0 + threadIdx.x] = bias;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = row0 + row_of<U>(i, j), col = col0 + col_of<U>(i, j);
            if (row < k && col < n) out[(size_t)row * n + col] = sum[i][j];
        }
    }
}

// dx_e = (beta dx_e + dz_e W_e^T) act'(h_e), with h_e null for 1; or, with `together` members, dx_0 gets the sum of
// all of them in order. A null dx_e is not wanted.
template <Unit U>
__device__ __forceinline__ void bank_inputs(const Pointers &dx, const Pointers &h, int ldx, const Pointers &dy,
                                            const Pointers &y, int ldy, const Pointers &w, int rows, int k, int n,
                                            int together, float beta, int activation, float slope,
                                            int hidden_activation, float hidden_slope) {
    float *out = dx.at[blockIdx.z];
    const float *hidden = h.at[blockIdx.z];
    if (!out) return;
    int row0, col0;
    place(k, row0, col0);
    int first = together ? 0 : blockIdx.z, last = together ? together : first + 1;
    Sums sum = {};
    for (int e = first; e < last; e++) {
        const float *weight = w.at[e];
        const Upstream dz = {dy.at[e], y.at[e], ldy, activation, slope};
        multiply<U, true, true>(
            sum, 0, n, [&](int r, int kk) { return row0 + r < rows ? dz(row0 + r, kk) : 0.0f; },
            [&](int kk, int c) { return col0 + c < k ? weight[(size_t)(col0 + c) * n + kk] : 0.0f; },
            [](const Slab &) {});
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = row0 + row_of<U>(i, j), col = col0 + col_of<U>(i, j);
            if (row >= rows || col >= k) continue;
            size_t at = (size_t)row * ldx + col;
            float v = sum[i][j];
            if (beta != 0.0f) v += beta * out[at];
            if (hidden) v *= derivative(hidden[at], hidden_activation, hidden_slope);
            out[at] = v;
        }
    }
}
