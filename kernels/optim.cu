// Optimiser updates, one fused pass over parameter, state and gradient; the formulas are torch's (docs/model.md,
// optimisers). Scalars that depend on the step are computed on the host in double.
//
// Layout: up to eight tensors, n.at[i] floats each; a row of the grid (blockIdx.y) is a tensor.
// Schedule: grid-stride along a tensor, element by element; memory-bound.
#include "common.cuh"

struct Counts {
    unsigned long long at[8];
};

__device__ __forceinline__ unsigned long long first() {
    return (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ unsigned long long stride() { return (unsigned long long)gridDim.x * blockDim.x; }

// m = beta1 m + rate1 g; v = beta2 v + rate2 g^2; p = shrink p - size m / (sqrt(v) / root2 + eps), with rate = 1 - beta,
// size = lr / (1 - beta1^k), root2 = sqrt(1 - beta2^k). Coupled decay goes into g, decoupled decay is `shrink`.
extern "C" __global__ void adam_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ms,
                                     const __grid_constant__ Pointers vs, const __grid_constant__ Pointers gs,
                                     const __grid_constant__ Counts n, float beta1, float rate1, float beta2,
                                     float rate2, float size, float root2, float eps, float decay, float shrink) {
    float *p = ps.at[blockIdx.y], *m = ms.at[blockIdx.y], *v = vs.at[blockIdx.y];
    const float *gradient = gs.at[blockIdx.y];
    for (unsigned long long i = first(); i < n.at[blockIdx.y]; i += stride()) {
        float g = fmaf(decay, p[i], gradient[i]);
        m[i] = beta1 * m[i] + rate1 * g;
        v[i] = beta2 * v[i] + rate2 * g * g;
        p[i] = shrink * p[i] - size * m[i] / (sqrtf(v[i]) / root2 + eps);
    }
}

// b = mu b + rate g (b = g in the first step, where mu is 0 and rate 1); p -= lr b, or lr (g + mu b) for Nesterov.
// Without momentum the pointers of b are null.
extern "C" __global__ void sgd_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers bs,
                                    const __grid_constant__ Pointers gs, const __grid_constant__ Counts n, float lr,
                                    float mu, float rate, float nesterov, float decay) {
    float *p = ps.at[blockIdx.y], *b = bs.at[blockIdx.y];
    const float *gradient = gs.at[blockIdx.y];
    for (unsigned long long i = first(); i < n.at[blockIdx.y]; i += stride()) {
        float g = fmaf(decay, p[i], gradient[i]), move = g;
        if (b) {
            b[i] = mu * b[i] + rate * g;
            move = nesterov > 0.0f ? g + nesterov * b[i] : b[i];
        }
        p[i] -= lr * move;
    }
}

// s = keep s + rate g^2; p -= lr g / (sqrt(s) + eps). Adagrad has keep = rate = 1, RMSprop keep = a, rate = 1 - a.
extern "C" __global__ void scaled_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ss,
                                       const __grid_constant__ Pointers gs, const __grid_constant__ Counts n,
                                       float lr, float keep, float rate, float eps, float decay) {
    float *p = ps.at[blockIdx.y], *s = ss.at[blockIdx.y];
    const float *gradient = gs.at[blockIdx.y];
    for (unsigned long long i = first(); i < n.at[blockIdx.y]; i += stride()) {
        float g = fmaf(decay, p[i], gradient[i]);
        s[i] = keep * s[i] + rate * g * g;
        p[i] -= lr * g / (sqrtf(s[i]) + eps);
    }
}
