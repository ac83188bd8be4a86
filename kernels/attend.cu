// Relation attention over a graph (CSR by head): logit, softmax over all edges of a head, message; and backward.
//
//   pi_e  = act(x_t[..k] . U_g[..k] + s_t c_g + o_g) / temperature + bias[bucket_e],   k = min(n, m)
//   alpha = softmax of pi over a head's edges,  agg_v = sum alpha_e x_t,  log_sum_v = ln sum e^pi_e
//   d_e   = alpha_e (G_v . x_t + dalpha_e - inner_v) / temperature,  dz_e = d_e act'
//   dU_g += sum dz_e x_t[..k] + (sum dz_e s_t) r_p,  dx_t += sum (alpha_e G_v + dz_e U_g[..k]) + (sum dz_e c_g) p_t
//
// Layout    x, p (tails, n), u (groups, m), agg (heads, n), r_p (relations, m), row-major; s (tails), o and c
//           (groups), alpha and d (edges). `slope` is that of the LeakyReLU, used where `leaky` is not 0.
// Schedule  a warp per piece (at most 256 edges). With n = m = 64 a lane holds two neighbouring columns and loads
//           8 bytes at once; other widths stride over columns, 128 at a time in registers. Rows of BATCH edges are
//           in flight together, which hides the latency of the gathers. Each neighbour row is read once where
//           n <= 128. A row of several pieces leaves partial results, merged in piece order.
// Order     fixed by the pieces and the lanes: the same bits in every run. No atomics.
// Hazards   logits go through alpha in global memory from lane 0 to the warp: __syncwarp between. RowSplits of split
//           rows write only their slots. Offsets are 64-bit.
#include "attend_passes.cuh"

extern "C" __global__ void __launch_bounds__(128)
    attend_forward_64(float* __restrict__ agg, float* __restrict__ alpha, float* __restrict__ log_sum,
                      float* __restrict__ partial, float* __restrict__ stats, const float* __restrict__ x, const float* __restrict__ u,
                      const float* __restrict__ o, const float* __restrict__ s, const float* __restrict__ c,
                      const float* __restrict__ bias, const unsigned* __restrict__ tail,
                      const unsigned* __restrict__ group, const unsigned* __restrict__ bucket,
                      const unsigned* __restrict__ piece_row, const unsigned long long* __restrict__ piece_begin,
                      const unsigned long long* __restrict__ piece_end, const unsigned* __restrict__ piece_slot,
                      int pieces, int n, int m, int leaky, float slope, float inverse_temperature) {
    forward<2, DENSE>(agg, alpha, log_sum, partial, stats, x, u, o, s, c, bias, tail, group, bucket, piece_row, piece_begin,
                     piece_end, piece_slot, pieces, 64, 64, leaky, slope, inverse_temperature);
}

extern "C" __global__ void __launch_bounds__(128, 4)
    attend_forward_any(float* __restrict__ agg, float* __restrict__ alpha, float* __restrict__ log_sum,
                       float* __restrict__ partial, float* __restrict__ stats, const float* __restrict__ x, const float* __restrict__ u,
                       const float* __restrict__ o, const float* __restrict__ s, const float* __restrict__ c,
                       const float* __restrict__ bias, const unsigned* __restrict__ tail,
                       const unsigned* __restrict__ group, const unsigned* __restrict__ bucket,
                       const unsigned* __restrict__ piece_row, const unsigned long long* __restrict__ piece_begin,
                       const unsigned long long* __restrict__ piece_end, const unsigned* __restrict__ piece_slot,
                       int pieces, int n, int m, int leaky, float slope, float inverse_temperature) {
    forward<ANY, STRIDED>(agg, alpha, log_sum, partial, stats, x, u, o, s, c, bias, tail, group, bucket, piece_row, piece_begin,
                        piece_end, piece_slot, pieces, n, m, leaky, slope, inverse_temperature);
}

// A block per split row: (max, sum, vector) of its pieces into agg. Leaves (max, 1 / sum) of the row in every
// slot's stats for attend_weights; the barrier keeps them until all warps have read the pieces' own.
extern "C" __global__ void __launch_bounds__(128)
    attend_forward_merge(float* __restrict__ agg, float* __restrict__ log_sum, float* __restrict__ stats,
                         const float* __restrict__ partial,
                         const unsigned* __restrict__ split_rows, const unsigned long long* __restrict__ of_row,
                         const unsigned* __restrict__ piece_slot, int n) {
    const unsigned row = split_rows[blockIdx.x];
    const unsigned long long begin = of_row[row];
    const size_t first = piece_slot[begin], last = first + (of_row[row + 1] - begin);
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

// Logits to weights for the pieces of split rows: a warp per slot.
extern "C" __global__ void __launch_bounds__(128)
    attend_weights(float* __restrict__ alpha, const float* __restrict__ stats, const unsigned* __restrict__ split,
                   const unsigned long long* __restrict__ piece_begin, const unsigned long long* __restrict__ piece_end,
                   int slots) {
    const int lane = threadIdx.x % WARP;
    const long long warps = static_cast<long long>(gridDim.x) * (blockDim.x / WARP);
    for (long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / WARP; i < slots; i += warps) {
        const float max = stats[2 * i], by = stats[2 * i + 1];
        const unsigned p = split[i];
        for (unsigned long long e = piece_begin[p] + lane; e < piece_end[p]; e += WARP)
            alpha[e] = expf(alpha[e] - max) * by;
    }
}

// dbias: partial (chunks, buckets) = scale times the sum of d over a block's chunk of edges, bucket by bucket.
extern "C" __global__ void __launch_bounds__(256)
    attend_bucket_sums(float* __restrict__ partial, const float* __restrict__ d, const unsigned* __restrict__ bucket,
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
