// Logits of products and mixtures of probabilities, with s the sigmoid:
//
//   two inputs    z = logit(s(a) s(b)) = -ln(e^-a + e^-b + e^-(a+b))
//   three inputs  z = logit(s(c) s(a) + s(-c) s(b)),  c the first
//
// Layout: all of one length. Schedule: a thread per element; memory-bound. No 1 - p is formed: finite at any logits.
#include "activation.cuh"
#include "loops.cuh"

__device__ __forceinline__ float log_add_exp(float x, float y) {
    return fmaxf(x, y) + log1pf(expf(-fabsf(x - y)));
}

__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

__device__ __forceinline__ float log_sigmoid(float x) { return -softplus(-x); }

struct Ways {
    float a_yes, b_yes, yes, a_no, b_no, no;
};

// Logarithms of the two ways to yes and to no, and of their sums.
__device__ __forceinline__ Ways ways(float c, float a, float b) {
    const float with = log_sigmoid(c), without = log_sigmoid(-c);
    Ways w;
    w.a_yes = with + log_sigmoid(a);
    w.b_yes = without + log_sigmoid(b);
    w.a_no = with + log_sigmoid(-a);
    w.b_no = without + log_sigmoid(-b);
    w.yes = log_add_exp(w.a_yes, w.b_yes);
    w.no = log_add_exp(w.a_no, w.b_no);
    return w;
}

// third: null for the product.
extern "C" __global__ void funnel_fwd(float* z, const float* first, const float* second, const float* third,
                                      unsigned long long count) {
    FOR_EACH(i, count) {
        if (third) {
            const Ways w = ways(first[i], second[i], third[i]);
            z[i] = w.yes - w.no;
        } else {
            const float a = first[i], b = second[i];
            z[i] = -log_add_exp(log_add_exp(-a, -b), -(a + b));
        }
    }
}

// Gradients are added; those not wanted are null.
extern "C" __global__ void funnel_bwd(float* dfirst, float* dsecond, float* dthird, const float* dz, const float* first,
                                      const float* second, const float* third, unsigned long long count) {
    FOR_EACH(i, count) {
        const float up = dz[i];
        if (third) {
            const float c = first[i], a = second[i], b = third[i];
            const Ways w = ways(c, a, b);
            // The shares of each way in p and in 1 - p.
            const float p_a = expf(w.a_yes - w.yes), q_a = expf(w.a_no - w.no);
            const float p_b = expf(w.b_yes - w.yes), q_b = expf(w.b_no - w.no);
            if (dfirst) dfirst[i] += up * (p_a - q_a);
            if (dsecond) dsecond[i] += up * (p_a * sigmoid(-a) + q_a * sigmoid(a));
            if (dthird) dthird[i] += up * (p_b * sigmoid(-b) + q_b * sigmoid(b));
        } else {
            const float a = first[i], b = second[i];
            const float log = log_add_exp(log_add_exp(-a, -b), -(a + b));
            const float neither = expf(-(a + b) - log);
            if (dfirst) dfirst[i] += up * (expf(-a - log) + neither);
            if (dsecond) dsecond[i] += up * (expf(-b - log) + neither);
        }
    }
}
