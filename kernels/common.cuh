// Helpers that several kernels share: reductions, dynamic shared memory, random numbers.
//
// A kernel file stands alone: it includes this header and nothing else of the project, holds no launches and no
// __device__ variables. tests/host compiles the same files with g++, with a header in front that defines what
// nvcc would.
#pragma once

constexpr unsigned FULL_WARP = 0xffffffffu;
constexpr int WARP = 32;

// Dynamic shared memory as an array: `DYNAMIC_SHARED(float, tile);` inside a kernel, 16-byte aligned. Use it
// once per kernel and cut pieces off; all uses name the same memory. The host executor brings its own.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name)                                              \
    extern __shared__ __align__(16) unsigned char waata_dynamic_shared[];       \
    type* const name = reinterpret_cast<type*>(waata_dynamic_shared)
#endif

// Sum over the 32 lanes, in every lane. All lanes must take part. The butterfly adds in the same order in every
// lane and every run.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(FULL_WARP, x, offset);
    return x;
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(FULL_WARP, x, offset);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, offset));
    return x;
}

// Sum over a one-dimensional block of whole warps (blockDim.x a multiple of 32), in every thread, in a fixed
// order. All threads must take part; it may be called again at once.
template <typename T>
__device__ __forceinline__ T block_sum(T x) {
    __shared__ T partial[WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    if (lane == 0) partial[warp] = x;
    __syncthreads();
    x = warp_sum(lane < warps ? partial[lane] : T(0));
    // The next call writes `partial` again.
    __syncthreads();
    return x;
}

// Philox4x32-10 (Salmon et al., SC'11): four random numbers for a counter. src/engine/random.rs is the same.
__device__ __forceinline__ uint4 philox4x32(uint2 key, uint4 counter) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
        const unsigned high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
        counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}

// Uniform in [0, 1) with 24 bits, exact in float: `to_unit` of src/engine/random.rs.
__device__ __forceinline__ float uniform01(unsigned bits) {
    return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f);
}
