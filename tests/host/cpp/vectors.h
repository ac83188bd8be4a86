// CUDA's vector types, with CUDA's alignment: a float4 read from an address that is no multiple of 16 is an error
// on a card, and here.
#pragma once

#define WAATA_VECTOR2(type, T, alignment)                             \
    struct alignas(alignment) type##2 { T x, y; };                    \
    inline type##2 make_##type##2(T x, T y) { return {x, y}; }
#define WAATA_VECTOR3(type, T)                                        \
    struct type##3 { T x, y, z; };                                    \
    inline type##3 make_##type##3(T x, T y, T z) { return {x, y, z}; }
#define WAATA_VECTOR4(type, T, alignment)                             \
    struct alignas(alignment) type##4 { T x, y, z, w; };              \
    inline type##4 make_##type##4(T x, T y, T z, T w) { return {x, y, z, w}; }
#define WAATA_VECTORS(type, T) \
    WAATA_VECTOR2(type, T, 2 * sizeof(T)) WAATA_VECTOR3(type, T) WAATA_VECTOR4(type, T, 4 * sizeof(T))

WAATA_VECTORS(char, signed char)
WAATA_VECTORS(uchar, unsigned char)
WAATA_VECTORS(short, short)
WAATA_VECTORS(ushort, unsigned short)
WAATA_VECTORS(int, int)
WAATA_VECTORS(uint, unsigned)
WAATA_VECTORS(float, float)
WAATA_VECTOR2(double, double, 16)
WAATA_VECTOR2(longlong, long long, 16)
WAATA_VECTOR2(ulonglong, unsigned long long, 16)

#undef WAATA_VECTORS
#undef WAATA_VECTOR4
#undef WAATA_VECTOR3
#undef WAATA_VECTOR2

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
