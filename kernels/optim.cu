// Optimizer updates, one fused pass over parameter, state and gradient; the formulas are torch's (docs/model.md,
// optimizers). Scalars that depend on the step are computed on the host in double and stand in a table in memory, a row
// for each parameter: recorded work finds there those of the replay.
//
// Layout    up to eight tensors, a row of the grid (blockIdx.y) each. Where ids[i] is null, all of its n[i] floats move.
//           Else the gradient holds n[i] rows of cols[i] floats, which move the rows ids[i][..] of the parameter; ids
//           ascend, so no row has two owners. The gradient is the sum over k < 4 of factor k times g[k].at[i] (null or
//           factor 0: no term, which is not read): the weighted sum of several losses' gradients is never written.
//           Tensor i reads row row[i] of the table of scalars.
// Schedule  memory-bound: a thread moves four neighbouring floats (16-byte loads) where the addresses allow it,
//           else one. Rows: a group of 1 to 32 neighbouring lanes a row, as in gather.cu. Any grid covers any size.
#include "common.cuh"

// Up to eight tensors. Mirrored by `Step` of src/engine/optim/gpu.rs.
struct Step {
    Pointers p, state[2], g[4];
    Factors factors[4];
    unsigned long long n[8];
    const unsigned *ids[8];
    unsigned cols[8], row[8];
    const float *weights, *scalars;
};
static_assert(sizeof(Step) == 912, "as src/engine/optim/gpu.rs asserts");

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

__device__ __forceinline__ Sum sum_of(const Step &s, int y) {
    Sum sum;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        sum.f[k] = factor(s.factors[k], y, s.weights);
        sum.g[k] = sum.f[k] == 0.0f ? nullptr : s.g[k].at[y];
    }
    return sum;
}

// Floats of a row of the table of scalars.
constexpr int SCALARS = 9;

// m = beta1 m + rate1 g; v = beta2 v + rate2 g^2; p = shrink p - size m / (sqrt(v) / root2 + eps), with rate = 1 - beta,
// size = lr / (1 - beta1^k), root2 = sqrt(1 - beta2^k). Coupled decay goes into g, decoupled decay is `shrink`.
struct Adam {
    float beta1, rate1, beta2, rate2, size, root2, eps, decay, shrink;

    static __device__ __forceinline__ Adam of(const float *s, const float *) {
        return {s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8]};
    }

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

    static __device__ __forceinline__ Sgd of(const float *s, const float *b) {
        return {s[0], s[1], s[2], s[3], s[4], b != nullptr};
    }

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

    static __device__ __forceinline__ Scaled of(const float *s, const float *) { return {s[0], s[1], s[2], s[3], s[4]}; }

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

template <typename Rule>
__device__ __forceinline__ void step(const Step &s) {
    const int y = blockIdx.y;
    const Sum sum = sum_of(s, y);
    float *const p = s.p.at[y], *const a = s.state[0].at[y], *const b = s.state[1].at[y];
    const Rule rule = Rule::of(s.scalars + SCALARS * s.row[y], a);
    if (s.ids[y]) {
        step_rows(rule, p, a, b, sum, s.ids[y], s.n[y], s.cols[y]);
    } else {
        step_all(rule, p, a, b, sum, s.n[y]);
    }
}

extern "C" __global__ void __launch_bounds__(256) adam_step(const __grid_constant__ Step s) { step<Adam>(s); }
extern "C" __global__ void __launch_bounds__(256) sgd_step(const __grid_constant__ Step s) { step<Sgd>(s); }
extern "C" __global__ void __launch_bounds__(256) scaled_step(const __grid_constant__ Step s) { step<Scaled>(s); }
