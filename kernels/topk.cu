// The k best courses of each learner by the match score, formula (8): scale <u, i> + bias_i, without those seen.
//
// Layout    learners (rows, dim), courses (count, dim), bias (count) or null; seen courses of row b ascending in
//           seen[offsets[b] .. offsets[b + 1]]; ids, values (rows, k), 0xffffffff and -inf past the end.
// Schedule  a block of 256 threads takes 32 learners and goes through the courses 128 at a time, as a matrix product:
//           slabs of 16 columns through shared memory, four by four scores a thread in registers. A score goes from
//           its register into the learner's list where it is better than the list's k-th at the last cut; no score is
//           written to memory. After the first tiles few are. A list that could overflow in the next tile is cut
//           first, by one warp.
// Order     each score is one sequential sum over the columns; see topk.cuh for the lists.
// Hazards   barriers between loading a slab and reading it, and between offers and cuts.
#include "topk.cuh"

#define LEARNERS 32
#define COURSES 128
#define SLAB 16

extern "C" __global__ void __launch_bounds__(256, 2)
    topk_dot(const float* __restrict__ learners, const float* __restrict__ courses, const float* __restrict__ bias,
               const unsigned long long* __restrict__ offsets, const unsigned* __restrict__ seen,
               unsigned* __restrict__ ids, float* __restrict__ values, unsigned* __restrict__ invalid, int rows,
               int count, int dim, int k, float scale) {
    DYNAMIC_SHARED(unsigned long long, keys);
    __shared__ Kept kept[LEARNERS];
    __shared__ __align__(16) float us[SLAB][LEARNERS];
    __shared__ __align__(16) float is[SLAB][COURSES + 4];
    const int tx = threadIdx.x % 32, ty = threadIdx.x / 32, warp = ty;
    for (int row0 = blockIdx.x * LEARNERS; row0 < rows; row0 += gridDim.x * LEARNERS) {
        if (threadIdx.x < LEARNERS) kept[threadIdx.x] = {0, 0, 0};
        for (int col0 = 0; col0 < count; col0 += COURSES) {
            float sum[4][4] = {};
            for (int k0 = 0; k0 < dim; k0 += SLAB) {
                for (int e = threadIdx.x; e < LEARNERS * SLAB; e += 256) {
                    const int r = e / SLAB, c = e % SLAB;
                    const bool inside = row0 + r < rows && k0 + c < dim;
                    us[c][r] = inside ? scale * learners[static_cast<size_t>(row0 + r) * dim + k0 + c] : 0.0f;
                }
                for (int e = threadIdx.x; e < COURSES * SLAB; e += 256) {
                    const int r = e / SLAB, c = e % SLAB;
                    const bool inside = col0 + r < count && k0 + c < dim;
                    is[c][r] = inside ? courses[static_cast<size_t>(col0 + r) * dim + k0 + c] : 0.0f;
                }
                __syncthreads();
#pragma unroll
                for (int c = 0; c < SLAB; ++c) {
                    const float4 u = *reinterpret_cast<const float4*>(&us[c][ty * 4]);
                    const float4 i = *reinterpret_cast<const float4*>(&is[c][tx * 4]);
                    const float x[4] = {u.x, u.y, u.z, u.w}, y[4] = {i.x, i.y, i.z, i.w};
#pragma unroll
                    for (int a = 0; a < 4; ++a)
#pragma unroll
                        for (int b = 0; b < 4; ++b) sum[a][b] = fmaf(x[a], y[b], sum[a][b]);
                }
                __syncthreads();
            }
            // A warp has all offers of its four learners, so it may cut their lists without a barrier of the block.
#pragma unroll
            for (int a = 0; a < 4; ++a) {
                const int r = ty * 4 + a, row = row0 + r;
                unsigned long long* const list = keys + r * ROOM;
                if (row < rows) {
                    const unsigned long long begin = offsets[row], end = offsets[row + 1];
#pragma unroll
                    for (int b = 0; b < 4; ++b) {
                        const int id = col0 + tx * 4 + b;
                        if (id < count) {
                            const float score = bias ? sum[a][b] + bias[id] : sum[a][b];
                            topk_offer(&kept[r], list, score, id, seen, begin, end);
                        }
                    }
                }
                __syncwarp();
                if (kept[r].count > ROOM - COURSES) topk_cut(&kept[r], list, k);
            }
        }
        for (int r = warp * 4; r < warp * 4 + 4; ++r) {
            const int row = row0 + r;
            if (row >= rows) continue;
            topk_cut(&kept[r], keys + r * ROOM, k);
            const size_t at = static_cast<size_t>(row) * k;
            topk_write(&kept[r], keys + r * ROOM, ids + at, values + at, invalid + row, k);
        }
        // The next learners reset `kept`.
        __syncthreads();
    }
}
