// Layers of several MLPs at once (bank.cuh) in float: one launch a layer forward; backward one for the gradients of
// weights and biases, one that adds their parts, one for those of the inputs.
#include "bank.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_fwd(const __grid_constant__ Pointers x, int ldx, const __grid_constant__ Pointers w,
             const __grid_constant__ Pointers b, const __grid_constant__ Pointers y, int ldy, int rows, int k,
             int n, int activation, float slope) {
    bank_forward<F32>(x, ldx, w, b, y, ldy, rows, k, n, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_bwd_weights(float *partial, const __grid_constant__ Pointers x, int ldx,
                     const __grid_constant__ Pointers dy, const __grid_constant__ Pointers y, int ldy, int rows,
                     int k, int n, int splits, int activation, float slope) {
    bank_weights<F32>(partial, x, ldx, dy, y, ldy, rows, k, n, splits, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_bwd_inputs(const __grid_constant__ Pointers dx, const __grid_constant__ Pointers h, int ldx,
                    const __grid_constant__ Pointers dy, const __grid_constant__ Pointers y, int ldy,
                    const __grid_constant__ Pointers w, int rows, int k, int n, int together, float beta,
                    int activation, float slope, int hidden_activation, float hidden_slope) {
    bank_inputs<F32>(dx, h, ldx, dy, y, ldy, w, rows, k, n, together, beta, activation, slope, hidden_activation,
                     hidden_slope);
}

// dw_e and db_e += the splits' sums, in split order; null where not wanted.
extern "C" __global__ void bank_merge(const __grid_constant__ Pointers dw, const __grid_constant__ Pointers db,
                                      const float *partial, int splits, int members, int k, int n) {
    unsigned long long size = (unsigned long long)(k + 1) * n, all = members * size;
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += stride) {
        int e = i / size;
        unsigned long long at = i % size, weights = (unsigned long long)k * n;
        float sum = 0.0f;
        for (int s = 0; s < splits; s++) sum += partial[s * all + i];
        float *out = at < weights ? dw.at[e] : db.at[e];
        if (out) out[at < weights ? at : at - weights] += sum;
    }
}
