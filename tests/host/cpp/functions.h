// CUDA's functions on numbers, bits and memory. The fast ones (__expf and the like) are the precise ones here.
#pragma once

#include "memory.h"

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

template <typename A, typename B>
inline std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, std::common_type_t<A, B>> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    const T x = static_cast<T>(a), y = static_cast<T>(b);
    // As fminf: of a number and a NaN, the number.
    return x != x ? y : y < x ? y : x;
}
template <typename A, typename B>
inline std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, std::common_type_t<A, B>> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    const T x = static_cast<T>(a), y = static_cast<T>(b);
    return x != x ? y : x < y ? y : x;
}

namespace waata_host {

template <typename To, typename From>
inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

inline unsigned reverse_bits(unsigned x) {
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}

// Atomic because no other thread runs in between. Sums wrap, as on a card.
template <typename T, typename F>
WAATA_UNCHECKED T update(T* address, F next) {
    atomic_access(address, sizeof(T));
    const T old = *address;
    *address = next(old);
    return old;
}

}  // namespace waata_host

// Macros where glibc has, or may get, a declaration of the same name.
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
#define __tanhf(x) tanhf(x)
#define __powf(x, y) powf(x, y)
#define __sincosf(x, s, c) sincosf(x, s, c)
#define rsqrtf(x) (1.0f / sqrtf(x))
#define rsqrt(x) (1.0 / sqrt(x))

inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x))); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

inline int __float_as_int(float x) { return waata_host::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return waata_host::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return waata_host::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return waata_host::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return waata_host::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return waata_host::bit_cast<double>(x); }
inline int __float2int_rn(float x) { return static_cast<int>(rintf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __float2int_rd(float x) { return static_cast<int>(floorf(x)); }
inline int __float2int_ru(float x) { return static_cast<int>(ceilf(x)); }
inline unsigned __float2uint_rz(float x) { return static_cast<unsigned>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }

inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<long long>(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline unsigned __brev(unsigned x) { return waata_host::reverse_bits(x); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>(((static_cast<unsigned long long>(high) << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> (shift & 31));
}

// Loads and stores with cache hints.
template <typename T> inline T __ldg(const T* p) { return *p; }
template <typename T> inline T __ldca(const T* p) { return *p; }
template <typename T> inline T __ldcg(const T* p) { return *p; }
template <typename T> inline T __ldcs(const T* p) { return *p; }
template <typename T> inline void __stwb(T* p, T value) { *p = value; }
template <typename T> inline void __stcg(T* p, T value) { *p = value; }
template <typename T> inline void __stcs(T* p, T value) { *p = value; }

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

inline int atomicAdd(int* p, int v) {
    return waata_host::update(p, [=](int x) { return static_cast<int>(static_cast<unsigned>(x) + static_cast<unsigned>(v)); });
}
inline unsigned atomicAdd(unsigned* p, unsigned v) { return waata_host::update(p, [=](unsigned x) { return x + v; }); }
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long v) {
    return waata_host::update(p, [=](unsigned long long x) { return x + v; });
}
inline float atomicAdd(float* p, float v) { return waata_host::update(p, [=](float x) { return x + v; }); }
inline double atomicAdd(double* p, double v) { return waata_host::update(p, [=](double x) { return x + v; }); }
template <typename T> inline T atomicMin(T* p, std::common_type_t<T> v) { return waata_host::update(p, [=](T x) { return v < x ? v : x; }); }
template <typename T> inline T atomicMax(T* p, std::common_type_t<T> v) { return waata_host::update(p, [=](T x) { return x < v ? v : x; }); }
template <typename T> inline T atomicAnd(T* p, std::common_type_t<T> v) { return waata_host::update(p, [=](T x) { return x & v; }); }
template <typename T> inline T atomicOr(T* p, std::common_type_t<T> v) { return waata_host::update(p, [=](T x) { return x | v; }); }
template <typename T> inline T atomicXor(T* p, std::common_type_t<T> v) { return waata_host::update(p, [=](T x) { return x ^ v; }); }
template <typename T> inline T atomicExch(T* p, std::common_type_t<T> v) { return waata_host::update(p, [=](T) { return v; }); }
template <typename T> inline T atomicCAS(T* p, std::common_type_t<T> compare, std::common_type_t<T> v) {
    return waata_host::update(p, [=](T x) { return x == compare ? v : x; });
}
