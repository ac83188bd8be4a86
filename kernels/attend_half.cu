// Relation attention over rows x, p, u in bf16 or f16: attend.cu and attend_backward.cu for rows of half the bytes.
//
// Layout    as there; rows of 16 bits. Scalars of edges, tails and groups, outputs and gradients are float, and so are
//           all sums.
// Schedule  as there. With n = m = 64 a lane loads its two columns of a row at once, 4 bytes; other widths go by pairs
//           of columns where rows begin at multiples of 4 bytes (even widths), else by single ones.
#include "attend_passes.cuh"

extern "C" __global__ void __launch_bounds__(128)
    attend_forward_64_bf16(float* __restrict__ agg, float* __restrict__ alpha, float* __restrict__ log_sum,
                           float* __restrict__ partial, float* __restrict__ stats, const Bf16* __restrict__ x, const Bf16* __restrict__ u,
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
    attend_forward_any_bf16(float* __restrict__ agg, float* __restrict__ alpha, float* __restrict__ log_sum,
                            float* __restrict__ partial, float* __restrict__ stats, const Bf16* __restrict__ x, const Bf16* __restrict__ u,
                            const float* __restrict__ o, const float* __restrict__ s, const float* __restrict__ c,
                            const float* __restrict__ bias, const unsigned* __restrict__ tail,
                            const unsigned* __restrict__ group, const unsigned* __restrict__ bucket,
                            const unsigned* __restrict__ piece_row, const unsigned long long* __restrict__ piece_begin,
                            const unsigned long long* __restrict__ piece_end, const unsigned* __restrict__ piece_slot,
                            int pieces, int n, int m, int leaky, float slope, float inverse_temperature) {
    forward<ANY, PAIRED>(agg, alpha, log_sum, partial, stats, x, u, o, s, c, bias, tail, group, bucket, piece_row, piece_begin,
                        piece_end, piece_slot, pieces, n, m, leaky, slope, inverse_temperature);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_head_backward_64_bf16(float* __restrict__ d_u, float* __restrict__ d, float* __restrict__ sum_s,
                                 float* __restrict__ sum, float* __restrict__ partial, const float* __restrict__ d_agg,
                                 const float* __restrict__ d_alpha, const float* __restrict__ alpha,
                                 const float* __restrict__ inner, const Bf16* __restrict__ x,
                                 const Bf16* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
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
    attend_head_backward_any_bf16(float* __restrict__ d_u, float* __restrict__ d, float* __restrict__ sum_s,
                                  float* __restrict__ sum, float* __restrict__ partial, const float* __restrict__ d_agg,
                                  const float* __restrict__ d_alpha, const float* __restrict__ alpha,
                                  const float* __restrict__ inner, const Bf16* __restrict__ x,
                                  const Bf16* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
                                  const float* __restrict__ c, const float* __restrict__ r_p,
                                  const unsigned* __restrict__ tail, const unsigned* __restrict__ group_head,
                                  const unsigned* __restrict__ group_relation, const unsigned* __restrict__ piece_row,
                                  const unsigned long long* __restrict__ piece_begin,
                                  const unsigned long long* __restrict__ piece_end,
                                  const unsigned* __restrict__ piece_slot, int pieces, int n, int m, int leaky,
                                  float slope, float inverse_temperature) {
    head_backward<ANY, PAIRED>(d_u, d, sum_s, sum, partial, d_agg, d_alpha, alpha, inner, x, u, o, s, c, r_p, tail,
                              group_head, group_relation, piece_row, piece_begin, piece_end, piece_slot, pieces, n,
                              m, leaky, slope, inverse_temperature);
}

extern "C" __global__ void __launch_bounds__(128, 4)
    attend_tail_backward_64_bf16(float* __restrict__ d_x, float* __restrict__ w, float* __restrict__ partial,
                                 const float* __restrict__ d_agg, const float* __restrict__ alpha,
                                 const float* __restrict__ d, const Bf16* __restrict__ x, const Bf16* __restrict__ p,
                                 const Bf16* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
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

extern "C" __global__ void __launch_bounds__(128, 4)
    attend_tail_backward_any_bf16(float* __restrict__ d_x, float* __restrict__ w, float* __restrict__ partial,
                                  const float* __restrict__ d_agg, const float* __restrict__ alpha,
                                  const float* __restrict__ d, const Bf16* __restrict__ x, const Bf16* __restrict__ p,
                                  const Bf16* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
                                  const float* __restrict__ c, const unsigned* __restrict__ edge,
                                  const unsigned* __restrict__ head, const unsigned* __restrict__ group,
                                  const unsigned* __restrict__ piece_row,
                                  const unsigned long long* __restrict__ piece_begin,
                                  const unsigned long long* __restrict__ piece_end,
                                  const unsigned* __restrict__ piece_slot, int pieces, int n, int m, int leaky,
                                  float slope) {
    tail_backward<ANY, PAIRED>(d_x, w, partial, d_agg, alpha, d, x, p, u, o, s, c, edge, head, group, piece_row,
                              piece_begin, piece_end, piece_slot, pieces, n, m, leaky, slope);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_backward_merge_bf16(float* __restrict__ out, float* __restrict__ first_sum, float* __restrict__ second_sum,
                               const float* __restrict__ partial, const Bf16* __restrict__ along,
                               const unsigned* __restrict__ along_row, const unsigned* __restrict__ split_rows,
                               const unsigned long long* __restrict__ of_row, const unsigned* __restrict__ piece_slot, int k,
                               int width) {
    backward_merge(out, first_sum, second_sum, partial, along, along_row, split_rows, of_row, piece_slot, k, width);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_forward_64_f16(float* __restrict__ agg, float* __restrict__ alpha, float* __restrict__ log_sum,
                          float* __restrict__ partial, float* __restrict__ stats, const F16* __restrict__ x, const F16* __restrict__ u,
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
    attend_forward_any_f16(float* __restrict__ agg, float* __restrict__ alpha, float* __restrict__ log_sum,
                           float* __restrict__ partial, float* __restrict__ stats, const F16* __restrict__ x, const F16* __restrict__ u,
                           const float* __restrict__ o, const float* __restrict__ s, const float* __restrict__ c,
                           const float* __restrict__ bias, const unsigned* __restrict__ tail,
                           const unsigned* __restrict__ group, const unsigned* __restrict__ bucket,
                           const unsigned* __restrict__ piece_row, const unsigned long long* __restrict__ piece_begin,
                           const unsigned long long* __restrict__ piece_end, const unsigned* __restrict__ piece_slot,
                           int pieces, int n, int m, int leaky, float slope, float inverse_temperature) {
    forward<ANY, PAIRED>(agg, alpha, log_sum, partial, stats, x, u, o, s, c, bias, tail, group, bucket, piece_row, piece_begin,
                        piece_end, piece_slot, pieces, n, m, leaky, slope, inverse_temperature);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_head_backward_64_f16(float* __restrict__ d_u, float* __restrict__ d, float* __restrict__ sum_s,
                                float* __restrict__ sum, float* __restrict__ partial, const float* __restrict__ d_agg,
                                const float* __restrict__ d_alpha, const float* __restrict__ alpha,
                                const float* __restrict__ inner, const F16* __restrict__ x,
                                const F16* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
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
    attend_head_backward_any_f16(float* __restrict__ d_u, float* __restrict__ d, float* __restrict__ sum_s,
                                 float* __restrict__ sum, float* __restrict__ partial, const float* __restrict__ d_agg,
                                 const float* __restrict__ d_alpha, const float* __restrict__ alpha,
                                 const float* __restrict__ inner, const F16* __restrict__ x,
                                 const F16* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
                                 const float* __restrict__ c, const float* __restrict__ r_p,
                                 const unsigned* __restrict__ tail, const unsigned* __restrict__ group_head,
                                 const unsigned* __restrict__ group_relation, const unsigned* __restrict__ piece_row,
                                 const unsigned long long* __restrict__ piece_begin,
                                 const unsigned long long* __restrict__ piece_end,
                                 const unsigned* __restrict__ piece_slot, int pieces, int n, int m, int leaky,
                                 float slope, float inverse_temperature) {
    head_backward<ANY, PAIRED>(d_u, d, sum_s, sum, partial, d_agg, d_alpha, alpha, inner, x, u, o, s, c, r_p, tail,
                              group_head, group_relation, piece_row, piece_begin, piece_end, piece_slot, pieces, n,
                              m, leaky, slope, inverse_temperature);
}

extern "C" __global__ void __launch_bounds__(128, 4)
    attend_tail_backward_64_f16(float* __restrict__ d_x, float* __restrict__ w, float* __restrict__ partial,
                                const float* __restrict__ d_agg, const float* __restrict__ alpha,
                                const float* __restrict__ d, const F16* __restrict__ x, const F16* __restrict__ p,
                                const F16* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
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

extern "C" __global__ void __launch_bounds__(128, 4)
    attend_tail_backward_any_f16(float* __restrict__ d_x, float* __restrict__ w, float* __restrict__ partial,
                                 const float* __restrict__ d_agg, const float* __restrict__ alpha,
                                 const float* __restrict__ d, const F16* __restrict__ x, const F16* __restrict__ p,
                                 const F16* __restrict__ u, const float* __restrict__ o, const float* __restrict__ s,
                                 const float* __restrict__ c, const unsigned* __restrict__ edge,
                                 const unsigned* __restrict__ head, const unsigned* __restrict__ group,
                                 const unsigned* __restrict__ piece_row,
                                 const unsigned long long* __restrict__ piece_begin,
                                 const unsigned long long* __restrict__ piece_end,
                                 const unsigned* __restrict__ piece_slot, int pieces, int n, int m, int leaky,
                                 float slope) {
    tail_backward<ANY, PAIRED>(d_x, w, partial, d_agg, alpha, d, x, p, u, o, s, c, edge, head, group, piece_row,
                              piece_begin, piece_end, piece_slot, pieces, n, m, leaky, slope);
}

extern "C" __global__ void __launch_bounds__(128)
    attend_backward_merge_f16(float* __restrict__ out, float* __restrict__ first_sum, float* __restrict__ second_sum,
                              const float* __restrict__ partial, const F16* __restrict__ along,
                              const unsigned* __restrict__ along_row, const unsigned* __restrict__ split_rows,
                              const unsigned long long* __restrict__ of_row, const unsigned* __restrict__ piece_slot, int k,
                              int width) {
    backward_merge(out, first_sum, second_sum, partial, along, along_row, split_rows, of_row, piece_slot, k, width);
}
