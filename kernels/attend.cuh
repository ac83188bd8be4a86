// What attend.cu and attend_backward.cu share: how a warp holds a row in registers.
//
// A lane holds V columns of a tile: with DENSE (n = m = 64) neighbouring ones, loaded at once, else every 32nd.
#pragma once
#include "common.cuh"

constexpr unsigned SOLE = 0xffffffffu;
constexpr int BATCH = 4;
constexpr int ANY = 4;

// Column j of this lane within a tile that begins at c0.
template <int V, bool DENSE>
__device__ __forceinline__ int column(int c0, int lane, int j) {
    return DENSE ? lane * V + j : c0 + lane + WARP * j;
}

// This lane's columns of a row's tile, zero beyond n.
template <int V, bool DENSE>
__device__ __forceinline__ void load(const float* row, int n, int c0, int lane, float (&to)[V]) {
    if constexpr (DENSE && V == 2) {
        const float2 pair = reinterpret_cast<const float2*>(row)[lane];
        to[0] = pair.x;
        to[1] = pair.y;
    } else {
#pragma unroll
        for (int j = 0; j < V; ++j) {
            const int c = column<V, DENSE>(c0, lane, j);
            to[j] = c < n ? row[c] : 0.0f;
        }
    }
}

// This lane's part of a . b, of which the first V columns of the lane are in registers; not yet summed over lanes.
template <int V, bool DENSE>
__device__ __forceinline__ float partial_dot(const float (&a)[V], const float (&b)[V], const float* row_a,
                                             const float* row_b, int n, int lane) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < V; ++j) sum += a[j] * b[j];
    if (!DENSE)
        for (int c = V * WARP + lane; c < n; c += WARP) sum += row_a[c] * row_b[c];
    return sum;
}
