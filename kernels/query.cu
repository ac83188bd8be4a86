// The destination's side of the attention logit, once per (dst, relation) group g = (v, q):
//
//   h_perp = pad_or_cut(x_v, m) + s_g r_p[q],  s_g = p_v . x_v
//   U_g = tanh(h_perp + r_q) | h_perp + r_q | a_t (with o_g = a_h . h_perp + a_r . r_q) | h_perp
//
// Layout    x (num_dst, n), r and r_p (relations, m), s and o (groups), u (groups, m), a (3, m) with rows a_h, a_t,
//           a_r; destination and relation (groups). `o` is zero on entry.
// Schedule  a warp per group, lanes stride over columns; any one-dimensional grid of whole warps.
// Hazards   none within a group; the sums of backward over groups are segment_sum's.
#include "common.cuh"

enum Logit { TANH = 0, DOT = 1, GAT = 2, PROJECTION = 3 };

extern "C" __global__ void __launch_bounds__(256)
    query_forward(float* __restrict__ u, float* __restrict__ o, const float* __restrict__ x, const float* __restrict__ s,
                  const float* __restrict__ r, const float* __restrict__ r_p, const float* __restrict__ a,
                  const unsigned* __restrict__ dst, const unsigned* __restrict__ relation, int groups, int n, int m,
                  int logit) {
    const int lane = threadIdx.x % WARP;
    const int k = min(n, m);
    const long long warps = warp_count();
    for (long long g = warp_index(); g < groups; g += warps) {
        const float* const x_v = x + static_cast<size_t>(dst[g]) * n;
        const float* const r_q = r + static_cast<size_t>(relation[g]) * m;
        const float* const p_q = r_p + static_cast<size_t>(relation[g]) * m;
        const float s_v = s[g];
        float sum = 0.0f;
        for (int c = lane; c < m; c += WARP) {
            float h = s_v * p_q[c];
            if (c < k) h += x_v[c];
            float y = h;
            if (logit == TANH) y = tanhf(h + r_q[c]);
            if (logit == DOT) y = h + r_q[c];
            if (logit == GAT) {
                sum += a[c] * h + a[2 * m + c] * r_q[c];
                y = a[m + c];
            }
            u[g * m + c] = y;
        }
        if (logit == GAT) {
            sum = warp_sum(sum);
            if (lane == 0) o[g] = sum;
        }
    }
}

// out = du (1 - u^2), or, where `a` is given, out_g = do_g a[row] (then `dy` holds do).
extern "C" __global__ void __launch_bounds__(256)
    query_backward(float* __restrict__ out, const float* __restrict__ dy, const float* __restrict__ u,
                   const float* __restrict__ a, int groups, int m, int row) {
    const int lane = threadIdx.x % WARP;
    const long long warps = warp_count();
    for (long long g = warp_index(); g < groups; g += warps)
        for (int c = lane; c < m; c += WARP) {
            const size_t at = static_cast<size_t>(g) * m + c;
            out[at] = a ? dy[g] * a[row * m + c] : dy[at] * (1.0f - u[at] * u[at]);
        }
}
