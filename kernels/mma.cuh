// Products on the matrix units, one warp at a time: C (16 x 8, float) += A (16 x 8 tf32, or 16 x 16 bf16) B.
//
// Layout (PTX ISA, mma.m16n8k8 and mma.m16n8k16), with g = lane / 4 and t = lane % 4:
//   C: c[0], c[1] at row g, columns 2 t and 2 t + 1; c[2], c[3] at row g + 8.
//   tf32: a[0] (g, t), a[1] (g + 8, t), a[2] (g, t + 4), a[3] (g + 8, t + 4); b[0] (t, g), b[1] (t + 4, g).
//   bf16, two a register, the lower half first: a[0] (g, 2 t), a[1] (g + 8, 2 t), a[2] (g, 2 t + 8), a[3] (g + 8, 2 t + 8);
//     b[0] (2 t, g), b[1] (2 t + 8, g).
// Without nvcc the same is computed by shuffles and fused multiply-adds in order of k: it proves layouts and index
// arithmetic. The order of the unit's own sums is its maker's affair, so the last bits may differ.
#pragma once
#include "common.cuh"

// To 10 bits of mantissa, ties away from zero.
__device__ __forceinline__ float round_tf32(float x) {
#ifdef __CUDACC__
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
#else
    return x == x ? __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u) : x;
#endif
}

#ifndef __CUDACC__
// To 7 bits of mantissa, ties to even.
__device__ __forceinline__ unsigned round_bf16(float x) {
    const unsigned bits = __float_as_uint(x);
    return x == x ? (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16 : 0x7fffu;
}
#endif

// Two values as bf16 in one register.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
#ifdef __CUDACC__
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
#else
    return round_bf16(low) | round_bf16(high) << 16;
#endif
}

__device__ __forceinline__ void mma_tf32(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
          "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#else
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    for (int k = 0; k < 8; k++) {
        for (int e = 0; e < 4; e++) {
            const float x = __shfl_sync(FULL_WARP, a[e / 2 + k / 4 * 2], g * 4 + k % 4);
            const float y = __shfl_sync(FULL_WARP, b[k / 4], (2 * t + e % 2) * 4 + k % 4);
            c[e] = fmaf(x, y, c[e]);
        }
    }
#endif
}

__device__ __forceinline__ void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    for (int k = 0; k < 16; k++) {
        for (int e = 0; e < 4; e++) {
            const unsigned x = __shfl_sync(FULL_WARP, a[e / 2 + k / 8 * 2], g * 4 + k % 8 / 2);
            const unsigned y = __shfl_sync(FULL_WARP, b[k / 8], (2 * t + e % 2) * 4 + k % 8 / 2);
            const unsigned shift = k % 2 ? 0 : 16;
            c[e] = fmaf(__uint_as_float(x << shift & 0xffff0000u), __uint_as_float(y << shift & 0xffff0000u), c[e]);
        }
    }
#endif
}
