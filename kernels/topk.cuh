// The K best of scores that come tile by tile, for the kernels of topk.cu.
//
// Order     keys (ordered score, inverted id) are distinct, so the list does not depend on the schedule: not on the
//           order in which threads append, which is the one thing that differs from run to run.
#pragma once

#include "common.cuh"

// Room for keys of one learner: K of at most 128 and a tile of at most 128 courses.
#define ROOM 256

// Larger for a better course, never 0. Zeros of both signs are equal.
__device__ __forceinline__ unsigned long long topk_key(float score, unsigned id) {
    const unsigned bits = __float_as_uint(score + 0.0f);
    const unsigned ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
    return static_cast<unsigned long long>(ordered) << 32 | (~id & 0xffffffffu);
}

__device__ __forceinline__ float topk_score(unsigned long long key) {
    const unsigned ordered = static_cast<unsigned>(key >> 32);
    return __uint_as_float(ordered >> 31 ? ordered & 0x7fffffffu : ~ordered);
}

// Whether the ascending ids [begin, end) hold `id`.
__device__ __forceinline__ bool topk_seen(const unsigned* ids, unsigned long long begin, unsigned long long end,
                                          unsigned id) {
    const unsigned long long last = end;
    while (begin < end) {
        const unsigned long long middle = (begin + end) / 2;
        if (ids[middle] < id) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    return begin < last && ids[begin] == id;
}

// What a block keeps of one learner; `keys` has ROOM places of shared memory.
struct Kept {
    unsigned long long bar;
    int count;
    int nan;
};

// Appends a score that is better than the bar and was not seen. At most ROOM keys may be there after it.
__device__ __forceinline__ void topk_offer(Kept* kept, unsigned long long* keys, float score, unsigned id,
                                           const unsigned* seen, unsigned long long begin, unsigned long long end) {
    if (isnan(score)) {
        atomicOr(&kept->nan, 1);
        return;
    }
    const unsigned long long key = topk_key(score, id);
    if (key > kept->bar && !topk_seen(seen, begin, end, id)) keys[atomicAdd(&kept->count, 1)] = key;
}

// Sorts the keys, best first, and keeps k of them. A whole warp; the others must not touch this learner.
__device__ __forceinline__ void topk_cut(Kept* kept, unsigned long long* keys, int k) {
    const int lane = threadIdx.x % WARP;
    const int count = kept->count;
    for (int i = count + lane; i < ROOM; i += WARP) keys[i] = 0;
    __syncwarp();
    for (int size = 2; size <= ROOM; size *= 2) {
        for (int stride = size / 2; stride > 0; stride /= 2) {
            for (int p = lane; p < ROOM / 2; p += WARP) {
                const int i = 2 * p - (p & (stride - 1)), j = i + stride;
                const unsigned long long a = keys[i], b = keys[j];
                // Descending runs at even places, ascending ones at odd places, of length `size`.
                if ((a < b) == ((i & size) == 0)) {
                    keys[i] = b;
                    keys[j] = a;
                }
            }
            __syncwarp();
        }
    }
    if (lane == 0) {
        kept->count = min(count, k);
        kept->bar = count >= k ? keys[k - 1] : 0;
    }
    __syncwarp();
}

// Writes a learner's list; a whole warp, after `topk_cut`.
__device__ __forceinline__ void topk_write(const Kept* kept, const unsigned long long* keys, unsigned* ids,
                                           float* values, unsigned* invalid, int k) {
    const int lane = threadIdx.x % WARP;
    for (int i = lane; i < k; i += WARP) {
        const bool there = i < kept->count;
        ids[i] = there ? ~static_cast<unsigned>(keys[i]) : 0xffffffffu;
        values[i] = there ? topk_score(keys[i]) : -INFINITY;
    }
    if (lane == 0) *invalid = kept->nan;
}
