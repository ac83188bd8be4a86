// Wrong on purpose: tests/executor.rs proves that each of these is found.
#include "common.cuh"

// No barrier between the write and the read of another thread's element.
extern "C" __global__ void fault_missing_barrier(const float* x, float* out) {
    __shared__ float tile[256];
    tile[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

// The same through a template, whose shared memory is a variable per instance.
template <int N>
__device__ float stale(const float* x) {
    __shared__ float tile[N];
    if (blockIdx.x == 0) tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    return tile[threadIdx.x];
}

// Block 1 reads what only block 0 has written.
extern "C" __global__ void fault_stale_shared(const float* x, float* out) {
    out[blockIdx.x * blockDim.x + threadIdx.x] = stale<64>(x);
}

extern "C" __global__ void fault_divergent_barrier(float* out) {
    if (threadIdx.x < 16) __syncthreads();
    out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void fault_two_barriers(float* out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        out[threadIdx.x] = 1.0f;
        __syncthreads();
    }
}

extern "C" __global__ void fault_divergent_shuffle(float* out) {
    float v = threadIdx.x;
    if (threadIdx.x != 7) v = warp_sum(v);
    __syncthreads();
    out[threadIdx.x] = v;
}

extern "C" __global__ void fault_foreign_mask(float* out) {
    out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 0);
}

// Lanes 20 to 31 do not exist in a block of 20 threads: what comes from there is undefined.
extern "C" __global__ void fault_partial_warp(float* out) {
    out[threadIdx.x] = warp_sum(1.0f);
}

extern "C" __global__ void fault_misaligned(const float* x, float* out) {
    const float4 v = *reinterpret_cast<const float4*>(x + 1);
    out[threadIdx.x] = v.x;
}

extern "C" __global__ void fault_overflow(int rows, int width, long long* out) {
    out[threadIdx.x] = rows * width;
}

extern "C" __global__ void fault_division(int numerator, int denominator, int* out) {
    out[threadIdx.x] = numerator / denominator;
}

extern "C" __global__ void fault_array_bounds(unsigned index, float* out) {
    __shared__ float tile[8];
    tile[index] = 1.0f;
    out[threadIdx.x] = tile[index];
}

extern "C" __global__ void fault_dynamic_shared(unsigned elements) {
    DYNAMIC_SHARED(float, tile);
    tile[elements] = 1.0f;
}
