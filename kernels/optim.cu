// Optimizer updates, one fused pass over parameter, state and gradient; the formulas are torch's (docs/model.md,
// optimizers). Scalars that depend on the step are computed on the host in double and stand in a table in memory, a row
// for each parameter: recorded work finds there those of the replay.
//
// Layout    up to eight tensors, a row of the grid (blockIdx.y) each. *_step: n.at[i] floats, all of them move.
//           *_step_rows: the gradient holds n.at[i] rows of cols.at[i] floats, which move the rows ids.at[i][..] of the
//           parameter; ids ascend, so no row has two owners. The gradient is the sum over k < 4 of factor fk[i] times
//           gk.at[i] (null or factor 0: no term, which is not read): the weighted sum of several losses' gradients is
//           never written. Tensor i follows row row.at[i] of the table of scalars.
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

// A gradient as a sum of up to four terms.
struct Sum {
    const float *g[4];
    float f[4];

    __device__ __forceinline__ float at(size_t i) const {
        float sum = 0.0f;
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (g[k]) sum = fmaf(f[k], g[k][i], sum);
        return sum;
    }

    // Elements 4 i .. 4 i + 3.
    __device__ __forceinline__ float4 four(size_t i) const {
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (!g[k]) continue;
            const float4 x = reinterpret_cast<const float4 *>(g[k])[i];
            sum.x = fmaf(f[k], x.x, sum.x);
            sum.y = fmaf(f[k], x.y, sum.y);
            sum.z = fmaf(f[k], x.z, sum.z);
            sum.w = fmaf(f[k], x.w, sum.w);
        }
        return sum;
    }
};

__device__ __forceinline__ Sum sum_of(const Pointers &g0, const Pointers &g1, const Pointers &g2, const Pointers &g3,
                                      const Factors &f0, const Factors &f1, const Factors &f2, const Factors &f3,
                                      const float *weights, int y) {
    Sum sum = {{g0.at[y], g1.at[y], g2.at[y], g3.at[y]},
               {factor(f0, y, weights), factor(f1, y, weights), factor(f2, y, weights), factor(f3, y, weights)}};
#pragma unroll
    for (int k = 0; k < 4; ++k)
        if (sum.f[k] == 0.0f) sum.g[k] = nullptr;
    return sum;
}

// Floats of a row of the table of scalars.
constexpr int SCALARS = 9;

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

__device__ __forceinline__ bool aligned(const float *p, const float *a, const float *b, const Sum &g) {
    unsigned long long bits = reinterpret_cast<unsigned long long>(p) | reinterpret_cast<unsigned long long>(a) |
                              reinterpret_cast<unsigned long long>(b);
#pragma unroll
    for (int k = 0; k < 4; ++k) bits |= reinterpret_cast<unsigned long long>(g.g[k]);
    return bits % 16 == 0;
}

template <typename Rule>
__device__ __forceinline__ void step_all(const Rule &rule, float *p, float *a, float *b, const Sum &g,
                                         unsigned long long n) {
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    unsigned long long i = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x, done = 0;
    if (aligned(p, a, b, g)) {
        done = n / 4 * 4;
        for (unsigned long long k = i; k < n / 4; k += stride) {
            update_at(rule, reinterpret_cast<float4 *>(p), reinterpret_cast<float4 *>(a),
                      reinterpret_cast<float4 *>(b), k, g.four(k));
        }
    }
    for (i += done; i < n; i += stride) update_at(rule, p, a, b, i, g.at(i));
}

template <typename Rule>
__device__ __forceinline__ void step_rows(const Rule &rule, float *p, float *a, float *b, const Sum &g,
                                          const unsigned *ids, unsigned long long rows, unsigned cols) {
    const bool four = cols % 4 == 0 && aligned(p, a, b, g);
    const unsigned width = four ? cols / 4 : cols;
    unsigned shift = 0;
    while (shift < 5 && (1u << shift) < width) ++shift;
    const unsigned lane = threadIdx.x & ((1u << shift) - 1);
    const unsigned long long threads = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    unsigned long long row = (static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x) >> shift;
    for (; row < rows; row += threads >> shift) {
        const size_t from = row * width, to = static_cast<size_t>(ids[row]) * width;
        for (unsigned column = lane; column < width; column += 1u << shift) {
            if (four) {
                update_at(rule, reinterpret_cast<float4 *>(p), reinterpret_cast<float4 *>(a),
                          reinterpret_cast<float4 *>(b), to + column, g.four(from + column));
            } else {
                update_at(rule, p, a, b, to + column, g.at(from + column));
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
    adam_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ms,
              const __grid_constant__ Pointers vs, const __grid_constant__ Pointers g0,
              const __grid_constant__ Pointers g1, const __grid_constant__ Pointers g2,
              const __grid_constant__ Pointers g3, const __grid_constant__ Factors f0,
              const __grid_constant__ Factors f1, const __grid_constant__ Factors f2,
              const __grid_constant__ Factors f3, const __grid_constant__ Counts n,
              const float *__restrict__ weights, const float *__restrict__ scalars,
              const __grid_constant__ Widths row) {
    const int y = blockIdx.y;
    const Sum sum = sum_of(g0, g1, g2, g3, f0, f1, f2, f3, weights, y);
    const float *const s = scalars + SCALARS * row.at[y];
    const Adam rule = {s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]};
    step_all(rule, ps.at[y], ms.at[y], vs.at[y], sum, n.at[y]);
}

extern "C" __global__ void __launch_bounds__(256)
    adam_step_rows(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ms,
                   const __grid_constant__ Pointers vs, const __grid_constant__ Pointers g0,
                   const __grid_constant__ Pointers g1, const __grid_constant__ Pointers g2,
                   const __grid_constant__ Pointers g3, const __grid_constant__ Factors f0,
                   const __grid_constant__ Factors f1, const __grid_constant__ Factors f2,
                   const __grid_constant__ Factors f3, const __grid_constant__ Counts n,
                   const __grid_constant__ Ids ids, const __grid_constant__ Widths cols,
                   const float *__restrict__ weights, const float *__restrict__ scalars,
                   const __grid_constant__ Widths row) {
    const int y = blockIdx.y;
    const Sum sum = sum_of(g0, g1, g2, g3, f0, f1, f2, f3, weights, y);
    const float *const s = scalars + SCALARS * row.at[y];
    const Adam rule = {s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]};
    step_rows(rule, ps.at[y], ms.at[y], vs.at[y], sum, ids.at[y], n.at[y], cols.at[y]);
}

// Without momentum the pointers of b are null.
extern "C" __global__ void __launch_bounds__(256)
    sgd_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers bs,
             const __grid_constant__ Pointers g0, const __grid_constant__ Pointers g1,
             const __grid_constant__ Pointers g2, const __grid_constant__ Pointers g3,
             const __grid_constant__ Factors f0, const __grid_constant__ Factors f1, const __grid_constant__ Factors f2,
             const __grid_constant__ Factors f3, const __grid_constant__ Counts n,
             const float *__restrict__ weights, const float *__restrict__ scalars,
             const __grid_constant__ Widths row) {
    const int y = blockIdx.y;
    const Sum sum = sum_of(g0, g1, g2, g3, f0, f1, f2, f3, weights, y);
    const float *const s = scalars + SCALARS * row.at[y];
    const Sgd rule = {s[0], s[1], s[2], s[3], s[4], bs.at[y] != nullptr};
    step_all(rule, ps.at[y], bs.at[y], static_cast<float *>(nullptr), sum, n.at[y]);
}

extern "C" __global__ void __launch_bounds__(256)
    sgd_step_rows(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers bs,
                  const __grid_constant__ Pointers g0, const __grid_constant__ Pointers g1,
                  const __grid_constant__ Pointers g2, const __grid_constant__ Pointers g3,
                  const __grid_constant__ Factors f0, const __grid_constant__ Factors f1,
                  const __grid_constant__ Factors f2, const __grid_constant__ Factors f3,
                  const __grid_constant__ Counts n, const __grid_constant__ Ids ids,
                  const __grid_constant__ Widths cols,
                  const float *__restrict__ weights, const float *__restrict__ scalars,
                  const __grid_constant__ Widths row) {
    const int y = blockIdx.y;
    const Sum sum = sum_of(g0, g1, g2, g3, f0, f1, f2, f3, weights, y);
    const float *const s = scalars + SCALARS * row.at[y];
    const Sgd rule = {s[0], s[1], s[2], s[3], s[4], bs.at[y] != nullptr};
    step_rows(rule, ps.at[y], bs.at[y], static_cast<float *>(nullptr), sum, ids.at[y], n.at[y], cols.at[y]);
}

extern "C" __global__ void __launch_bounds__(256)
    scaled_step(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ss,
                const __grid_constant__ Pointers g0, const __grid_constant__ Pointers g1,
                const __grid_constant__ Pointers g2, const __grid_constant__ Pointers g3,
                const __grid_constant__ Factors f0, const __grid_constant__ Factors f1,
                const __grid_constant__ Factors f2, const __grid_constant__ Factors f3,
                const __grid_constant__ Counts n,
                const float *__restrict__ weights, const float *__restrict__ scalars,
                const __grid_constant__ Widths row) {
    const int y = blockIdx.y;
    const Sum sum = sum_of(g0, g1, g2, g3, f0, f1, f2, f3, weights, y);
    const float *const s = scalars + SCALARS * row.at[y];
    const Scaled rule = {s[0], s[1], s[2], s[3], s[4]};
    step_all(rule, ps.at[y], ss.at[y], static_cast<float *>(nullptr), sum, n.at[y]);
}

extern "C" __global__ void __launch_bounds__(256)
    scaled_step_rows(const __grid_constant__ Pointers ps, const __grid_constant__ Pointers ss,
                     const __grid_constant__ Pointers g0, const __grid_constant__ Pointers g1,
                     const __grid_constant__ Pointers g2, const __grid_constant__ Pointers g3,
                     const __grid_constant__ Factors f0, const __grid_constant__ Factors f1,
                     const __grid_constant__ Factors f2, const __grid_constant__ Factors f3,
                     const __grid_constant__ Counts n, const __grid_constant__ Ids ids,
                     const __grid_constant__ Widths cols,
                     const float *__restrict__ weights, const float *__restrict__ scalars,
                     const __grid_constant__ Widths row) {
    const int y = blockIdx.y;
    const Sum sum = sum_of(g0, g1, g2, g3, f0, f1, f2, f3, weights, y);
    const float *const s = scalars + SCALARS * row.at[y];
    const Scaled rule = {s[0], s[1], s[2], s[3], s[4]};
    step_rows(rule, ps.at[y], ss.at[y], static_cast<float *>(nullptr), sum, ids.at[y], n.at[y], cols.at[y]);
}
