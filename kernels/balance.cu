// What gradient weighting needs to know of the shared tensors: |G_i|^2 of every loss i, and <G_0, G_i>, of all tensors
// in one launch.
//
// Layout    tensor t has n[t] floats; grads (T, L) addresses of its gradients (0 where a loss does not reach it).
//           pieces (P): tensor << 40 | number of the piece within the tensor, PIECE floats each; first (T + 1): the
//           pieces of tensor t are first[t] .. first[t + 1]. A group of losses is the target and three others.
//           partial (groups, P, 8) and out (T, groups, 8) are double: squares of the four, then their products with
//           the target.
// Schedule  memory-bound, one pass over all gradients: a block per piece and group, 16-byte loads. A thread sums runs
//           of sixteen elements in float and adds each run to a double, so that large tensors lose no digits.
// Order     pieces are cut by sizes alone, and merged in order: no atomics, the same bits every time.
#include "common.cuh"

constexpr int PIECE = 16384;

__device__ __forceinline__ void add_products(float4 target, float4 x, float &square, float &inner) {
    square = fmaf(x.x, x.x, fmaf(x.y, x.y, fmaf(x.z, x.z, fmaf(x.w, x.w, square))));
    inner = fmaf(target.x, x.x, fmaf(target.y, x.y, fmaf(target.z, x.z, fmaf(target.w, x.w, inner))));
}

extern "C" __global__ void __launch_bounds__(256)
    balance_moments(double *partial, const unsigned long long *grads, const unsigned long long *n,
                    const unsigned long long *pieces, int losses) {
    const unsigned long long tensor = pieces[blockIdx.x] >> 40, piece = pieces[blockIdx.x] & ((1ull << 40) - 1);
    const unsigned long long begin = piece * PIECE, end = n[tensor] < begin + PIECE ? n[tensor] : begin + PIECE;
    const float *g[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int loss = i == 0 ? 0 : 3 * blockIdx.y + i;
        g[i] = loss < losses ? reinterpret_cast<const float *>(grads[tensor * losses + loss]) : nullptr;
    }
    double total[8] = {};
    for (unsigned long long run = begin + 4 * threadIdx.x; run < end; run += 16 * blockDim.x) {
        float sum[8] = {};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const unsigned long long at = run + 4 * k * blockDim.x;
            if (at >= end) break;
            const float4 target = g[0] ? load4(g[0], at, end) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (g[i]) add_products(target, i == 0 ? target : load4(g[i], at, end), sum[i], sum[4 + i]);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) total[i] += sum[i];
    }
    double *const to = partial + 8 * (static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const double sum = block_sum(total[i]);
        if (threadIdx.x == 0) to[i] = sum;
    }
}

// A block per tensor and group of losses, a warp per moment.
extern "C" __global__ void __launch_bounds__(256)
    balance_merge(double *out, const double *partial, const unsigned long long *first, int pieces) {
    const int moment = threadIdx.x / WARP, tensor = blockIdx.x, group = blockIdx.y;
    double sum = 0.0;
    for (unsigned long long p = first[tensor] + threadIdx.x % WARP; p < first[tensor + 1]; p += WARP)
        sum += partial[8 * (static_cast<size_t>(group) * pieces + p) + moment];
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) out[8 * (static_cast<size_t>(tensor) * gridDim.y + group) + moment] = sum;
}
