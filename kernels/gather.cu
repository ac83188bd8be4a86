// Rows of a table by identifier: out[b, :] = table[ids[b], :].
//
// Layout    table (N, d), out (B, d), row-major float32; ids (B) u32, each below N (the caller has checked).
// Schedule  a group of 1 to 32 neighbouring lanes copies a row, 16 bytes a lane where rows are whole and
//           aligned float4, else 4. Narrow rows share a warp. Any one-dimensional grid of whole warps covers
//           any number of rows.
// Hazards   B * d passes 2^31 at full size: row offsets are 64-bit.
#include "common.cuh"

template <typename T>
__device__ __forceinline__ void gather_rows(const T* __restrict__ table, const unsigned* __restrict__ ids,
                                            T* __restrict__ out, unsigned long long rows, unsigned width) {
    unsigned shift = 0;
    while (shift < 5 && (1u << shift) < width) ++shift;
    const unsigned lane = threadIdx.x & ((1u << shift) - 1);
    const unsigned long long threads = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    unsigned long long row = (static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x) >> shift;
    for (; row < rows; row += threads >> shift) {
        const T* const from = table + static_cast<unsigned long long>(ids[row]) * width;
        T* const to = out + row * width;
        for (unsigned column = lane; column < width; column += 1u << shift) to[column] = __ldg(from + column);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    gather_fwd(const float* __restrict__ table, const unsigned* __restrict__ ids, float* __restrict__ out,
               unsigned long long rows, unsigned d) {
    const unsigned long long addresses =
        reinterpret_cast<unsigned long long>(table) | reinterpret_cast<unsigned long long>(out);
    if (d % 4 == 0 && addresses % 16 == 0) {
        gather_rows(reinterpret_cast<const float4*>(table), ids, reinterpret_cast<float4*>(out), rows, d / 4);
    } else {
        gather_rows(table, ids, out, rows, d);
    }
}
