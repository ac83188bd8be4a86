// Rows stored in 16 bits and computed in float: bfloat16 (8 bits of exponent, 7 of mantissa) and half precision (5 and
// 10). Two neighbouring columns are one 32-bit load; the first is in the lower half.
//
// STORAGE_VARIANTS and the like write a kernel out for each type of storage; kernels/scan.rs knows them by name.
//
// Without nvcc the conversion instructions of half precision are done by integer arithmetic.
#pragma once
#include "common.cuh"

struct Bf16 {
    unsigned short bits;
};

struct F16 {
    unsigned short bits;
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(Bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ __forceinline__ float widen(F16 x) {
#ifdef __CUDACC__
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return wide;
#else
    const unsigned sign = (x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7fffu;
    // A product with 2^112 moves the exponent; it makes subnormal values normal.
    const float scaled = __uint_as_float(magnitude << 13) * 5.192296858534828e33f;
    return __uint_as_float(__float_as_uint(scaled) | sign | (magnitude >= 0x7c00u ? 0x7f800000u : 0u));
#endif
}

// To nearest, ties to even; a NaN stays one.
__device__ __forceinline__ void narrow(float x, float& to) { to = x; }
__device__ __forceinline__ void narrow(float x, Bf16& to) {
    const unsigned bits = __float_as_uint(x);
    // Rounding could carry a NaN's payload into the exponent: a quiet NaN instead.
    to.bits = x == x ? (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16 : bits >> 16 | 0x40u;
}
__device__ __forceinline__ void narrow(float x, F16& to) {
#ifdef __CUDACC__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
#else
    const unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    unsigned rounded;
    if (magnitude > 0x7f800000u) {
        rounded = 0x7fffu;
    } else if (magnitude >= 0x477ff000u) {
        // From half way between the largest value and the next power of two.
        rounded = 0x7c00u;
    } else if (magnitude < 0x38800000u) {
        // The last place of 0.5 is that of subnormal values.
        rounded = __float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u;
    } else {
        rounded = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    }
    to.bits = sign | rounded;
#endif
}

// Elements 2 i and 2 i + 1 of a row that is aligned to two of them.
__device__ __forceinline__ float2 load_pair(const float* row, int i) { return reinterpret_cast<const float2*>(row)[i]; }
__device__ __forceinline__ float2 load_pair(const Bf16* row, int i) {
    const unsigned bits = reinterpret_cast<const unsigned*>(row)[i];
    return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
}
__device__ __forceinline__ float2 load_pair(const F16* row, int i) {
    const unsigned bits = reinterpret_cast<const unsigned*>(row)[i];
    const F16 low = {static_cast<unsigned short>(bits & 0xffffu)}, high = {static_cast<unsigned short>(bits >> 16)};
    return make_float2(widen(low), widen(high));
}

// STORAGE_VARIANTS(name, (128), (float* out, const S* x), body) are the kernels `name`, `name_bf16` and `name_f16`,
// with S standing for float, Bf16 and F16 in the launch bounds, the parameters and the body. HALF_VARIANTS has the last
// two.
#define STORAGE_VARIANT(space, type, name, bounds, parameters, ...)                    \
    inline namespace space {                                                           \
    using S = type;                                                                    \
    extern "C" __global__ void __launch_bounds__ bounds name parameters { __VA_ARGS__ } \
    }
#define HALF_VARIANTS(name, ...)                                  \
    STORAGE_VARIANT(of_bf16, Bf16, name##_bf16, __VA_ARGS__)      \
    STORAGE_VARIANT(of_f16, F16, name##_f16, __VA_ARGS__)
#define STORAGE_VARIANTS(name, ...)                \
    STORAGE_VARIANT(of_f32, float, name, __VA_ARGS__) \
    HALF_VARIANTS(name, __VA_ARGS__)
