// Correct kernels that show what the executor and common.cuh promise.
#include <cuda_bf16.h>

#include "common.cuh"

// out[0..4] = Philox of key and counter; uniform[0..4] the same as numbers in [0, 1).
extern "C" __global__ void probe_philox(uint2 key, uint4 counter, unsigned* out, float* uniform) {
    const uint4 r = philox4x32(key, counter);
    const unsigned all[4] = {r.x, r.y, r.z, r.w};
    for (int i = 0; i < 4; ++i) {
        out[i] = all[i];
        uniform[i] = uniform01(all[i]);
    }
}

// Reverses each block's part of x through dynamic shared memory; sums it, twice in a row.
extern "C" __global__ void __launch_bounds__(1024) probe_block(const float* x, float* reversed, float* sums) {
    DYNAMIC_SHARED(float, tile);
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    tile[threadIdx.x] = x[i];
    __syncthreads();
    reversed[i] = tile[blockDim.x - 1 - threadIdx.x];
    const float sum = block_sum(x[i]);
    const float squares = block_sum(x[i] * x[i]);
    if (threadIdx.x == 0) {
        sums[2 * blockIdx.x] = sum;
        sums[2 * blockIdx.x + 1] = squares;
    }
}

// One warp; row k of out (12, 32) holds the k-th collective's result for x[lane] = 3 * lane - 40.
extern "C" __global__ void probe_warp(const int* x, long long* out) {
    const int lane = threadIdx.x, v = x[lane];
    long long results[12] = {
        __shfl_sync(FULL_WARP, v, 5),
        __shfl_sync(FULL_WARP, v, 1, 8),
        __shfl_up_sync(FULL_WARP, v, 3),
        __shfl_down_sync(FULL_WARP, v, 3, 16),
        __shfl_xor_sync(FULL_WARP, v, 9),
        __ballot_sync(FULL_WARP, v > 0),
        __any_sync(FULL_WARP, v == 2),
        __all_sync(FULL_WARP, v > -41),
        __reduce_add_sync(FULL_WARP, v),
        __reduce_min_sync(FULL_WARP, v),
        static_cast<long long>(__shfl_sync(FULL_WARP, static_cast<double>(v) * 1e10, 31)),
        __match_any_sync(FULL_WARP, v / 30),
    };
    if (lane < 16) results[6] += 2 * __popc(__ballot_sync(0x0000ffffu, v > -30));
    for (int k = 0; k < 12; ++k) out[32 * k + lane] = results[k];
}

// out[linear thread of the grid] = its indices, to see that every thread of every block runs once.
extern "C" __global__ void probe_indices(unsigned* out) {
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    atomicAdd(&out[block * blockDim.x * blockDim.y * blockDim.z + thread], 1000u * block + thread);
}

// out[i] = x[i] rounded to bfloat16 and back.
extern "C" __global__ void probe_bfloat16(const float* x, float* out) {
    const __nv_bfloat16 narrow = __float2bfloat16_rn(x[threadIdx.x]);
    out[threadIdx.x] = __bfloat162float(narrow);
}

// What may look like a race and is none: atomics, a warp's own barrier, bytes of one word, reads by all.
extern "C" __global__ void probe_no_race(const float* x, unsigned* sum, unsigned char* bytes, float* out) {
    __shared__ float tile[64];
    atomicAdd(sum, 1u);
    bytes[threadIdx.x] = static_cast<unsigned char>(threadIdx.x);
    tile[threadIdx.x] = x[0] + x[threadIdx.x];
    __syncwarp();
    const float other = tile[threadIdx.x ^ 1];
    __syncwarp();
    tile[threadIdx.x] = other;
    __syncthreads();
    out[threadIdx.x] = tile[63 - threadIdx.x];
}
