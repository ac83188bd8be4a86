// The k best courses of each row of scores, in the order (-score, id), without those seen.
//
// Layout    scores (rows, C); seen courses of row b ascending in seen[offsets[b] .. offsets[b + 1]]; candidates
//           (count), ascending, or null for all C; ids, values (rows, k), 0xffffffff and -inf past the end.
// Schedule  a block of 256 threads per row. A thread owns every 256th candidate and offers its best below the
//           last one taken; a round takes the block's best, and only the thread that had it looks again.
// Order     keys (ordered score, inverted id) are distinct, so every round has one winner on any schedule.
// Hazards   `best` is read by all after a barrier and written again only after the next.
#include "common.cuh"

// Larger for a better course, never 0. Zeros of both signs are equal.
__device__ __forceinline__ unsigned long long top_k_key(float score, unsigned id) {
    const unsigned bits = __float_as_uint(score + 0.0f);
    const unsigned ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
    return static_cast<unsigned long long>(ordered) << 32 | (~id & 0xffffffffu);
}

__device__ __forceinline__ bool contains(const unsigned* ids, unsigned long long begin, unsigned long long end,
                                         unsigned id) {
    while (begin < end) {
        const unsigned long long middle = (begin + end) / 2;
        if (ids[middle] < id) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    return ids[begin] == id;
}

__device__ __forceinline__ unsigned long long warp_best(unsigned long long x) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        const unsigned long long other = __shfl_xor_sync(FULL_WARP, x, offset);
        x = other > x ? other : x;
    }
    return x;
}

extern "C" __global__ void __launch_bounds__(256)
    top_k(const float* __restrict__ scores, const unsigned long long* __restrict__ offsets,
          const unsigned* __restrict__ seen, const unsigned* __restrict__ candidates, unsigned* __restrict__ ids,
          float* __restrict__ values, unsigned* __restrict__ invalid, int rows, int courses, int count, int k) {
    __shared__ unsigned long long best[WARP];
    __shared__ int nan;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    for (int b = blockIdx.x; b < rows; b += gridDim.x) {
        const float* const row = scores + static_cast<size_t>(b) * courses;
        const unsigned long long begin = offsets[b], end = offsets[b + 1];
        const auto candidate = [&](int i) { return candidates ? candidates[i] : static_cast<unsigned>(i); };
        const auto is_seen = [&](unsigned id) {
            return begin < end && id <= seen[end - 1] && contains(seen, begin, end, id);
        };
        if (threadIdx.x == 0) nan = 0;
        __syncthreads();
        unsigned long long mine = 0;
        for (int i = threadIdx.x; i < count; i += blockDim.x) {
            const unsigned id = candidate(i);
            const unsigned long long key = top_k_key(row[id], id);
            if (isnan(row[id])) nan = 1;
            if (key > mine && !is_seen(id)) mine = key;
        }
        __syncthreads();
        if (threadIdx.x == 0) invalid[b] = nan;
        for (int place = 0; place < k; ++place) {
            const unsigned long long of_warp = warp_best(mine);
            if (lane == 0) best[warp] = of_warp;
            __syncthreads();
            const unsigned long long winner = warp_best(lane < warps ? best[lane] : 0);
            __syncthreads();
            const unsigned id = ~static_cast<unsigned>(winner);
            if (threadIdx.x == 0) {
                ids[static_cast<size_t>(b) * k + place] = winner ? id : 0xffffffffu;
                values[static_cast<size_t>(b) * k + place] = winner ? row[id] : -INFINITY;
            }
            if (winner && mine == winner) {
                mine = 0;
                for (int i = threadIdx.x; i < count; i += blockDim.x) {
                    const unsigned next = candidate(i);
                    const unsigned long long key = top_k_key(row[next], next);
                    if (key > mine && key < winner && !is_seen(next)) mine = key;
                }
            }
        }
        // The next row resets `nan`.
        __syncthreads();
    }
}
