// Layers of several MLPs at once, member e of up to eight in blockIdx.z: one launch a layer forward; backward one for the
// gradients of weights and biases, one that adds their parts, one for those of the inputs.
//
// Layout: row-major; x_e, y_e and the like are blocks of columns of wider matrices, given by their first element and
//   the row's length `ld`. W_e (k, n), b_e (n). dz_e = dy_e act'(y_e), with y_e absent (null) where dy_e is dz_e.
// Schedule: a block per 64 x 64 tile (tile.cuh). Sums over the batch are cut into `splits` ranges, whose partial sums
//   grouped_mlp_merge adds in order.
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
__device__ __forceinline__ void forward_layer(const Pointers &x, int ldx, const Pointers &w, const Pointers &b,
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
    for_each_sum<U>(sum, row0, col0, rows, n, [&](int row, int col, float v) {
        out[(size_t)row * ldy + col] = activate(v + bias[col], activation, slope);
    });
}

// partial (splits, members, k + 1, n): x_e^T dz_e, and below it the column sums of dz_e.
template <Unit U>
__device__ __forceinline__ void weight_gradients(float *partial, const Pointers &x, int ldx, const Pointers &dy,
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
    for_each_sum<U>(sum, row0, col0, k, n, [&](int row, int col, float v) { out[(size_t)row * n + col] = v; });
}

// dx_e = (beta dx_e + dz_e W_e^T) act'(h_e), with h_e null for 1; or, with `together` members, dx_0 gets the sum of
// all of them in order. A null dx_e is not wanted.
template <Unit U>
__device__ __forceinline__ void input_gradients(const Pointers &dx, const Pointers &h, int ldx, const Pointers &dy,
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
    for_each_sum<U>(sum, row0, col0, rows, k, [&](int row, int col, float v) {
        size_t at = (size_t)row * ldx + col;
        if (beta != 0.0f) v += beta * out[at];
        if (hidden) v *= derivative(hidden[at], hidden_activation, hidden_slope);
        out[at] = v;
    });
}

UNIT_VARIANTS(grouped_mlp_fwd, (256, 2),
              (const __grid_constant__ Pointers x, int ldx, const __grid_constant__ Pointers w,
               const __grid_constant__ Pointers b, const __grid_constant__ Pointers y, int ldy, int rows, int k, int n,
               int activation, float slope),
              forward_layer<U>(x, ldx, w, b, y, ldy, rows, k, n, activation, slope);)

UNIT_VARIANTS(grouped_mlp_bwd_weights, (256, 2),
              (float *partial, const __grid_constant__ Pointers x, int ldx, const __grid_constant__ Pointers dy,
               const __grid_constant__ Pointers y, int ldy, int rows, int k, int n, int splits, int activation,
               float slope),
              weight_gradients<U>(partial, x, ldx, dy, y, ldy, rows, k, n, splits, activation, slope);)

UNIT_VARIANTS(grouped_mlp_bwd_inputs, (256, 2),
              (const __grid_constant__ Pointers dx, const __grid_constant__ Pointers h, int ldx,
               const __grid_constant__ Pointers dy, const __grid_constant__ Pointers y, int ldy,
               const __grid_constant__ Pointers w, int rows, int k, int n, int together, float beta, int activation,
               float slope, int hidden_activation, float hidden_slope),
              input_gradients<U>(dx, h, ldx, dy, y, ldy, w, rows, k, n, together, beta, activation, slope,
                                 hidden_activation, hidden_slope);)

// dw_e and db_e += the splits' sums, in split order; null where not wanted.
extern "C" __global__ void grouped_mlp_merge(const __grid_constant__ Pointers dw, const __grid_constant__ Pointers db,
                                      const float *partial, int splits, int members, int k, int n) {
    unsigned long long size = (unsigned long long)(k + 1) * n, all = members * size;
    FOR_EACH(i, all) {
        int e = i / size;
        unsigned long long at = i % size, weights = (unsigned long long)k * n;
        float sum = 0.0f;
        for (int s = 0; s < splits; s++) sum += partial[s * all + i];
        float *out = at < weights ? dw.at[e] : db.at[e];
        if (out) out[at < weights ? at : at - weights] += sum;
    }
}
