// Cross-entropy over all courses, in place: inner products become gradients.
//
//   l_bc = scale x_bc + bias_c, -inf where excluded      loss_b = logsumexp_c l_bc - sum_c q_bc l_bc
//   x_bc <- (exp(l_bc - logsumexp) - q_bc) / B           q = (1 - smoothing) [c = target] + smoothing / allowed
//
// Layout    logits (rows, C) is a block of the batch from row `first`; targets and losses are the whole batch's;
//           excluded courses of batch row b: ids[offsets[b] .. offsets[b + 1]], distinct; both null for none.
// Schedule  a block of 256 threads per row, its threads the columns, four passes over the row in cache.
// Hazards   exclusion writes columns that other threads own: barriers stand on both sides.
#include "loops.cuh"

// Called again only after another barrier: the one of the sum that follows.
__device__ __forceinline__ float block_max(float x) {
    __shared__ float partial[WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_max(x);
    if (lane == 0) partial[warp] = x;
    __syncthreads();
    return warp_max(lane < warps ? partial[lane] : -INFINITY);
}

extern "C" __global__ void __launch_bounds__(256)
    softmax_loss_rows(float* __restrict__ logits, float* __restrict__ losses, const float* __restrict__ bias,
                      const unsigned* __restrict__ targets, const unsigned long long* __restrict__ offsets,
                      const unsigned* __restrict__ ids, int first, int rows, int courses, float share, float scale,
                      float smoothing) {
    for (int b = blockIdx.x; b < rows; b += gridDim.x) {
        float* const row = logits + static_cast<size_t>(b) * courses;
        const int target = static_cast<int>(targets[first + b]);
        const unsigned long long begin = offsets ? offsets[first + b] : 0, end = offsets ? offsets[first + b + 1] : 0;
        for (int c = threadIdx.x; c < courses; c += blockDim.x) row[c] = scale * row[c] + bias[c];
        __syncthreads();
        for (unsigned long long i = begin + threadIdx.x; i < end; i += blockDim.x) row[ids[i]] = -INFINITY;
        __syncthreads();

        const float even = smoothing / static_cast<float>(courses - static_cast<int>(end - begin));
        float most = -INFINITY, all = 0.0f;
        for (int c = threadIdx.x; c < courses; c += blockDim.x) {
            most = fmaxf(most, row[c]);
            if (row[c] != -INFINITY) all += row[c];
        }
        most = block_max(most);
        all = block_sum(all);
        // Without the target: where that is the largest, the rest is the loss, and beside its 1 it would be lost.
        float rest = 0.0f;
        for (int c = threadIdx.x; c < courses; c += blockDim.x)
            if (c != target) rest += expf(row[c] - most);
        rest = block_sum(rest);
        const float own = expf(row[target] - most), mass = rest + own;
        if (threadIdx.x == 0) {
            const float picked = (1.0f - smoothing) * row[target] + (smoothing > 0.0f ? even * all : 0.0f);
            losses[first + b] = most - picked + log1pf(rest + (own - 1.0f));
        }
        // All threads have read the target's logit before its owner overwrites it.
        __syncthreads();
        for (int c = threadIdx.x; c < courses; c += blockDim.x) {
            const float l = row[c];
            const float q = (c == target ? 1.0f - smoothing : 0.0f) + (l == -INFINITY ? 0.0f : even);
            row[c] = (expf(l - most) / mass - q) * share;
        }
    }
}

// to[at_to ..] = from[at_from ..], n elements.
extern "C" __global__ void softmax_loss_copy(float* __restrict__ to, const float* __restrict__ from,
                                             unsigned long long at_to, unsigned long long at_from,
                                             unsigned long long n) {
    FOR_EACH(i, n) to[at_to + i] = from[at_from + i];
}
