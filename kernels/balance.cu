// What gradient weighting needs to know of one shared tensor: |G_i|^2 of up to four losses, and <G_0, G_i>.
//
// Layout: each G_i is n floats (null where the loss does not reach the tensor); partial (blocks, 8) and out (8) are
//   double: squares of G_0..G_3, then <G_0,G_0>..<G_0,G_3>.
// Schedule: one pass over all gradients. A thread sums runs of sixteen elements in float and adds each run to a
//   double, so that large tensors lose no digits; blocks cut the tensor by its size alone and the merge adds them in
//   a fixed order.
#include "common.cuh"

#define RUN 16

extern "C" __global__ void __launch_bounds__(256)
    balance_moments(double *partial, const float *g0, const float *g1, const float *g2, const float *g3,
                    unsigned long long n) {
    const float *g[4] = {g0, g1, g2, g3};
    double total[8] = {};
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    unsigned long long begin = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (unsigned long long run = begin; run < n; run += RUN * stride) {
        float sum[8] = {};
        for (int k = 0; k < RUN; k++) {
            unsigned long long at = run + k * stride;
            if (at >= n) break;
            float target = g0 ? g0[at] : 0.0f;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x = g[i] ? g[i][at] : 0.0f;
                sum[i] = fmaf(x, x, sum[i]);
                sum[4 + i] = fmaf(target, x, sum[4 + i]);
            }
        }
#pragma unroll
        for (int i = 0; i < 8; i++) total[i] += sum[i];
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        double sum = block_sum(total[i]);
        if (threadIdx.x == 0) partial[8 * (size_t)blockIdx.x + i] = sum;
    }
}

// One warp per moment; out starts at element `at`.
extern "C" __global__ void __launch_bounds__(256)
    balance_merge(double *out, const double *partial, int blocks, int at) {
    int moment = threadIdx.x / WARP;
    double sum = 0.0;
    for (int b = threadIdx.x % WARP; b < blocks; b += WARP) sum += partial[8 * (size_t)b + moment];
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) out[at + moment] = sum;
}
