// Optimiser updates, one fused pass over parameter, state and gradient; the formulas are torch's (docs/model.md,
// optimisers). Scalars that depend on the step are computed on the host in double.
//
// Layout    up to eight tensors, a row of the grid (blockIdx.y) each. *_step: n.at[i] floats, all of them move.
//           *_step_rows: the gradient holds n.at[i] rows of cols.at[i] floats, which move the rows ids.at[i][..] of the
//           parameter; ids ascend, so no row has two owners.
// Schedule  memory-bound: a thread moves four neighbouring floats (16-byte loads) where the addresses allow it,
//           else one. Rows: a group of 1 to 32 neighbouring lanes a row, as in gather.cu. Any grid covers any size.
#include "common.cuh"

struct Counts {
    unsigned long long at[8];
};

struct Widths {
    unsigned at[8];
};

// Row numbers of up to eight tensors.
struct Ids {
    const unsigned *at[8];
};

// m = beta1 m + rate1 g; v = beta2 v + rate2 g^2; p = shrink p - size m / (sqrt(v) / root2 + eps), with rate = 1 - beta,
// size = lr / (1 - beta1^k), root2 = sqrt(1 - beta2^k). Coupled decay goes into g, decoupled decay is `shrink`.
struct Adam {
    float beta1, rate1, beta2, rate2, size, root2, eps, decay, shrink;

    __device__ __forceinline__ void operator()(float &p, float g, float &m, float &v) const {
        g = fmaf(decay, p, g);
        m = beta1 * m + rate1 * g;
        v = beta2 * v + rate2 * g * g;
        p = shrink * p - size * m / (sqrtf(v) / root2 + eps);
    }
};

// b = mu b + rate g (b = g in the first step, where mu is 0 and rate 1); p -= lr b, or lr (g + mu b) for Nesterov.
struct Sgd {
    float lr, mu, rate, nesterov, decay;
    bool momentum;

    __device__ __forceinline__ void operator()(float &p, float g, float &b, float &) const {
        g = fmaf(decay, p, g);
        float move = g;
        if (momentum) {
            b = mu * b + rate * g;
            move = nesterov > 0.0f ? g + nesterov * b : b;
        }
        p -= lr * move;
    }
};

// s = keep s + rate g^2; p -= lr g / (sqrt(s) + eps). Adagrad has keep = rate = 1, RMSprop keep = a, rate = 1 - a.
struct Scaled {
    float lr, keep, rate, eps, decay;

    __device__ __forceinline__ void operator()(float &p, float g, float &s, float &) const {
        g = fmaf(decay, p, g);
        s = keep * s + rate * g * g;
        p -= lr * g / (sqrtf(s) + eps);
    }
};

template <typename Rule>
__device__ __forceinline__ void apply(const Rule &rule, float &p, float g, float &a, float &b) {
    rule(p, g, a, b);
}

template <typename Rule>
__device__ __forceinline__ void apply(const Rule &rule, float4 &p, float4 g, float4 &a, float4 &b) {
    rule(p.x, g.x, a.x, b.x);
    rule(p.y, g.y, a.y, b.y);
    rule(p.z, g.z, a.z, b.z);
    rule(p.w, g.w, a.w, b.w);
}

// One element of type float or float4. A null pointer stands for state that the rule does not have.
template <typename Rule, typename T>
__device__ __forceinline__ void update_at(const Rule &rule, T *p, T *a, T *b, size_t at, T g) {
    T value = p[at], first = {}, second = {};
    if (a) first = a[at];
    if (b) second = b[at];
    apply(rule, value, g, first, second);
    p[at] = value;
    if (a) a[at] = first;
    if (b) b[at] = second;
}

__device__ __forceinline__ bool aligned(const void *a, const void *b, const void *c, const void *d) {
    return (reinterpret_cast<unsigned long long>(a) | reinterpret_cast<unsigned long long>(b) |
            reinterpret_cast<unsigned long long>(c) | reinterpret_cast<unsigned long long>(d)) % 16 == 0;
}

template <typename Rule>
__device__ __forceinline__ void step_all(const Rule &rule, float *p, float *a, float *b, const float *g,
                                     unsigned long long n) {
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    unsigned long long i = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x, done = 0;
    if (aligned(p, a, b, g)) {
        done = n / 4 * 4;
        for (unsigned long long k = i; k < n / 4; k += stride) {
            const float4 four = reinterpret_cast<const float4 *>(g)[k];
            update_at(rule, reinterpret_cast<float4 *>(p), reinterpret_cast<float4 *>(a), reinterpret_cast<float4 *>(b), k,
                 four);
        }
    }
    for (i += done; i < n; i += stride) update_at(rule, p, a, b, i, g[i]);
}

template <typename Rule, typename T>
__device__ __forceinline__ void move_rows(const Rule &rule, T *p, T *a, T *b, const T *g, const unsigned *ids,
                                          unsigned long long rows, unsigned width) {
    unsigned shift = 0;
    while (shift < 5 && (1u << shift) < width) ++shift;
    const unsigned lane = threadIdx.x & ((1u << shift) - 1);
    const unsigned long long threads = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    unsigned long long row = (static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x) >> shift;
    for (; row < rows; row += threads >> shift) {
        const size_t at = static_cast<size_t>(ids[row]) * width;
        for (unsigned column = lane; column < width; column += 1u << shift)
            update_at(rule, p, a, b, at + column, g[row * width + column]);
    }
}

template <typename Rule>
__device__ __forceinline__ void step_rows(const Rule &rule, float *p, float *a, float *b, const float *g,
                                          const unsigned *ids, unsigned long long rows, unsigned cols) {
    if (cols % 4 == 0 && aligned(p, a, b, g)) {
        move_rows(rule, reinterpret_cast<float4 *>(p), reinterpret_cast<float4 *>(a), reinterpret_cast<float4 *>(b),
                  reinterpret_cast<const float4 *>(g), ids, rows, cols / 4);
    } else {
        move_rows(rule, p, a, b, g, ids, rows, cols);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    adam_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ms,
              const __grid_constant__ Pointers vs, const __grid_constant__ Pointers gs, const __grid_constant__ Counts n,
              float beta1, float rate1, float beta2, float rate2, float size, float root2, float eps, float decay,
              float shrink) {
    const int y = blockIdx.y;
    const Adam rule = {beta1, rate1, beta2, rate2, size, root2, eps, decay, shrink};
    step_all(rule, ps.at[y], ms.at[y], vs.at[y], gs.at[y], n.at[y]);
}

extern "C" __global__ void __launch_bounds__(256)
    adam_step_rows(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ms,
              const __grid_constant__ Pointers vs, const __grid_constant__ Pointers gs, const __grid_constant__ Counts n,
              const __grid_constant__ Ids ids, const __grid_constant__ Widths cols, float beta1, float rate1,
              float beta2, float rate2, float size, float root2, float eps, float decay, float shrink) {
    const int y = blockIdx.y;
    const Adam rule = {beta1, rate1, beta2, rate2, size, root2, eps, decay, shrink};
    step_rows(rule, ps.at[y], ms.at[y], vs.at[y], gs.at[y], ids.at[y], n.at[y], cols.at[y]);
}

// Without momentum the pointers of b are null.
extern "C" __global__ void __launch_bounds__(256)
    sgd_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers bs,
             const __grid_constant__ Pointers gs, const __grid_constant__ Counts n, float lr, float mu, float rate,
             float nesterov, float decay) {
    const int y = blockIdx.y;
    const Sgd rule = {lr, mu, rate, nesterov, decay, bs.at[y] != nullptr};
    step_all(rule, ps.at[y], bs.at[y], static_cast<float *>(nullptr), gs.at[y], n.at[y]);
}

extern "C" __global__ void __launch_bounds__(256)
    sgd_step_rows(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers bs,
             const __grid_constant__ Pointers gs, const __grid_constant__ Counts n, const __grid_constant__ Ids ids,
             const __grid_constant__ Widths cols, float lr, float mu, float rate, float nesterov, float decay) {
    const int y = blockIdx.y;
    const Sgd rule = {lr, mu, rate, nesterov, decay, bs.at[y] != nullptr};
    step_rows(rule, ps.at[y], bs.at[y], static_cast<float *>(nullptr), gs.at[y], ids.at[y], n.at[y], cols.at[y]);
}

extern "C" __global__ void __launch_bounds__(256)
    scaled_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ss,
                const __grid_constant__ Pointers gs, const __grid_constant__ Counts n, float lr, float keep, float rate,
                float eps, float decay) {
    const int y = blockIdx.y;
    const Scaled rule = {lr, keep, rate, eps, decay};
    step_all(rule, ps.at[y], ss.at[y], static_cast<float *>(nullptr), gs.at[y], n.at[y]);
}

extern "C" __global__ void __launch_bounds__(256)
    scaled_step_rows(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ss,
                const __grid_constant__ Pointers gs, const __grid_constant__ Counts n, const __grid_constant__ Ids ids,
                const __grid_constant__ Widths cols, float lr, float keep, float rate, float eps, float decay) {
    const int y = blockIdx.y;
    const Scaled rule = {lr, keep, rate, eps, decay};
    step_rows(rule, ps.at[y], ss.at[y], static_cast<float *>(nullptr), gs.at[y], ids.at[y], n.at[y], cols.at[y]);
}
