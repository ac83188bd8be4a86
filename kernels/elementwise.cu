// Element-by-element helpers of the engine itself. Grid-stride loops over 64-bit counts; memory-bound.
#include "common.cuh"

// y += alpha x
extern "C" __global__ void axpy(float *y, const float *x, float alpha, unsigned long long n) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        y[i] += alpha * x[i];
}

// y = (add ? y : 0) + sum over the first `count` of w_i x_i, in order
extern "C" __global__ void weighted_sum(float *y, const __grid_constant__ Pointers x,
                                        const __grid_constant__ Factors w, const float *weights, int count, int add,
                                        unsigned long long n) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long k = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; k < n; k += stride) {
        float sum = add ? y[k] : 0.0f;
        for (int i = 0; i < count; i++) sum = fmaf(factor(w, i, weights), x.at[i][k], sum);
        y[k] = sum;
    }
}
