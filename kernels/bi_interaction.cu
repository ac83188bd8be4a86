// The element-wise parts of the aggregators of formula (6), around their dense products:
//   s = x + a, q = x * a;  y = dropout(h1 + h2) with h the activated products;
//   d = mask dy act'(h);   dx += p1 + a p2, da += p1 + x p2 with p = d W^T.
//
// Layout: dense row-major matrices of n floats each, taken flat. The aggregators with one product give null for
//   q, h2, d2 and p2.
// Schedule: a thread owns four consecutive elements (one float4, one Philox block); grid-stride, memory-bound.
#include "common.cuh"

__device__ __forceinline__ float4 leaky_slopes(float4 h, float slope) {
    return make_float4(h.x > 0.0f ? 1.0f : slope, h.y > 0.0f ? 1.0f : slope, h.z > 0.0f ? 1.0f : slope,
                       h.w > 0.0f ? 1.0f : slope);
}

__device__ __forceinline__ float4 product(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

__device__ __forceinline__ float4 sum(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

extern "C" __global__ void aggregate_inputs(float *__restrict__ s, float *__restrict__ q,
                                            const float *__restrict__ x, const float *__restrict__ a,
                                            unsigned long long n) {
    unsigned long long stride = 4ull * gridDim.x * blockDim.x;
    for (unsigned long long at = 4 * ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x); at < n; at += stride) {
        float4 u = load4(x, at, n), v = load4(a, at, n);
        store4(s, at, n, sum(u, v));
        if (q) store4(q, at, n, product(u, v));
    }
}

extern "C" __global__ void aggregate_outputs(float *__restrict__ y, const float *__restrict__ h1,
                                             const float *__restrict__ h2, Dropout options, unsigned long long n) {
    const Dropout mask = of_step(options);
    unsigned long long stride = 4ull * gridDim.x * blockDim.x;
    for (unsigned long long at = 4 * ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x); at < n; at += stride) {
        float4 h = load4(h1, at, n);
        if (h2) h = sum(h, load4(h2, at, n));
        store4(y, at, n, product(dropout_scales(mask, at / 4), h));
    }
}

extern "C" __global__ void aggregate_outputs_bwd(float *__restrict__ d1, float *__restrict__ d2,
                                                 const float *__restrict__ dy, const float *__restrict__ h1,
                                                 const float *__restrict__ h2, Dropout options, float slope,
                                                 unsigned long long n) {
    const Dropout mask = of_step(options);
    unsigned long long stride = 4ull * gridDim.x * blockDim.x;
    for (unsigned long long at = 4 * ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x); at < n; at += stride) {
        float4 g = product(dropout_scales(mask, at / 4), load4(dy, at, n));
        store4(d1, at, n, product(g, leaky_slopes(load4(h1, at, n), slope)));
        if (d2) store4(d2, at, n, product(g, leaky_slopes(load4(h2, at, n), slope)));
    }
}

extern "C" __global__ void aggregate_inputs_bwd(float *__restrict__ dx, float *__restrict__ da,
                                                const float *__restrict__ p1, const float *__restrict__ p2,
                                                const float *__restrict__ x, const float *__restrict__ a,
                                                unsigned long long n) {
    unsigned long long stride = 4ull * gridDim.x * blockDim.x;
    for (unsigned long long at = 4 * ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x); at < n; at += stride) {
        float4 first = load4(p1, at, n);
        float4 second = p2 ? load4(p2, at, n) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (dx) store4(dx, at, n, sum(load4(dx, at, n), sum(first, product(second, load4(a, at, n)))));
        if (da) store4(da, at, n, sum(load4(da, at, n), sum(first, product(second, load4(x, at, n)))));
    }
}
