// Products of matrices in float (matmul.cuh), activations' gradients, and sums of columns.
//
// Registers: the second launch bound, two blocks a multiprocessor, allows 128 registers a thread. Without it ptxas
//   aims at a higher occupancy and spills a few values on some architectures (seen in four of the files here).
#include "matmul.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_nn(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n, int splits,
            float beta, int activation, float slope) {
    gemm<F32, false, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_nt(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n, int splits,
            float beta, int activation, float slope) {
    gemm<F32, false, true>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_tn(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n, int splits,
            float beta, int activation, float slope) {
    gemm<F32, true, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

// c = beta c + the sum of the splits' partial tiles, in split order.
extern "C" __global__ void gemm_merge(float *c, const float *partial, unsigned long long n, int splits, float beta) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        float sum = 0.0f;
        for (int s = 0; s < splits; s++) sum += partial[s * n + i];
        c[i] = beta != 0.0f ? beta * c[i] + sum : sum;
    }
}

// dz = dy * act'(z), with act'(z) read off the output y.
extern "C" __global__ void act_bwd(float *dz, const float *dy, const float *y, unsigned long long n, int activation,
                                   float slope) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        dz[i] = dy[i] * derivative(y[i], activation, slope);
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
