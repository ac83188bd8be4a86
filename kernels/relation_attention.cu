// Relation attention over a graph (CSR by destination): logit, softmax over all edges of a destination, message; and
// backward.
//
//   pi_e  = act(x_t[..k] . U_g[..k] + s_t c_g + o_g) / temperature + bias[bucket_e],   k = min(n, m)
//   alpha = softmax of pi over a destination's edges,  agg_v = sum alpha_e x_t,  log_sum_v = ln sum e^pi_e
//   d_e   = alpha_e (G_v . x_t + dalpha_e - inner_v) / temperature,  dz_e = d_e act'
//   dU_g += sum dz_e x_t[..k] + (sum dz_e s_t) r_p,  dx_t += sum (alpha_e G_v + dz_e U_g[..k]) + (sum dz_e c_g) p_t
//
// Layout    x, p (num_src, n), u (groups, m), agg (num_dst, n), r_p (relations, m), row-major; s (num_src), o and c
//           (groups), alpha and d (edges). `slope` is that of the LeakyReLU, used where `leaky` is not 0.
// Schedule  a warp per split (at most 256 edges). With n = m = 64 a lane holds two neighbouring columns and loads
//           8 bytes at once; other widths stride over columns, 128 at a time in registers. Rows of BATCH edges are
//           in flight together, which hides the latency of the gathers. Each neighbour row is read once where
//           n <= 128. A row of several splits leaves partial results, merged in split order.
// Order     fixed by the splits and the lanes: the same bits in every run. No atomics.
// Hazards   logits go through alpha in global memory from lane 0 to the warp: __syncwarp between. RowSplits of split
//           rows write only their slots. Offsets are 64-bit.
#include "rows.cuh"

__device__ __forceinline__ float shift_of(float max) { return max == -INFINITY ? 0.0f : max; }
__device__ __forceinline__ float inverse_of(float sum) { return sum == 0.0f ? 0.0f : 1.0f / sum; }

template <int V, Columns C, typename S>
__device__ __forceinline__ void forward(float* agg, float* alpha, float* log_sum, float* partial, float* stats,
                                        const S* x, const S* u, const float* o, const float* s, const float* c,
                                        const float* bias, const unsigned* src, const unsigned* group,
                                        const unsigned* bucket, const unsigned* split_row,
                                        const unsigned long long* split_begin, const unsigned long long* split_end,
                                        const unsigned* split_slot, int splits, int n, int m, int leaky, float slope,
                                        float inverse_temperature) {
    const int lane = threadIdx.x % WARP;
    if (C == DENSE) n = m = 64;
    const int k = min(n, m);
    const long long warps = warp_count();
    for (long long p = warp_index(); p < splits; p += warps) {
        const unsigned long long begin = split_begin[p], end = split_end[p];
        const unsigned slot = split_slot[p];
        const bool sole = slot == UNSPLIT;
        float* const to = sole ? agg + static_cast<size_t>(split_row[p]) * n : partial + static_cast<size_t>(slot) * n;
        float max = -INFINITY, sum = 0.0f;
        float acc[V] = {};
        for (unsigned long long e0 = begin; e0 < end; e0 += BATCH) {
            float row[BATCH][V], pi[BATCH];
#pragma unroll
            for (int b = 0; b < BATCH; ++b) {
                const unsigned long long e = e0 + b < end ? e0 + b : end - 1;
                const S* const x_t = x + static_cast<size_t>(src[e]) * n;
                const S* const u_g = u + static_cast<size_t>(group[e]) * m;
                float query[V];
                load<V, C>(x_t, n, 0, lane, row[b]);
                load<V, C>(u_g, k, 0, lane, query);
                pi[b] = partial_dot<V, C>(row[b], query, x_t, u_g, k, lane);
            }
#pragma unroll
            for (int b = 0; b < BATCH; ++b) pi[b] = warp_sum(pi[b]);
            float top = max;
#pragma unroll
            for (int b = 0; b < BATCH; ++b) {
                const unsigned long long e = e0 + b;
                if (e < end) {
                    const unsigned g = group[e];
                    float z = pi[b] + s[src[e]] * c[g] + o[g];
                    if (leaky && z <= 0.0f) z *= slope;
                    pi[b] = z * inverse_temperature + bias[bucket[e]];
                    if (lane == 0) alpha[e] = pi[b];
                } else {
                    pi[b] = -INFINITY;
                }
                top = fmaxf(top, pi[b]);
            }
            if (top > max) {
                const float by = expf(max - top);
                sum *= by;
#pragma unroll
                for (int j = 0; j < V; ++j) acc[j] *= by;
                max = top;
            }
#pragma unroll
            for (int b = 0; b < BATCH; ++b) {
                const float w = expf(pi[b] - shift_of(max));
                sum += w;
#pragma unroll
                for (int j = 0; j < V; ++j) acc[j] += w * row[b][j];
            }
        }
        __syncwarp();
        const float by = sole ? inverse_of(sum) : 1.0f;
#pragma unroll
        for (int j = 0; j < V; ++j) {
            const int at = column<V, C>(0, lane, j);
            if (at < n) to[at] = acc[j] * by;
        }
        for (int c0 = V * WARP; C != DENSE && c0 < n; c0 += V * WARP) {
            float more[V] = {};
            for (unsigned long long e = begin; e < end; ++e) {
                const float w = expf(alpha[e] - shift_of(max));
                float row[V];
                load<V, C>(x + static_cast<size_t>(src[e]) * n, n, c0, lane, row);
#pragma unroll
                for (int j = 0; j < V; ++j) more[j] += w * row[j];
            }
#pragma unroll
            for (int j = 0; j < V; ++j) {
                const int at = column<V, C>(c0, lane, j);
                if (at < n) to[at] = more[j] * by;
            }
        }
        __syncwarp();
        if (sole) {
            if (lane == 0) log_sum[split_row[p]] = sum > 0.0f ? max + logf(sum) : 0.0f;
            for (unsigned long long e = begin + lane; e < end; e += WARP) alpha[e] = expf(alpha[e] - shift_of(max)) * by;
        } else if (lane == 0) {
            stats[2 * static_cast<size_t>(slot)] = max;
            stats[2 * static_cast<size_t>(slot) + 1] = sum;
        }
    }
}

ROW_VARIANTS(relation_attention_fwd, (128, V == 2 ? 0 : 4),
             (float* __restrict__ agg, float* __restrict__ alpha, float* __restrict__ log_sum,
              float* __restrict__ partial, float* __restrict__ stats, const S* __restrict__ x,
              const S* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
              const float* __restrict__ c, const float* __restrict__ bias, const unsigned* __restrict__ src,
              const unsigned* __restrict__ group, const unsigned* __restrict__ bucket,
              const unsigned* __restrict__ split_row, const unsigned long long* __restrict__ split_begin,
              const unsigned long long* __restrict__ split_end, const unsigned* __restrict__ split_slot, int splits,
              int n, int m, int leaky, float slope, float inverse_temperature),
             forward<V, HELD<S>>(agg, alpha, log_sum, partial, stats, x, u, o, s, c, bias, src, group, bucket,
                                 split_row, split_begin, split_end, split_slot, splits, n, m, leaky, slope,
                                 inverse_temperature);)

// A block per split row: (max, sum, vector) of its splits into agg. Leaves (max, 1 / sum) of the row in every
// slot's stats for relation_attention_weights; the barrier keeps them until all warps have read the splits' own.
extern "C" __global__ void __launch_bounds__(128)
    relation_attention_fwd_merge(float* __restrict__ agg, float* __restrict__ log_sum, float* __restrict__ stats,
                         const float* __restrict__ partial,
                         const unsigned* __restrict__ split_rows, const unsigned long long* __restrict__ of_row,
                         const unsigned* __restrict__ split_slot, int n) {
    const unsigned row = split_rows[blockIdx.x];
    const unsigned long long begin = of_row[row];
    const size_t first = split_slot[begin], last = first + (of_row[row + 1] - begin);
    const int lane = threadIdx.x % WARP;
    float max = -INFINITY, sum = 0.0f;
    for (size_t i = first + lane; i < last; i += WARP) max = fmaxf(max, stats[2 * i]);
    max = shift_of(warp_max(max));
    for (size_t i = first + lane; i < last; i += WARP) sum += stats[2 * i + 1] * expf(stats[2 * i] - max);
    sum = warp_sum(sum);
    const float by = inverse_of(sum);
    if (threadIdx.x == 0) log_sum[row] = sum > 0.0f ? max + logf(sum) : 0.0f;
    for (int col = threadIdx.x; col < n; col += blockDim.x) {
        float acc = 0.0f;
#pragma unroll 4
        for (size_t i = first; i < last; ++i) acc += partial[i * n + col] * expf(stats[2 * i] - max);
        agg[static_cast<size_t>(row) * n + col] = acc * by;
    }
    __syncthreads();
    for (size_t i = first + threadIdx.x; i < last; i += blockDim.x) {
        stats[2 * i] = max;
        stats[2 * i + 1] = by;
    }
}

// Logits to weights for the splits of split rows: a warp per slot.
extern "C" __global__ void __launch_bounds__(128)
    relation_attention_weights(float* __restrict__ alpha, const float* __restrict__ stats, const unsigned* __restrict__ split,
                   const unsigned long long* __restrict__ split_begin, const unsigned long long* __restrict__ split_end,
                   int slots) {
    const int lane = threadIdx.x % WARP;
    const long long warps = static_cast<long long>(gridDim.x) * (blockDim.x / WARP);
    for (long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / WARP; i < slots; i += warps) {
        const float max = stats[2 * i], by = stats[2 * i + 1];
        const unsigned p = split[i];
        for (unsigned long long e = split_begin[p] + lane; e < split_end[p]; e += WARP)
            alpha[e] = expf(alpha[e] - max) * by;
    }
}

// dbias: partial (chunks, buckets) = scale times the sum of d over a block's chunk of edges, bucket by bucket.
extern "C" __global__ void __launch_bounds__(256)
    relation_attention_bucket_sums(float* __restrict__ partial, const float* __restrict__ d, const unsigned* __restrict__ bucket,
                       unsigned long long edges, int buckets, int chunk, float scale) {
    const unsigned long long begin = static_cast<unsigned long long>(blockIdx.x) * chunk;
    const unsigned long long end = begin + chunk < edges ? begin + chunk : edges;
    for (int b = 0; b < buckets; ++b) {
        float sum = 0.0f;
        for (unsigned long long e = begin + threadIdx.x; e < end; e += blockDim.x)
            if (bucket[e] == b) sum += d[e];
        sum = block_sum(sum);
        if (threadIdx.x == 0) partial[static_cast<size_t>(blockIdx.x) * buckets + b] = sum * scale;
    }
}
