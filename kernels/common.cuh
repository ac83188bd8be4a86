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

// This warp among all warps of the grid, and their number: a warp takes every warp_count()-th item.
__device__ __forceinline__ long long warp_index() {
    return (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / WARP;
}
__device__ __forceinline__ long long warp_count() { return static_cast<long long>(gridDim.x) * (blockDim.x / WARP); }

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

// Four consecutive floats from element `at` (a multiple of 4) of `n`; beyond the end they are 0, or not written.
__device__ __forceinline__ float4 load4(const float* x, unsigned long long at, unsigned long long n) {
    if (at + 4 <= n) return *reinterpret_cast<const float4*>(x + at);
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (at < n) v.x = x[at];
    if (at + 1 < n) v.y = x[at + 1];
    if (at + 2 < n) v.z = x[at + 2];
    return v;
}

__device__ __forceinline__ void store4(float* x, unsigned long long at, unsigned long long n, float4 v) {
    if (at + 4 <= n) {
        *reinterpret_cast<float4*>(x + at) = v;
        return;
    }
    if (at < n) x[at] = v.x;
    if (at + 1 < n) x[at + 1] = v.y;
    if (at + 2 < n) x[at + 2] = v.z;
}

// Options of inverted dropout; src/ops/dropout.rs mirrors it. `keep` is 1 / (1 - rate). Where `step` is given, the seed
// and the stream of the step stand there (four words), so that recorded work draws anew in each replay; `stream` is
// then what the layer adds to it.
struct Dropout {
    const unsigned* step;
    unsigned seed[2];
    unsigned stream[2];
    float rate;
    float keep;
};

// The options with seed and stream by value. A kernel asks once, before its loop.
__device__ __forceinline__ Dropout of_step(Dropout d) {
    if (d.step) {
        d.seed[0] = d.step[0];
        d.seed[1] = d.step[1];
        d.stream[0] ^= d.step[2];
        d.stream[1] ^= d.step[3];
    }
    return d;
}

// Scales of the elements 4 group .. 4 group + 3: 0 where dropped, else `keep`.
__device__ __forceinline__ float4 dropout_scales(Dropout d, unsigned long long group) {
    if (d.rate == 0.0f) return make_float4(1.0f, 1.0f, 1.0f, 1.0f);
    const unsigned low = static_cast<unsigned>(group), high = static_cast<unsigned>(group >> 32);
    const uint4 bits = philox4x32(make_uint2(d.seed[0], d.seed[1]), make_uint4(low, high, d.stream[0], d.stream[1]));
    return make_float4(uniform01(bits.x) >= d.rate ? d.keep : 0.0f, uniform01(bits.y) >= d.rate ? d.keep : 0.0f,
                       uniform01(bits.z) >= d.rate ? d.keep : 0.0f, uniform01(bits.w) >= d.rate ? d.keep : 0.0f);
}

// Up to eight tensors as one parameter; a null pointer where one is absent. Mirrored by [u64; 8]. Kernels take it as
// `const __grid_constant__ Pointers`: otherwise indexing makes a copy in local memory.
struct Pointers {
    float* at[8];
};

// Factors of up to eight terms. `at` is a place in a list of weights in memory, where kernels before have left them;
// KNOWN says that the factor is `fixed`. Mirrored by `Factors` of src/engine/sum.rs.
constexpr unsigned KNOWN = 0xffffffffu;

struct Factors {
    float fixed[8];
    unsigned at[8];
};

__device__ __forceinline__ float factor(const Factors& f, int i, const float* weights) {
    return f.at[i] == KNOWN ? f.fixed[i] : weights[f.at[i]];
}
