// Conversions between float and 16 bits of storage, element by element; to 16 bits to nearest, ties to even.
//
// Layout    n elements, each array aligned to 16 bytes.
// Schedule  a thread takes 4 elements: 16 bytes of float, 8 of 16 bits. Any one-dimensional grid covers any n.
#include "storage.cuh"

template <typename S>
__device__ __forceinline__ unsigned pack(float low, float high) {
    S a, b;
    narrow(low, a);
    narrow(high, b);
    return a.bits | static_cast<unsigned>(b.bits) << 16;
}

template <typename S>
__device__ __forceinline__ void to_half(S* out, const float* x, unsigned long long n) {
    const unsigned long long threads = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    unsigned long long i = 4 * (static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x);
    for (; i < n; i += 4 * threads) {
        const float4 v = load4(x, i, n);
        if (i + 4 <= n) {
            *reinterpret_cast<uint2*>(out + i) = make_uint2(pack<S>(v.x, v.y), pack<S>(v.z, v.w));
        } else {
            narrow(v.x, out[i]);
            if (i + 1 < n) narrow(v.y, out[i + 1]);
            if (i + 2 < n) narrow(v.z, out[i + 2]);
        }
    }
}

template <typename S>
__device__ __forceinline__ void to_float(float* out, const S* x, unsigned long long n) {
    const unsigned long long threads = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    unsigned long long i = 4 * (static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x);
    for (; i < n; i += 4 * threads) {
        if (i + 4 <= n) {
            const uint2 bits = *reinterpret_cast<const uint2*>(x + i);
            const S part[4] = {{static_cast<unsigned short>(bits.x & 0xffffu)}, {static_cast<unsigned short>(bits.x >> 16)},
                               {static_cast<unsigned short>(bits.y & 0xffffu)}, {static_cast<unsigned short>(bits.y >> 16)}};
            store4(out, i, n, make_float4(widen(part[0]), widen(part[1]), widen(part[2]), widen(part[3])));
        } else {
            for (unsigned long long j = i; j < n; ++j) out[j] = widen(x[j]);
        }
    }
}

HALF_VARIANTS(cast_to, (256), (S* __restrict__ out, const float* __restrict__ x, unsigned long long n),
              to_half(out, x, n);)

HALF_VARIANTS(cast_from, (256), (float* __restrict__ out, const S* __restrict__ x, unsigned long long n),
              to_float(out, x, n);)
