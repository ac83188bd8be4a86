// The layers of bank.cu on the matrix units, operands rounded to tf32 or bf16, sums in float. Chosen by `run.matmul`.
#include "bank.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_fwd_tf32(const __grid_constant__ Pointers x, int ldx, const __grid_constant__ Pointers w,
             const __grid_constant__ Pointers b, const __grid_constant__ Pointers y, int ldy, int rows, int k,
             int n, int activation, float slope) {
    bank_forward<TF32>(x, ldx, w, b, y, ldy, rows, k, n, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_bwd_weights_tf32(float *partial, const __grid_constant__ Pointers x, int ldx,
                     const __grid_constant__ Pointers dy, const __grid_constant__ Pointers y, int ldy, int rows,
                     int k, int n, int splits, int activation, float slope) {
    bank_weights<TF32>(partial, x, ldx, dy, y, ldy, rows, k, n, splits, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_bwd_inputs_tf32(const __grid_constant__ Pointers dx, const __grid_constant__ Pointers h, int ldx,
                    const __grid_constant__ Pointers dy, const __grid_constant__ Pointers y, int ldy,
                    const __grid_constant__ Pointers w, int rows, int k, int n, int together, float beta,
                    int activation, float slope, int hidden_activation, float hidden_slope) {
    bank_inputs<TF32>(dx, h, ldx, dy, y, ldy, w, rows, k, n, together, beta, activation, slope, hidden_activation,
                     hidden_slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_fwd_bf16(const __grid_constant__ Pointers x, int ldx, const __grid_constant__ Pointers w,
             const __grid_constant__ Pointers b, const __grid_constant__ Pointers y, int ldy, int rows, int k,
             int n, int activation, float slope) {
    bank_forward<BF16>(x, ldx, w, b, y, ldy, rows, k, n, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_bwd_weights_bf16(float *partial, const __grid_constant__ Pointers x, int ldx,
                     const __grid_constant__ Pointers dy, const __grid_constant__ Pointers y, int ldy, int rows,
                     int k, int n, int splits, int activation, float slope) {
    bank_weights<BF16>(partial, x, ldx, dy, y, ldy, rows, k, n, splits, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    bank_bwd_inputs_bf16(const __grid_constant__ Pointers dx, const __grid_constant__ Pointers h, int ldx,
                    const __grid_constant__ Pointers dy, const __grid_constant__ Pointers y, int ldy,
                    const __grid_constant__ Pointers w, int rows, int k, int n, int together, float beta,
                    int activation, float slope, int hidden_activation, float hidden_slope) {
    bank_inputs<BF16>(dx, h, ldx, dy, y, ldy, w, rows, k, n, together, beta, activation, slope, hidden_activation,
                     hidden_slope);
}
