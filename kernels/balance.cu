// What gradient weighting needs to know of the shared tensors: |G_i|^2 of every loss i, and <G_0, G_i>, of all tensors
// in one launch; and the weights that follow.
//
// Layout    tensor t has n[t] floats; grads (T, L) addresses of its gradients (0 where a loss does not reach it).
//           pieces (P): tensor << 40 | number of the piece within the tensor, PIECE floats each; first (T + 1): the
//           pieces of tensor t are first[t] .. first[t + 1]. A group of losses is the target and three others.
//           partial (groups, P, 8) and out (T, groups, 8) are double: squares of the four, then their products with
//           the target.
// Schedule  memory-bound, one pass over all gradients: a block per piece and group, 16-byte loads. A thread sums runs
//           of sixteen elements in float and adds each run to a double, so that large tensors lose no digits.
// Order     pieces are cut by sizes alone, and merged in order: no atomics, the same bits every time.
#include "common.cuh"

constexpr int PIECE = 16384;

__device__ __forceinline__ void add_products(float4 target, float4 x, float &square, float &inner) {
    square = fmaf(x.x, x.x, fmaf(x.y, x.y, fmaf(x.z, x.z, fmaf(x.w, x.w, square))));
    inner = fmaf(target.x, x.x, fmaf(target.y, x.y, fmaf(target.z, x.z, fmaf(target.w, x.w, inner))));
}

extern "C" __global__ void __launch_bounds__(256)
    balance_moments(double *partial, const unsigned long long *grads, const unsigned long long *n,
                    const unsigned long long *pieces, int losses) {
    const unsigned long long tensor = pieces[blockIdx.x] >> 40, piece = pieces[blockIdx.x] & ((1ull << 40) - 1);
    const unsigned long long begin = piece * PIECE, end = n[tensor] < begin + PIECE ? n[tensor] : begin + PIECE;
    const float *g[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int loss = i == 0 ? 0 : 3 * blockIdx.y + i;
        g[i] = loss < losses ? reinterpret_cast<const float *>(grads[tensor * losses + loss]) : nullptr;
    }
    double total[8] = {};
    for (unsigned long long run = begin + 4 * threadIdx.x; run < end; run += 16 * blockDim.x) {
        float sum[8] = {};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const unsigned long long at = run + 4 * k * blockDim.x;
            if (at >= end) break;
            const float4 target = g[0] ? load4(g[0], at, end) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (g[i]) add_products(target, i == 0 ? target : load4(g[i], at, end), sum[i], sum[4 + i]);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) total[i] += sum[i];
    }
    double *const to = partial + 8 * (static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const double sum = block_sum(total[i]);
        if (threadIdx.x == 0) to[i] = sum;
    }
}

// A block per tensor and group of losses, a warp per moment.
extern "C" __global__ void __launch_bounds__(256)
    balance_merge(double *out, const double *partial, const unsigned long long *first, int pieces) {
    const int moment = threadIdx.x / WARP, tensor = blockIdx.x, group = blockIdx.y;
    double sum = 0.0;
    for (unsigned long long p = first[tensor] + threadIdx.x % WARP; p < first[tensor + 1]; p += WARP)
        sum += partial[8 * (static_cast<size_t>(group) * pieces + p) + moment];
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) out[8 * (static_cast<size_t>(tensor) * gridDim.y + group) + moment] = sum;
}

// What a run asks of the weighting; `Rules` of src/engine/balance/device.rs mirrors it.
struct Rules {
    double relax, beta, eps;
    int balance;         // MetaBalance applies
    int strategy;        // 0: only longer gradients are scaled, 1: only shorter, 2: all
    int balance_global;  // by the lengths of all tensors together
    int cosine;          // cosine weighting applies
    int unweighted;      // by the cosine's sign
    int cosine_global;
    int tensors;
    int losses;
};

// Shorter gradients have no direction; an m_i below this share of m_0 is left as it is.
constexpr double NO_DIRECTION = 1e-12, GUARD = 1e-12;

__device__ __forceinline__ double balance_factor(const Rules &r, double target, double m) {
    const bool applies = r.strategy == 2 || (r.strategy == 0 ? m > target : m < target);
    if (!applies || m <= GUARD * target) return 1.0;
    return r.relax * target / (m + r.eps) + (1.0 - r.relax);
}

__device__ __forceinline__ double similarity(const Rules &r, double target_square, double square, double inner) {
    const double a = sqrt(target_square), b = sqrt(square);
    double cosine = 0.0;
    if (!(a < NO_DIRECTION || b < NO_DIRECTION)) cosine = fmin(fmax(inner / a / b, -1.0), 1.0);
    if (r.unweighted) return cosine >= 0.0 ? 1.0 : 0.0;
    return fmax(cosine, 0.0);
}

// The factor of every loss on every tensor, from the moments that balance_merge left, and the moving averages of lengths
// moved on (17b), (17c).
//
// Layout    moments (T, groups, 8) as above; grads (T, L) addresses; moving (places, L) with places 1 or T; weights (T, L)
//           float, exact (T, L) the same in double for the log. Dynamic shared memory: L sums of squares, L of products,
//           L flags, each 8 bytes.
// Schedule  one block: a thread per loss adds up the tensors, then a thread per tensor.
extern "C" __global__ void __launch_bounds__(256)
    balance_weights(float *weights, double *exact, double *moving, const double *moments,
                    const unsigned long long *grads, Rules r) {
    DYNAMIC_SHARED(double, total);
    double *const inner = total + r.losses, *const there = inner + r.losses;
    const int groups = r.losses > 1 ? (r.losses + 1) / 3 : 1;
    // Loss 0 is slot 0 of a tensor's first group, loss i > 0 slot 1 + (i - 1) % 3 of group (i - 1) / 3.
    const auto at = [&](int t, int i) {
        return 8 * (static_cast<size_t>(t) * groups + (i ? (i - 1) / 3 : 0)) + (i ? 1 + (i - 1) % 3 : 0);
    };
    for (int i = threadIdx.x; i < r.losses; i += blockDim.x) {
        double square = 0.0, product = 0.0, anywhere = 0.0;
        for (int t = 0; t < r.tensors; ++t) {
            square += moments[at(t, i)];
            product += moments[at(t, i) + 4];
            if (grads[static_cast<size_t>(t) * r.losses + i]) anywhere = 1.0;
        }
        total[i] = square;
        inner[i] = product;
        there[i] = anywhere;
    }
    __syncthreads();
    if (r.balance && r.balance_global && threadIdx.x == 0) {
        for (int i = 0; i < r.losses; ++i) {
            const double norm = sqrt(total[i]);
            if (there[i] != 0.0 && isfinite(norm)) moving[i] = r.beta * moving[i] + (1.0 - r.beta) * norm;
        }
    }
    __syncthreads();
    for (int t = threadIdx.x; t < r.tensors; t += blockDim.x) {
        const unsigned long long *const own = grads + static_cast<size_t>(t) * r.losses;
        double *const m = moving + (r.balance_global ? 0 : static_cast<size_t>(t) * r.losses);
        const bool target = own[0] != 0, balance_target = r.balance_global ? there[0] != 0.0 : target;
        const bool cosine_target = r.cosine_global ? there[0] != 0.0 : target;
        for (int i = 0; i < r.losses; ++i) {
            double w = 1.0;
            if (r.balance) {
                if (!r.balance_global && own[i]) {
                    const double norm = sqrt(moments[at(t, i)]);
                    if (isfinite(norm)) m[i] = r.beta * m[i] + (1.0 - r.beta) * norm;
                }
                const bool reached = r.balance_global ? there[i] != 0.0 : own[i] != 0;
                if (i > 0 && balance_target && reached) w = balance_factor(r, m[0], m[i]);
            }
            if (r.cosine && i > 0 && cosine_target) {
                w *= r.cosine_global ? similarity(r, total[0], total[i], inner[i])
                                     : similarity(r, moments[at(t, 0)], moments[at(t, i)], moments[at(t, i) + 4]);
            }
            exact[static_cast<size_t>(t) * r.losses + i] = w;
            weights[static_cast<size_t>(t) * r.losses + i] = static_cast<float>(w);
        }
    }
}
