// What the losses share: the mean of per-row values, and the scaling of gradients by their upstream.
//
// Order     chunks are summed by a block's fixed tree, chunk sums in chunk order: the same bits every time.
// Hazards   block_sum holds barriers: all threads of a block run the same chunks.
#include "loops.cuh"

// partial[c] = the sum of values[c * chunk .. (c + 1) * chunk]. One block per chunk.
extern "C" __global__ void __launch_bounds__(256)
    loss_mean_chunks(float* __restrict__ partial, const float* __restrict__ values, unsigned long long count, int chunk,
                     int chunks) {
    for (int c = blockIdx.x; c < chunks; c += gridDim.x) {
        const unsigned long long begin = static_cast<unsigned long long>(c) * chunk;
        const unsigned long long end = begin + chunk < count ? begin + chunk : count;
        float sum = 0.0f;
        for (unsigned long long i = begin + threadIdx.x; i < end; i += blockDim.x) sum += values[i];
        sum = block_sum(sum);
        if (threadIdx.x == 0) partial[c] = sum;
    }
}

// out = the sum of the partial sums / count. One warp.
extern "C" __global__ void loss_mean_merge(float* __restrict__ out, const float* __restrict__ partial, int chunks,
                                           unsigned long long count) {
    double sum = 0.0;
    for (int c = threadIdx.x; c < chunks; c += WARP) sum += partial[c];
    sum = warp_sum(sum);
    if (threadIdx.x == 0) out[0] = static_cast<float>(sum / static_cast<double>(count));
}

// out += factor * upstream[0] * unit
extern "C" __global__ void loss_add_upstream(float* __restrict__ out, const float* __restrict__ unit,
                                             const float* __restrict__ upstream, float factor, unsigned long long n) {
    const float scale = factor * upstream[0];
    FOR_EACH(i, n) out[i] += scale * unit[i];
}
