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

extern "C" __global__ void fault_read_global(const float* x, float* out, long long at) {
    out[threadIdx.x] = x[at];
}

extern "C" __global__ void fault_write_global(float* out, long long at) {
    out[at] = 1.0f;
}

// Past the end of one variable of static shared memory, through a pointer, whose bounds the compiler does not know.
__device__ __noinline__ float element(const float* x, unsigned at) { return x[at]; }
extern "C" __global__ void fault_read_shared(unsigned at, float* out) {
    __shared__ float tile[8], other[8];
    if (threadIdx.x < 8) tile[threadIdx.x] = other[threadIdx.x] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = element(tile, at) + element(other, 0);
}

extern "C" __global__ void fault_write_shared(unsigned at, float* out) {
    __shared__ float tile[8];
    float* const shifted = tile + at;
    asm("" ::: "memory");
    if (threadIdx.x == 0) *shifted = 1.0f;
    __syncthreads();
    out[threadIdx.x] = at < 8 ? tile[at] : 0.0f;
}

extern "C" __global__ void fault_read_dynamic_shared(unsigned elements, float* out) {
    DYNAMIC_SHARED(float, tile);
    out[threadIdx.x] = tile[elements];
}

// A neighbour's element is read after the barrier, in the interval in which the neighbour writes it.
extern "C" __global__ void fault_race_shared(const float* x, float* out) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    const float next = tile[(threadIdx.x + 1) % 64];
    tile[threadIdx.x] = 2.0f * next;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

// Two threads of a block write one element of device memory.
extern "C" __global__ void fault_race_global(float* out) {
    out[threadIdx.x / 2] = threadIdx.x;
}

// Block 1 adds to what block 0 adds to.
extern "C" __global__ void fault_race_blocks(float* out) {
    if (threadIdx.x == 0) out[0] += 1.0f;
}

// Block 0 reads what block 1 writes.
extern "C" __global__ void fault_race_blocks_read(float* x, float* out) {
    if (blockIdx.x == 0) out[threadIdx.x] = x[threadIdx.x];
    if (blockIdx.x == 1) x[threadIdx.x] = 1.0f;
}

// A shuffle does not order accesses to memory: __syncwarp does.
extern "C" __global__ void fault_race_warp(float* out) {
    __shared__ float tile[32];
    tile[threadIdx.x] = threadIdx.x;
    const float sum = warp_sum(1.0f);
    out[threadIdx.x] = sum + tile[31 - threadIdx.x];
}

// Another thread's element of device memory, written before the launch by nobody.
extern "C" __global__ void fault_unwritten_global(const float* x, float* out) {
    out[threadIdx.x] = x[threadIdx.x];
}
