// Mixture of experts by a softmax gate: w = softmax(logits) row by row, y = sum_e w_e x_e.
//
// Layout: logits, w, dw (rows, experts); x_e, y (rows, d). Experts come eight at a time: `count` of them, the first
//   one being number `first`.
// Schedule: one warp per row. The softmax loops lanes over experts; the sums over d are warp sums.
// Order: experts are added in their order, so the bits do not depend on the schedule.
#include "common.cuh"

extern "C" __global__ void mix_softmax(float *w, const float *logits, int rows, int experts) {
    int lane = threadIdx.x % WARP, warps = gridDim.x * blockDim.x / WARP;
    for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < rows; row += warps) {
        size_t at = (size_t)row * experts;
        float top = -INFINITY;
        for (int e = lane; e < experts; e += WARP) top = fmaxf(top, logits[at + e]);
        top = warp_max(top);
        float sum = 0.0f;
        for (int e = lane; e < experts; e += WARP) sum += expf(logits[at + e] - top);
        sum = warp_sum(sum);
        for (int e = lane; e < experts; e += WARP) w[at + e] = expf(logits[at + e] - top) / sum;
    }
}

// y = (first > 0 ? y : 0) + sum over these experts of w_e x_e
extern "C" __global__ void mix_fwd(float *y, const float *w, const __grid_constant__ Pointers x, int first,
                                   int count, int experts, int rows, int d) {
    int lane = threadIdx.x % WARP, warps = gridDim.x * blockDim.x / WARP;
    for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < rows; row += warps) {
        const float *weight = w + (size_t)row * experts + first;
        for (int c = lane; c < d; c += WARP) {
            size_t at = (size_t)row * d + c;
            float sum = first > 0 ? y[at] : 0.0f;
            for (int e = 0; e < count; e++) sum = fmaf(weight[e], x.at[e][at], sum);
            y[at] = sum;
        }
    }
}

// dw_e = <dy, x_e>; dx_e += w_e dy where it is wanted (not null).
extern "C" __global__ void mix_bwd(float *dw, const __grid_constant__ Pointers dx, const float *dy, const float *w,
                                   const __grid_constant__ Pointers x, int first, int count, int experts, int rows,
                                   int d) {
    int lane = threadIdx.x % WARP, warps = gridDim.x * blockDim.x / WARP;
    for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < rows; row += warps) {
        size_t begin = (size_t)row * d, gate = (size_t)row * experts + first;
        for (int e = 0; e < count; e++) {
            float inner = 0.0f, weight = w[gate + e];
            for (int c = lane; c < d; c += WARP) {
                float up = dy[begin + c];
                inner = fmaf(up, x.at[e][begin + c], inner);
                if (dx.at[e]) dx.at[e][begin + c] += weight * up;
            }
            inner = warp_sum(inner);
            if (lane == 0) dw[gate + e] = inner;
        }
    }
}

// dlogits += w (dw - <w, dw>)
extern "C" __global__ void mix_softmax_bwd(float *dlogits, const float *dw, const float *w, int rows, int experts) {
    int lane = threadIdx.x % WARP, warps = gridDim.x * blockDim.x / WARP;
    for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < rows; row += warps) {
        size_t at = (size_t)row * experts;
        float inner = 0.0f;
        for (int e = lane; e < experts; e += WARP) inner = fmaf(w[at + e], dw[at + e], inner);
        inner = warp_sum(inner);
        for (int e = lane; e < experts; e += WARP) dlogits[at + e] += w[at + e] * (dw[at + e] - inner);
    }
}
