// Sums over all elements into one float and over rows, and the gradients of such sums.
//
// Schedule: each block of 256 threads sums 4096 elements, sixteen a thread; one block adds the blocks' sums in
//   double, in a fixed order. Nothing depends on which block finishes first.
#include "loops.cuh"

#define SUM_CHUNK 4096

enum Summand { VALUE = 0, ABSOLUTE = 1, SQUARE = 2 };

extern "C" __global__ void __launch_bounds__(256)
    reduce_fwd(float *partial, const float *x, unsigned long long n, int summand) {
    unsigned long long begin = (unsigned long long)blockIdx.x * SUM_CHUNK;
    float sum = 0.0f;
    for (int k = threadIdx.x; k < SUM_CHUNK && begin + k < n; k += blockDim.x) {
        float v = x[begin + k];
        sum += summand == SQUARE ? v * v : summand == ABSOLUTE ? fabsf(v) : v;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// out = scale * sum, or its square root.
extern "C" __global__ void __launch_bounds__(256)
    reduce_merge(float *out, const float *partial, int chunks, float scale, int root) {
    double sum = 0.0;
    for (int c = threadIdx.x; c < chunks; c += blockDim.x) sum += partial[c];
    sum = scale * block_sum(sum);
    if (threadIdx.x == 0) out[0] = (float)(root ? sqrt(sum) : sum);
}

// dx += factor dy sign(x) (ABSOLUTE) or factor dy x (SQUARE); dy is one float.
extern "C" __global__ void penalty_bwd(float *dx, const float *x, const float *dy, unsigned long long n, float factor,
                                       int summand) {
    float scale = factor * dy[0];
    FOR_EACH(i, n) {
        float v = x[i], sign = v > 0.0f ? 1.0f : v < 0.0f ? -1.0f : 0.0f;
        dx[i] += scale * (summand == ABSOLUTE ? sign : v);
    }
}

// y_r = sum over the row; one warp per row.
extern "C" __global__ void row_sum_fwd(float *y, const float *x, int rows, int cols) {
    const int lane = threadIdx.x % WARP;
    FOR_EACH_ROW(row, rows) {
        float sum = 0.0f;
        FOR_EACH_COLUMN(c, cols) sum += x[(size_t)row * cols + c];
        sum = warp_sum(sum);
        if (lane == 0) y[row] = sum;
    }
}

extern "C" __global__ void row_sum_bwd(float *dx, const float *dy, unsigned long long n, int cols) {
    FOR_EACH(i, n) dx[i] += dy[i / cols];
}
