// Rows of a table by identifier: out[b, :] = table[ids[b], :].
//
// Layout    table (N, d), out (B, d), row-major, of 32 or 16 bits; ids (B) u32, each below N (the caller has checked).
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

// The same for elements of 16 bits, whatever they are.
extern "C" __global__ void __launch_bounds__(256)
    gather_fwd_16(const unsigned short* __restrict__ table, const unsigned* __restrict__ ids,
                  unsigned short* __restrict__ out, unsigned long long rows, unsigned d) {
    const unsigned long long addresses =
        reinterpret_cast<unsigned long long>(table) | reinterpret_cast<unsigned long long>(out);
    if (d % 8 == 0 && addresses % 16 == 0) {
        gather_rows(reinterpret_cast<const float4*>(table), ids, reinterpret_cast<float4*>(out), rows, d / 8);
    } else if (d % 2 == 0 && addresses % 4 == 0) {
        gather_rows(reinterpret_cast<const float*>(table), ids, reinterpret_cast<float*>(out), rows, d / 2);
    } else {
        gather_rows(table, ids, out, rows, d);
    }
}

// The gradient adds rows that may repeat: dtable[row, :] += sum over the uses of row of dy[use, :].
//
// Layout    uses sorted by row: segment s is row[s] with uses position[offsets[s] .. offsets[s + 1]].
// Schedule  a warp owns a segment, its lanes the columns. Segments of more than 256 uses are cut into pieces
//           (pieces[s] .. pieces[s + 1], empty for the others), which warps of the first kernel sum. Lists may be
//           longer than their content, so that every batch of a size has the same grid: a segment without uses is
//           skipped, a piece without entries sums to zero.
// Order     of use within a piece, then of pieces: no atomics, the same bits every time.
extern "C" __global__ void __launch_bounds__(256)
    gather_bwd_pieces(float* __restrict__ partial, const float* __restrict__ dy, const unsigned* __restrict__ position,
                      const unsigned long long* __restrict__ begin, const unsigned long long* __restrict__ end,
                      int pieces, int d) {
    const int lane = threadIdx.x % WARP, warps = gridDim.x * (blockDim.x / WARP);
    for (int p = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; p < pieces; p += warps) {
        for (int column = lane; column < d; column += WARP) {
            float sum = 0.0f;
            for (unsigned long long i = begin[p]; i < end[p]; ++i)
                sum += dy[static_cast<size_t>(position[i]) * d + column];
            partial[static_cast<size_t>(p) * d + column] = sum;
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
    gather_bwd(float* __restrict__ dtable, const float* __restrict__ dy, const float* __restrict__ partial,
               const unsigned* __restrict__ row, const unsigned* __restrict__ position,
               const unsigned long long* __restrict__ offsets, const unsigned long long* __restrict__ pieces,
               int segments, int d) {
    const int lane = threadIdx.x % WARP, warps = gridDim.x * (blockDim.x / WARP);
    for (int s = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; s < segments; s += warps) {
        if (offsets[s] == offsets[s + 1]) continue;
        for (int column = lane; column < d; column += WARP) {
            float sum = 0.0f;
            if (pieces[s] == pieces[s + 1]) {
                for (unsigned long long i = offsets[s]; i < offsets[s + 1]; ++i)
                    sum += dy[static_cast<size_t>(position[i]) * d + column];
            } else {
                for (unsigned long long p = pieces[s]; p < pieces[s + 1]; ++p) sum += partial[p * d + column];
            }
            dtable[static_cast<size_t>(row[s]) * d + column] += sum;
        }
    }
}
