// Neighbour sampling: min(d, k) edges of each destination of degree d, the same ones that src/graph/sample.rs draws.
//
//   d <= k  all edges, in order
//   d > k   draw j in 0..k is the edge at place floor((j + u_j) d / k) of the row, u_j = bits / 2^32, in 64-bit
//   integers
//
// Random numbers: Philox block (part, node) holds draws 4 part .. 4 part + 3.
// Layout: destination (count); out (count + 1) where the draws of each destination go; offsets (nodes + 1) rows of the
// graph; edge (out[count]).
// Schedule: a thread per destination and 4 draws; each writes its own up to 4 elements. Reads 24 bytes a destination,
// writes 4 a draw.
#include "common.cuh"

extern "C" __global__ void sample_neighbours(unsigned* __restrict__ edge, const unsigned* __restrict__ dst,
                                             const unsigned long long* __restrict__ out,
                                             const unsigned long long* __restrict__ offsets, int count, int fan_out,
                                             unsigned long long seed, unsigned long long stream) {
    const unsigned long long parts = (static_cast<unsigned long long>(fan_out) + 3) / 4;
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    for (unsigned long long at = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
         at < parts * count; at += stride) {
        const unsigned long long i = at / parts, k = fan_out;
        const unsigned part = static_cast<unsigned>(at % parts), v = dst[i];
        const unsigned long long begin = offsets[v], degree = offsets[v + 1] - begin;
        const unsigned long long draws = degree < k ? degree : k;
        const unsigned long long first = 4ull * part, to = out[i] + first;
        if (degree <= k) {
            for (unsigned j = 0; j < 4 && first + j < draws; ++j) edge[to + j] = static_cast<unsigned>(begin + first + j);
            continue;
        }
        const uint4 block =
            philox4x32(make_uint2(static_cast<unsigned>(seed), static_cast<unsigned>(seed >> 32)),
                       make_uint4(v, part, static_cast<unsigned>(stream), static_cast<unsigned>(stream >> 32)));
        const unsigned bits[4] = {block.x, block.y, block.z, block.w};
#pragma unroll
        for (unsigned j = 0; j < 4; ++j) {
            if (first + j >= draws) break;
            const unsigned long long place = (((first + j) << 32 | bits[j]) / k * degree) >> 32;
            edge[to + j] = static_cast<unsigned>(begin + place);
        }
    }
}
