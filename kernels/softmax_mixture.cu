// Mixtures of experts by softmax gates, one for each task: w_k = softmax(logits_k) row by row, y_k = sum_e w_ke x_e.
//
// Layout: logits, w, dw (rows, experts) and y (rows, d) of each task; x_e (rows, d). Tasks come eight at a time, and
//   so do experts: `count` of them, the first one being number `first`. An expert's row is read from memory once for
//   all tasks.
// Schedule: one warp per row. The softmax loops lanes over experts; the sums over d are warp sums.
// Order: experts and tasks are added in their order, so the bits do not depend on the schedule.
#include "loops.cuh"

extern "C" __global__ void softmax_mixture_weights(const __grid_constant__ Pointers w, const __grid_constant__ Pointers logits,
                                       int rows, int experts, int tasks) {
    FOR_EACH_ROW(row, rows) {
        size_t at = (size_t)row * experts;
        for (int k = 0; k < tasks; k++) {
            const float *z = logits.at[k] + at;
            float top = -INFINITY;
            FOR_EACH_COLUMN(e, experts) top = fmaxf(top, z[e]);
            top = warp_max(top);
            float sum = 0.0f;
            FOR_EACH_COLUMN(e, experts) sum += expf(z[e] - top);
            sum = warp_sum(sum);
            FOR_EACH_COLUMN(e, experts) w.at[k][at + e] = expf(z[e] - top) / sum;
        }
    }
}

// y_k = (first > 0 ? y_k : 0) + sum over these experts of w_ke x_e
extern "C" __global__ void softmax_mixture_fwd(const __grid_constant__ Pointers y, const __grid_constant__ Pointers w,
                                   const __grid_constant__ Pointers x, int first, int count, int experts, int rows,
                                   int d, int tasks) {
    FOR_EACH_ROW(row, rows) {
        FOR_EACH_COLUMN(c, d) {
            size_t at = (size_t)row * d + c;
            float value[8];
#pragma unroll
            for (int e = 0; e < 8; e++) value[e] = e < count ? x.at[e][at] : 0.0f;
            for (int k = 0; k < tasks; k++) {
                const float *weight = w.at[k] + (size_t)row * experts + first;
                float sum = first > 0 ? y.at[k][at] : 0.0f;
#pragma unroll
                for (int e = 0; e < 8; e++)
                    if (e < count) sum = fmaf(weight[e], value[e], sum);
                y.at[k][at] = sum;
            }
        }
    }
}

// dw_ke = <dy_k, x_e>; dx_e += sum_k w_ke dy_k where it is wanted (not null).
extern "C" __global__ void softmax_mixture_bwd(const __grid_constant__ Pointers dw, const __grid_constant__ Pointers dx,
                                   const __grid_constant__ Pointers dy, const __grid_constant__ Pointers w,
                                   const __grid_constant__ Pointers x, int first, int count, int experts, int rows,
                                   int d, int tasks) {
    const int lane = threadIdx.x % WARP;
    FOR_EACH_ROW(row, rows) {
        size_t begin = (size_t)row * d, gate = (size_t)row * experts + first;
        for (int e = 0; e < count; e++) {
            float inner[8] = {};
            FOR_EACH_COLUMN(c, d) {
                float value = x.at[e][begin + c], sum = 0.0f;
#pragma unroll
                for (int k = 0; k < 8; k++) {
                    if (k >= tasks) continue;
                    float up = dy.at[k][begin + c];
                    inner[k] = fmaf(up, value, inner[k]);
                    sum = fmaf(w.at[k][gate + e], up, sum);
                }
                if (dx.at[e]) dx.at[e][begin + c] += sum;
            }
#pragma unroll
            for (int k = 0; k < 8; k++) {
                if (k >= tasks) continue;
                float total = warp_sum(inner[k]);
                if (lane == 0) dw.at[k][gate + e] = total;
            }
        }
    }
}

// dlogits_k += w_k (dw_k - <w_k, dw_k>) where it is wanted.
extern "C" __global__ void softmax_mixture_weights_bwd(const __grid_constant__ Pointers dlogits, const __grid_constant__ Pointers dw,
                                           const __grid_constant__ Pointers w, int rows, int experts, int tasks) {
    FOR_EACH_ROW(row, rows) {
        size_t at = (size_t)row * experts;
        for (int k = 0; k < tasks; k++) {
            if (!dlogits.at[k]) continue;
            float inner = 0.0f;
            FOR_EACH_COLUMN(e, experts) inner = fmaf(w.at[k][at + e], dw.at[k][at + e], inner);
            inner = warp_sum(inner);
            FOR_EACH_COLUMN(e, experts)
                dlogits.at[k][at + e] += w.at[k][at + e] * (dw.at[k][at + e] - inner);
        }
    }
}
