// How a warp holds rows of any type of storage in registers: for relation attention and segmented sums.
//
// A lane holds V columns of a tile: with DENSE (n = m = 64, V = 2) two neighbouring ones, loaded at once; with PAIRED
// pairs of neighbours, every 32nd pair; with STRIDED every 32nd column.
#pragma once
#include "storage.cuh"

enum Columns { STRIDED, PAIRED, DENSE };

constexpr unsigned UNSPLIT = 0xffffffffu;
constexpr int BATCH = 4;

// Column j of this lane within a tile that begins at c0.
template <int V, Columns C>
__device__ __forceinline__ int column(int c0, int lane, int j) {
    return C == DENSE ? lane * V + j : C == PAIRED ? c0 + 2 * (lane + WARP * (j / 2)) + j % 2 : c0 + lane + WARP * j;
}

// This lane's columns of a row's tile, zero beyond n.
template <int V, Columns C, typename S>
__device__ __forceinline__ void load(const S* row, int n, int c0, int lane, float (&to)[V]) {
    if constexpr (C == DENSE) {
        const float2 pair = load_pair(row, lane);
        to[0] = pair.x;
        to[1] = pair.y;
    } else if constexpr (C == PAIRED) {
        // The same for all lanes: tiles begin at even columns.
        const bool aligned = reinterpret_cast<size_t>(row) % (2 * sizeof(S)) == 0;
#pragma unroll
        for (int j = 0; j < V; j += 2) {
            const int c = column<V, C>(c0, lane, j);
            if (aligned && c + 1 < n) {
                const float2 pair = load_pair(row, c / 2);
                to[j] = pair.x;
                to[j + 1] = pair.y;
            } else {
                to[j] = c < n ? widen(row[c]) : 0.0f;
                to[j + 1] = c + 1 < n ? widen(row[c + 1]) : 0.0f;
            }
        }
    } else {
#pragma unroll
        for (int j = 0; j < V; ++j) {
            const int c = column<V, C>(c0, lane, j);
            to[j] = c < n ? widen(row[c]) : 0.0f;
        }
    }
}

// This lane's part of a . b, of which the first V columns of the lane are in registers; not yet summed over lanes.
template <int V, Columns C, typename A, typename B>
__device__ __forceinline__ float partial_dot(const float (&a)[V], const float (&b)[V], const A* row_a, const B* row_b,
                                             int n, int lane) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < V; ++j) sum += a[j] * b[j];
    if (C != DENSE)
        for (int c = V * WARP + lane; c < n; c += WARP) sum += widen(row_a[c]) * widen(row_b[c]);
    return sum;
}

// How rows of any width are held: 16-bit columns are loaded in pairs.
template <typename S>
constexpr Columns WIDE = sizeof(S) == 2 ? PAIRED : STRIDED;

// ROW_VARIANTS(name, (128), (float* out, const S* x), body) are the STORAGE_VARIANTS of `name_64`, for n = m = 64, and
// of `name_any`; V and HELD<S> stand for how their rows are held.
inline namespace of_64 {
constexpr int V = 2;
template <typename S>
constexpr Columns HELD = DENSE;
}
inline namespace of_any {
constexpr int V = 4;
template <typename S>
constexpr Columns HELD = WIDE<S>;
}
#define ROW_VARIANTS(name, ...)                                     \
    inline namespace of_64 {                                        \
    STORAGE_VARIANT(of_64_f32, float, name##_64, __VA_ARGS__)       \
    STORAGE_VARIANT(of_64_bf16, Bf16, name##_64_bf16, __VA_ARGS__)  \
    STORAGE_VARIANT(of_64_f16, F16, name##_64_f16, __VA_ARGS__)     \
    }                                                               \
    inline namespace of_any {                                       \
    STORAGE_VARIANT(of_any_f32, float, name##_any, __VA_ARGS__)      \
    STORAGE_VARIANT(of_any_bf16, Bf16, name##_any_bf16, __VA_ARGS__) \
    STORAGE_VARIANT(of_any_f16, F16, name##_any_f16, __VA_ARGS__)    \
    }
