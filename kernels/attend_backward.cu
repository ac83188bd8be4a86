// Backward of relation attention; attend.cu has the formulas, the layout and the forward pass.
//
// Schedule  the head's side: a warp per piece of a (head, relation) group. The tail's side: a warp per piece of a
//           tail's edges. Rows of several pieces leave partial rows with their scalars behind them, which
//           attend_backward_merge adds in piece order. All edge-sized values are scalars.
// Order     fixed by the pieces and the lanes: the same bits in every run. No atomics.
// Hazards   d goes through global memory from lane 0 to the warp where n > 128: __syncwarp between. RowSplits of
//           split rows write only their slots. Offsets are 64-bit.
#include "attend_passes.cuh"

extern "C" __global__ void __launch_bounds__(128)
    attend_head_backward_64(float* __restrict__ d_u, float* __restrict__ d, float* __restrict__ sum_s,
                            float* __restrict__ sum, float* __restrict__ partial, const float* __restrict__ d_agg,
                            const float* __restrict__ d_alpha, const float* __restrict__ alpha,
                            const float* __restrict__ inner, const float* __restrict__ x,
                            const float* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
                            const float* __restrict__ c, const float* __restrict__ r_p,
                            const unsigned* __restrict__ tail, const unsigned* __restrict__ group_head,
                            const unsigned* __restrict__ group_relation, const unsigned* __restrict__ piece_row,
                            const unsigned long long* __restrict__ piece_begin,
                            const unsigned long long* __restrict__ piece_end,
                            const unsigned* __restrict__ piece_slot, int pieces, int n, int m, int leaky,
                            float slope, float inverse_temperature) {
    head_backward<2, DENSE>(d_u, d, sum_s, sum, partial, d_agg, d_alpha, alpha, inner, x, u, o, s, c, r_p, tail,
                           group_head, group_relation, piece_row, piece_begin, piece_end, piece_slot, pieces, 64,
                           64, leaky, slope, inverse_temperature);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_head_backward_any(float* __restrict__ d_u, float* __restrict__ d, float* __restrict__ sum_s,
                             float* __restrict__ sum, float* __restrict__ partial, const float* __restrict__ d_agg,
                             const float* __restrict__ d_alpha, const float* __restrict__ alpha,
                             const float* __restrict__ inner, const float* __restrict__ x,
                             const float* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
                             const float* __restrict__ c, const float* __restrict__ r_p,
                             const unsigned* __restrict__ tail, const unsigned* __restrict__ group_head,
                             const unsigned* __restrict__ group_relation, const unsigned* __restrict__ piece_row,
                             const unsigned long long* __restrict__ piece_begin,
                             const unsigned long long* __restrict__ piece_end,
                             const unsigned* __restrict__ piece_slot, int pieces, int n, int m, int leaky,
                             float slope, float inverse_temperature) {
    head_backward<ANY, STRIDED>(d_u, d, sum_s, sum, partial, d_agg, d_alpha, alpha, inner, x, u, o, s, c, r_p, tail,
                              group_head, group_relation, piece_row, piece_begin, piece_end, piece_slot, pieces, n,
                              m, leaky, slope, inverse_temperature);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_tail_backward_64(float* __restrict__ d_x, float* __restrict__ w, float* __restrict__ partial,
                            const float* __restrict__ d_agg, const float* __restrict__ alpha,
                            const float* __restrict__ d, const float* __restrict__ x, const float* __restrict__ p,
                            const float* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
                            const float* __restrict__ c, const unsigned* __restrict__ edge,
                            const unsigned* __restrict__ head, const unsigned* __restrict__ group,
                            const unsigned* __restrict__ piece_row,
                            const unsigned long long* __restrict__ piece_begin,
                            const unsigned long long* __restrict__ piece_end,
                            const unsigned* __restrict__ piece_slot, int pieces, int n, int m, int leaky,
                            float slope) {
    tail_backward<2, DENSE>(d_x, w, partial, d_agg, alpha, d, x, p, u, o, s, c, edge, head, group, piece_row,
                           piece_begin, piece_end, piece_slot, pieces, 64, 64, leaky, slope);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_tail_backward_any(float* __restrict__ d_x, float* __restrict__ w, float* __restrict__ partial,
                             const float* __restrict__ d_agg, const float* __restrict__ alpha,
                             const float* __restrict__ d, const float* __restrict__ x, const float* __restrict__ p,
                             const float* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
                             const float* __restrict__ c, const unsigned* __restrict__ edge,
                             const unsigned* __restrict__ head, const unsigned* __restrict__ group,
                             const unsigned* __restrict__ piece_row,
                             const unsigned long long* __restrict__ piece_begin,
                             const unsigned long long* __restrict__ piece_end,
                             const unsigned* __restrict__ piece_slot, int pieces, int n, int m, int leaky,
                             float slope) {
    tail_backward<ANY, STRIDED>(d_x, w, partial, d_agg, alpha, d, x, p, u, o, s, c, edge, head, group, piece_row,
                              piece_begin, piece_end, piece_slot, pieces, n, m, leaky, slope);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_backward_merge(float* __restrict__ out, float* __restrict__ first_sum, float* __restrict__ second_sum,
                          const float* __restrict__ partial, const float* __restrict__ along,
                          const unsigned* __restrict__ along_row, const unsigned* __restrict__ split_rows,
                          const unsigned long long* __restrict__ of_row, const unsigned* __restrict__ piece_slot, int k,
                          int width) {
    backward_merge(out, first_sum, second_sum, partial, along, along_row, split_rows, of_row, piece_slot, k, width);
}
