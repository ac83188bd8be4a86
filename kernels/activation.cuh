// Element-wise functions of several kernels. Mirrored by `Activation` of src/ops/dense.rs and `Real` of src/engine/real.rs.
#pragma once
#include "common.cuh"

enum Activation { IDENTITY = 0, RELU = 1, LEAKY_RELU = 2, ELU = 3 };

__device__ __forceinline__ float activate(float z, int activation, float slope) {
    if (activation == RELU) return fmaxf(z, 0.0f);
    if (activation == LEAKY_RELU) return z > 0.0f ? z : slope * z;
    if (activation == ELU) return z > 0.0f ? z : expm1f(z);
    return z;
}

// act'(z), read off the output y: all the activations here keep the sign of z.
__device__ __forceinline__ float derivative(float y, int activation, float slope) {
    if (activation == RELU) return y > 0.0f ? 1.0f : 0.0f;
    if (activation == LEAKY_RELU) return y > 0.0f ? 1.0f : slope;
    if (activation == ELU) return y > 0.0f ? 1.0f : y + 1.0f;
    return 1.0f;
}

// 1 / (1 + e^-z), exact at both ends.
__device__ __forceinline__ float sigmoid(float z) {
    const float e = expf(-fabsf(z)), s = 1.0f / (1.0f + e);
    return z >= 0.0f ? s : e * s;
}
