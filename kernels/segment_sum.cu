// Weighted sums of gathered rows by segment, inner products of gathered rows, scaled rows.
//
// segment_sum     out[v] += sum over the entries i of v of weight[e] * x[column[e]],  e = entry[i]
// gathered_dots   out[i] += a[ia[i]] . b[ib[i]]
// scaled_rows     out[i] += scale[i] * x[i]
//
// Layout    rows are row-major; an absent index means e = i or row e, an absent weight 1. Of each row of x
//           (stride x_width) the first n columns are added to the first n of out (stride width). x, and a, or a and b,
//           may be rows of 16 bits.
// Schedule  a warp takes a split (at most 256 entries), lanes stride over columns, four at a time in registers.
//           A row with one split is written in place; the splits of a split row write partial rows, which
//           segment_merge (a block per split row) adds in split order. One-column sums put lanes on entries.
// Order     fixed by the splits: the same bits in every run. No atomics.
// Hazards   offsets are 64-bit; splits of a split row never touch `out`, so nothing is written twice.
#include "rows.cuh"

constexpr int TILE = 4;

template <Columns C, typename S>
__device__ __forceinline__ void sum_segments(float* out, float* partial, const S* x, const float* weight,
                                             const unsigned* entry, const unsigned* column_of,
                                             const unsigned* split_row, const unsigned long long* split_begin,
                                             const unsigned long long* split_end, const unsigned* split_slot,
                                             int splits, int n, int width, int x_width) {
    const int lane = threadIdx.x % WARP;
    const long long warps = warp_count();
    for (long long p = warp_index(); p < splits; p += warps) {
        const unsigned long long begin = split_begin[p], end = split_end[p];
        const unsigned slot = split_slot[p];
        const bool sole = slot == UNSPLIT;
        float* const to = sole ? out + static_cast<size_t>(split_row[p]) * width : partial + static_cast<size_t>(slot) * n;
        if (n == 1) {
            float sum = 0.0f;
            for (unsigned long long i = begin + lane; i < end; i += WARP) {
                const unsigned long long e = entry ? entry[i] : i;
                const unsigned long long c = column_of ? column_of[e] : e;
                sum += (weight ? weight[e] : 1.0f) * widen(x[c * x_width]);
            }
            sum = warp_sum(sum);
            if (lane == 0) *to = sole ? *to + sum : sum;
            continue;
        }
        for (int c0 = 0; c0 < n; c0 += TILE * WARP) {
            float sum[TILE] = {};
#pragma unroll 4
            for (unsigned long long i = begin; i < end; ++i) {
                const unsigned long long e = entry ? entry[i] : i;
                const unsigned long long c = column_of ? column_of[e] : e;
                const float w = weight ? weight[e] : 1.0f;
                float row[TILE];
                load<TILE, C>(x + c * x_width, n, c0, lane, row);
#pragma unroll
                for (int j = 0; j < TILE; ++j) sum[j] += w * row[j];
            }
#pragma unroll
            for (int j = 0; j < TILE; ++j) {
                const int at = column<TILE, C>(c0, lane, j);
                if (at < n) to[at] = sole ? to[at] + sum[j] : sum[j];
            }
        }
    }
}

STORAGE_VARIANTS(segment_sum, (128, 4),
                 (float* __restrict__ out, float* __restrict__ partial, const S* __restrict__ x,
                  const float* __restrict__ weight, const unsigned* __restrict__ entry,
                  const unsigned* __restrict__ column, const unsigned* __restrict__ split_row,
                  const unsigned long long* __restrict__ split_begin, const unsigned long long* __restrict__ split_end,
                  const unsigned* __restrict__ split_slot, int splits, int n, int width, int x_width),
                 sum_segments<WIDE<S>>(out, partial, x, weight, entry, column, split_row, split_begin, split_end,
                                       split_slot, splits, n, width, x_width);)

extern "C" __global__ void __launch_bounds__(128)
    segment_merge(float* __restrict__ out, const float* __restrict__ partial, const unsigned* __restrict__ split_rows,
                  const unsigned long long* __restrict__ of_row, const unsigned* __restrict__ split_slot, int n,
                  int width) {
    const unsigned row = split_rows[blockIdx.x];
    const unsigned long long first = of_row[row];
    const unsigned long long slot = split_slot[first], count = of_row[row + 1] - first;
    for (int c = threadIdx.x; c < n; c += blockDim.x) {
        float sum = 0.0f;
#pragma unroll 8
        for (unsigned long long s = slot; s < slot + count; ++s) sum += partial[s * n + c];
        out[static_cast<size_t>(row) * width + c] += sum;
    }
}

// A warp per item; a thread per item where rows have one column.
template <typename A, typename B>
__device__ __forceinline__ void add_dots(float* out, const A* a, const unsigned* ia, const B* b, const unsigned* ib,
                                         unsigned long long count, int n) {
    const unsigned long long thread = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const unsigned long long threads = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    if (n == 1) {
        for (unsigned long long i = thread; i < count; i += threads)
            out[i] += widen(a[ia ? ia[i] : i]) * widen(b[ib ? ib[i] : i]);
        return;
    }
    const int lane = threadIdx.x % WARP;
    for (unsigned long long i = thread / WARP; i < count; i += threads / WARP) {
        const A* const x = a + (ia ? ia[i] : i) * n;
        const B* const y = b + (ib ? ib[i] : i) * n;
        float sum = 0.0f;
        if (sizeof(A) == 2 && n % 2 == 0) {
            // Rows begin at pairs.
            for (int c = lane; c < n / 2; c += WARP) {
                const float2 two = load_pair(x, c), by = load_pair(y, c);
                sum += two.x * by.x + two.y * by.y;
            }
        } else {
            for (int c = lane; c < n; c += WARP) sum += widen(x[c]) * widen(y[c]);
        }
        sum = warp_sum(sum);
        if (lane == 0) out[i] += sum;
    }
}

STORAGE_VARIANTS(gathered_dots, (256),
                 (float* __restrict__ out, const S* __restrict__ a, const unsigned* __restrict__ ia,
                  const S* __restrict__ b, const unsigned* __restrict__ ib, unsigned long long count, int n),
                 add_dots(out, a, ia, b, ib, count, n);)

HALF_VARIANTS(gathered_dots_with_f32, (256),
              (float* __restrict__ out, const S* __restrict__ a, const unsigned* __restrict__ ia,
               const float* __restrict__ b, const unsigned* __restrict__ ib, unsigned long long count, int n),
              add_dots(out, a, ia, b, ib, count, n);)

template <typename S>
__device__ __forceinline__ void add_scaled_rows(float* out, const float* scale, const S* x, unsigned long long rows,
                                                int n) {
    const int lane = threadIdx.x % WARP;
    const unsigned long long warps = warp_count();
    for (unsigned long long i = warp_index(); i < rows; i += warps) {
        const float s = scale[i];
        for (int c = lane; c < n; c += WARP) out[i * n + c] += s * widen(x[i * n + c]);
    }
}

STORAGE_VARIANTS(scaled_rows, (256),
                 (float* __restrict__ out, const float* __restrict__ scale, const S* __restrict__ x,
                  unsigned long long rows, int n),
                 add_scaled_rows(out, scale, x, rows, n);)
