// Inverted dropout: y = mask x / (1 - rate), the mask a function of (seed, stream, element index) alone.
//
// Schedule: a thread owns four consecutive elements, which share one Philox block; grid-stride, memory-bound.
#include "common.cuh"

extern "C" __global__ void dropout_fwd(float *y, const float *x, Dropout options, unsigned long long n) {
    const Dropout mask = of_step(options);
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long group = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; 4 * group < n;
         group += stride) {
        float4 s = dropout_scales(mask, group), v = load4(x, 4 * group, n);
        store4(y, 4 * group, n, make_float4(s.x * v.x, s.y * v.y, s.z * v.z, s.w * v.w));
    }
}

// dx += mask dy / (1 - rate)
extern "C" __global__ void dropout_bwd(float *dx, const float *dy, Dropout options, unsigned long long n) {
    const Dropout mask = of_step(options);
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long group = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; 4 * group < n;
         group += stride) {
        float4 s = dropout_scales(mask, group), g = load4(dy, 4 * group, n), d = load4(dx, 4 * group, n);
        store4(dx, 4 * group, n,
               make_float4(d.x + s.x * g.x, d.y + s.y * g.y, d.z + s.z * g.z, d.w + s.w * g.w));
    }
}
