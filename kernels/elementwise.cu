// Element-by-element helpers of the engine itself. Grid-stride loops over 64-bit counts; memory-bound.
#include "common.cuh"

// y += alpha x
extern "C" __global__ void axpy(float *y, const float *x, float alpha, unsigned long long n) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        y[i] += alpha * x[i];
}
