// bfloat16 as storage: conversions alone. Kernels compute in float.
#pragma once

#include <cstdint>
#include <cstring>

#include "vectors.h"

struct __nv_bfloat16 {
    std::uint16_t bits;
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

// To nearest, ties to even; a NaN becomes CUDA's canonical one.
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    std::uint32_t raw;
    std::memcpy(&raw, &value, sizeof raw);
    if (value != value) return {0x7fff};
    return {static_cast<std::uint16_t>((raw + 0x7fff + (raw >> 16 & 1)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16(float value) { return __float2bfloat16_rn(value); }
inline float __bfloat162float(__nv_bfloat16 value) {
    const std::uint32_t raw = static_cast<std::uint32_t>(value.bits) << 16;
    float wide;
    std::memcpy(&wide, &raw, sizeof wide);
    return wide;
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)}; }
inline float2 __bfloat1622float2(__nv_bfloat162 value) { return {__bfloat162float(value.x), __bfloat162float(value.y)}; }
