// The products of matmul.cu on the matrix units: operands rounded to tf32 (10 bits of mantissa) or bf16 (7 bits) as they
// enter shared memory, sums in float. Chosen by `run.matmul`.
#include "matmul.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_nn_tf32(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
                 int splits, float beta, int activation, float slope) {
    gemm<TF32, false, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_nt_tf32(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
                 int splits, float beta, int activation, float slope) {
    gemm<TF32, false, true>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_tn_tf32(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
                 int splits, float beta, int activation, float slope) {
    gemm<TF32, true, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_nn_bf16(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
                 int splits, float beta, int activation, float slope) {
    gemm<BF16, false, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_nt_bf16(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
                 int splits, float beta, int activation, float slope) {
    gemm<BF16, false, true>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_tn_bf16(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
                 int splits, float beta, int activation, float slope) {
    gemm<BF16, true, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}
