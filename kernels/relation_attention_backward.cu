// Backward of relation attention; relation_attention.cu has the formulas, the layout and the forward pass.
//
// Schedule  the destination's side: a warp per split of a (dst, relation) group. The source's side: a warp per split of
//           a source's edges. Rows of several splits leave partial rows with their scalars behind them, which
//           merge adds in split order. All edge-sized values are scalars.
// Order     fixed by the splits and the lanes: the same bits in every run. No atomics.
// Hazards   d goes through global memory from lane 0 to the warp where n > 128: __syncwarp between. RowSplits of
//           split rows write only their slots. Offsets are 64-bit.
#include "rows.cuh"

// sum of a . b over all lanes' columns, beginning at column 0.
template <typename S>
__device__ __forceinline__ float full_dot(const S* a, const S* b, int n, int lane) {
    float sum = 0.0f;
    for (int c = lane; c < n; c += WARP) sum += widen(a[c]) * widen(b[c]);
    return warp_sum(sum);
}

template <int V, Columns C, typename S>
__device__ __forceinline__ void group_backward(float* d_u, float* d, float* sum_s, float* sum, float* partial,
                                               const float* d_agg, const float* d_alpha, const float* alpha,
                                               const float* inner, const S* x, const S* u, const float* o,
                                               const float* s, const float* c, const float* r_p, const unsigned* src,
                                               const unsigned* group_dst, const unsigned* group_relation,
                                               const unsigned* split_row, const unsigned long long* split_begin,
                                               const unsigned long long* split_end, const unsigned* split_slot,
                                               int splits, int n, int m, int leaky, float slope,
                                               float inverse_temperature) {
    const int lane = threadIdx.x % WARP;
    if (C == DENSE) n = m = 64;
    const int k = min(n, m);
    const long long warps = warp_count();
    for (long long p = warp_index(); p < splits; p += warps) {
        const unsigned long long begin = split_begin[p], end = split_end[p];
        const unsigned g = split_row[p], slot = split_slot[p], v = group_dst[g];
        const bool sole = slot == UNSPLIT;
        const S* const u_g = u + static_cast<size_t>(g) * m;
        const float* const d_v = d_agg ? d_agg + static_cast<size_t>(v) * n : nullptr;
        const float inner_v = inner[v], c_g = c[g], o_g = o[g];
        float query[V], upstream[V] = {}, acc[V] = {};
        load<V, C>(u_g, k, 0, lane, query);
        if (d_v) load<V, C>(d_v, n, 0, lane, upstream);
        float along = 0.0f, total = 0.0f;
        for (unsigned long long e0 = begin; e0 < end; e0 += BATCH) {
            float row[BATCH][V], da[BATCH], z[BATCH];
#pragma unroll
            for (int b = 0; b < BATCH; ++b) {
                const unsigned long long e = e0 + b < end ? e0 + b : end - 1;
                const S* const x_t = x + static_cast<size_t>(src[e]) * n;
                load<V, C>(x_t, n, 0, lane, row[b]);
                da[b] = d_v ? partial_dot<V, C>(upstream, row[b], d_v, x_t, n, lane) : 0.0f;
                z[b] = leaky ? partial_dot<V, C>(row[b], query, x_t, u_g, k, lane) : 0.0f;
            }
            if (d_v) {
#pragma unroll
                for (int b = 0; b < BATCH; ++b) da[b] = warp_sum(da[b]);
            }
            if (leaky) {
#pragma unroll
                for (int b = 0; b < BATCH; ++b) z[b] = warp_sum(z[b]);
            }
#pragma unroll
            for (int b = 0; b < BATCH; ++b) {
                const unsigned long long e = e0 + b;
                if (e >= end) break;
                const float s_t = s[src[e]];
                float dz = alpha[e] * (da[b] + (d_alpha ? d_alpha[e] : 0.0f) - inner_v) * inverse_temperature;
                if (lane == 0) d[e] = dz;
                if (leaky && z[b] + s_t * c_g + o_g <= 0.0f) dz *= slope;
                along += dz * s_t;
                total += dz;
#pragma unroll
                for (int j = 0; j < V; ++j) acc[j] += dz * row[b][j];
            }
        }
        if (sole && lane == 0) {
            sum_s[g] = along;
            sum[g] = total;
        }
        if (!sole && lane == 0) {
            partial[static_cast<size_t>(slot) * (k + 2) + k] = along;
            partial[static_cast<size_t>(slot) * (k + 2) + k + 1] = total;
        }
        if (!d_u) continue;
        __syncwarp();
        const float* const r_q = r_p + static_cast<size_t>(group_relation[g]) * m;
        float* const to = sole ? d_u + static_cast<size_t>(g) * m : partial + static_cast<size_t>(slot) * (k + 2);
        for (int c0 = 0; c0 < k; c0 += V * WARP) {
            if (c0 > 0) {
#pragma unroll
                for (int j = 0; j < V; ++j) acc[j] = 0.0f;
                for (unsigned long long e = begin; e < end; ++e) {
                    const S* const x_t = x + static_cast<size_t>(src[e]) * n;
                    float dz = d[e], row[V];
                    if (leaky && full_dot(x_t, u_g, k, lane) + s[src[e]] * c_g + o_g <= 0.0f) dz *= slope;
                    load<V, C>(x_t, n, c0, lane, row);
#pragma unroll
                    for (int j = 0; j < V; ++j) acc[j] += dz * row[j];
                }
            }
#pragma unroll
            for (int j = 0; j < V; ++j) {
                const int at = column<V, C>(c0, lane, j);
                if (at < k) to[at] = sole ? to[at] + (acc[j] + along * r_q[at]) : acc[j];
            }
        }
        if (sole)
            for (int at = k + lane; at < m; at += WARP) to[at] += along * r_q[at];
    }
}

ROW_VARIANTS(relation_attention_group_bwd, (128),
             (float* __restrict__ d_u, float* __restrict__ d, float* __restrict__ sum_s, float* __restrict__ sum,
              float* __restrict__ partial, const float* __restrict__ d_agg, const float* __restrict__ d_alpha,
              const float* __restrict__ alpha, const float* __restrict__ inner, const S* __restrict__ x,
              const S* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
              const float* __restrict__ c, const float* __restrict__ r_p, const unsigned* __restrict__ src,
              const unsigned* __restrict__ group_dst, const unsigned* __restrict__ group_relation,
              const unsigned* __restrict__ split_row, const unsigned long long* __restrict__ split_begin,
              const unsigned long long* __restrict__ split_end, const unsigned* __restrict__ split_slot, int splits,
              int n, int m, int leaky, float slope, float inverse_temperature),
             group_backward<V, HELD<S>>(d_u, d, sum_s, sum, partial, d_agg, d_alpha, alpha, inner, x, u, o, s, c, r_p,
                                        src, group_dst, group_relation, split_row, split_begin, split_end,
                                        split_slot, splits, n, m, leaky, slope, inverse_temperature);)

template <int V, Columns C, typename S>
__device__ __forceinline__ void src_backward(float* d_x, float* w, float* partial, const float* d_agg,
                                             const float* alpha, const float* d, const S* x, const S* p, const S* u,
                                             const float* o, const float* s, const float* c, const unsigned* edge,
                                             const unsigned* dst, const unsigned* group, const unsigned* split_row,
                                             const unsigned long long* split_begin, const unsigned long long* split_end,
                                             const unsigned* split_slot, int splits, int n, int m, int leaky,
                                             float slope) {
    const int lane = threadIdx.x % WARP;
    if (C == DENSE) n = m = 64;
    const int k = min(n, m);
    const long long warps = warp_count();
    for (long long i = warp_index(); i < splits; i += warps) {
        const unsigned long long begin = split_begin[i], end = split_end[i];
        const unsigned t = split_row[i], slot = split_slot[i];
        const bool sole = slot == UNSPLIT;
        const S* const x_t = x + static_cast<size_t>(t) * n;
        const S* const p_t = p + static_cast<size_t>(t) * n;
        const float s_t = s[t];
        float* const to = sole ? d_x + static_cast<size_t>(t) * n : partial + static_cast<size_t>(slot) * (n + 1);
        float along = 0.0f;
        for (int c0 = 0; c0 == 0 || (d_x && c0 < n); c0 += V * WARP) {
            float acc[V] = {};
#pragma unroll(C == DENSE ? 4 : 2)
            for (unsigned long long j0 = begin; j0 < end; ++j0) {
                const unsigned e = edge[j0], g = group[e];
                const S* const u_g = u + static_cast<size_t>(g) * m;
                float dz = d[e];
                if (leaky && full_dot(x_t, u_g, k, lane) + s_t * c[g] + o[g] <= 0.0f) dz *= slope;
                if (c0 == 0) along += dz * c[g];
                if (!d_x) continue;
                float row[V];
                load<V, C>(u_g, k, c0, lane, row);
#pragma unroll
                for (int j = 0; j < V; ++j) acc[j] += dz * row[j];
                if (d_agg) {
                    const float a = alpha[e];
                    load<V, C>(d_agg + static_cast<size_t>(dst[e]) * n, n, c0, lane, row);
#pragma unroll
                    for (int j = 0; j < V; ++j) acc[j] += a * row[j];
                }
            }
            if (!d_x) break;
#pragma unroll
            for (int j = 0; j < V; ++j) {
                const int at = column<V, C>(c0, lane, j);
                if (at < n) to[at] = sole ? to[at] + (acc[j] + along * widen(p_t[at])) : acc[j];
            }
        }
        if (lane == 0) {
            if (sole)
                w[t] = along;
            else
                partial[static_cast<size_t>(slot) * (n + 1) + n] = along;
        }
    }
}

ROW_VARIANTS(relation_attention_src_bwd, (128, sizeof(S) == 2 ? 4 : 0),
             (float* __restrict__ d_x, float* __restrict__ w, float* __restrict__ partial,
              const float* __restrict__ d_agg, const float* __restrict__ alpha, const float* __restrict__ d,
              const S* __restrict__ x, const S* __restrict__ p, const S* __restrict__ u, const float* __restrict__ o,
              const float* __restrict__ s, const float* __restrict__ c, const unsigned* __restrict__ edge,
              const unsigned* __restrict__ dst, const unsigned* __restrict__ group,
              const unsigned* __restrict__ split_row, const unsigned long long* __restrict__ split_begin,
              const unsigned long long* __restrict__ split_end, const unsigned* __restrict__ split_slot, int splits,
              int n, int m, int leaky, float slope),
             src_backward<V, HELD<S>>(d_x, w, partial, d_agg, alpha, d, x, p, u, o, s, c, edge, dst, group,
                                      split_row, split_begin, split_end, split_slot, splits, n, m, leaky, slope);)

// A block per split row: out += the partial rows (k columns, then one or two scalars) + first sum * along, where
// `along` is row along_row[row] (row itself where absent) of a (.., width) matrix. Writes the sums of the scalars.
template <typename S>
__device__ __forceinline__ void merge(float* out, float* first_sum, float* second_sum, const float* partial,
                                      const S* along, const unsigned* along_row, const unsigned* split_rows,
                                      const unsigned long long* of_row, const unsigned* split_slot, int k, int width) {
    const unsigned row = split_rows[blockIdx.x];
    const unsigned long long begin = of_row[row];
    const size_t first = split_slot[begin], last = first + (of_row[row + 1] - begin);
    const size_t stride = k + (second_sum ? 2 : 1);
    const int lane = threadIdx.x % WARP;
    float sum = 0.0f, other = 0.0f;
    for (size_t i = first + lane; i < last; i += WARP) {
        sum += partial[i * stride + k];
        if (second_sum) other += partial[i * stride + k + 1];
    }
    sum = warp_sum(sum);
    other = warp_sum(other);
    if (threadIdx.x == 0) {
        first_sum[row] = sum;
        if (second_sum) second_sum[row] = other;
    }
    if (!out) return;
    const S* const direction = along + static_cast<size_t>(along_row ? along_row[row] : row) * width;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float acc = 0.0f;
#pragma unroll 4
        for (size_t i = first; c < k && i < last; ++i) acc += partial[i * stride + c];
        out[static_cast<size_t>(row) * width + c] += acc + sum * widen(direction[c]);
    }
}

STORAGE_VARIANTS(relation_attention_bwd_merge, (128),
                 (float* __restrict__ out, float* __restrict__ first_sum, float* __restrict__ second_sum,
                  const float* __restrict__ partial, const S* __restrict__ along,
                  const unsigned* __restrict__ along_row, const unsigned* __restrict__ split_rows,
                  const unsigned long long* __restrict__ of_row, const unsigned* __restrict__ split_slot, int k,
                  int width),
                 merge(out, first_sum, second_sum, partial, along, along_row, split_rows, of_row, split_slot, k, width);)
