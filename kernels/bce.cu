// Binary cross-entropy with logits, per task (column), value and gradient in one pass:
//   loss_k = sum_b w (p_k y softplus(-z) + (1 - y) softplus(z)) / sum_b w,  w the mask (1 where absent).
// No 1 - p is ever formed: both softplus are max(+-z, 0) + log1p(e^-|z|), exact at both ends.
//
// Layout: y, mask (rows, tasks) row-major. Logits are columns of tensors with `stride` columns: pointers to the first
//   elements of the columns of tasks first .. first + 7, and alike for losses and slopes. partial (chunks, tasks, 2)
//   holds loss and weight; pos_weight (tasks) or null; inverse (tasks) = 1 / sum w.
// Schedule: block (chunk, task) sums 1024 rows; one block per task adds the chunks in a fixed order.
#include "loops.cuh"

#define CHUNK 1024

// slope = w ((1 - y) sigmoid(z) - p_k y sigmoid(-z))
extern "C" __global__ void __launch_bounds__(256)
    bce_fwd(float *partial, const __grid_constant__ Pointers slope, const __grid_constant__ Pointers z, const float *y,
            const float *mask, const float *pos_weight, int rows, int stride, int tasks, int first) {
    int own = blockIdx.y, task = first + own, begin = blockIdx.x * CHUNK, end = min(rows, begin + CHUNK);
    float p = pos_weight ? pos_weight[task] : 1.0f, loss = 0.0f, weight = 0.0f;
    for (int row = begin + threadIdx.x; row < end; row += blockDim.x) {
        size_t at = (size_t)row * tasks + task, place = (size_t)row * stride;
        float w = mask ? mask[at] : 1.0f, v = z.at[own][place], label = y[at];
        float e = expf(-fabsf(v)), tail = log1pf(e), large = 1.0f / (1.0f + e), small = e * large;
        float negative = fmaxf(v, 0.0f) + tail, positive = fmaxf(-v, 0.0f) + tail;
        float up = v >= 0.0f ? large : small, down = v >= 0.0f ? small : large;
        slope.at[own][place] = w * ((1.0f - label) * up - p * label * down);
        loss += w * (p * label * positive + (1.0f - label) * negative);
        weight += w;
    }
    loss = block_sum(loss);
    weight = block_sum(weight);
    if (threadIdx.x == 0) {
        size_t at = 2 * ((size_t)blockIdx.x * tasks + task);
        partial[at] = loss;
        partial[at + 1] = weight;
    }
}

// Nothing unmasked: loss 0, and no gradient.
extern "C" __global__ void __launch_bounds__(256)
    bce_merge(const __grid_constant__ Pointers loss, float *inverse, const float *partial, int chunks, int tasks,
              int first) {
    int task = first + blockIdx.x;
    double sum = 0.0, weight = 0.0;
    for (int c = threadIdx.x; c < chunks; c += blockDim.x) {
        sum += partial[2 * ((size_t)c * tasks + task)];
        weight += partial[2 * ((size_t)c * tasks + task) + 1];
    }
    sum = block_sum(sum);
    weight = block_sum(weight);
    if (threadIdx.x == 0) {
        double by = weight > 0.0 ? 1.0 / weight : 0.0;
        *loss.at[blockIdx.x] = (float)(sum * by);
        inverse[task] = (float)by;
    }
}

// dz_k += dloss_k slope_k / sum w, for the tasks that want a gradient (neither pointer null). n counts all of them.
extern "C" __global__ void bce_bwd(const __grid_constant__ Pointers dz, const __grid_constant__ Pointers dloss,
                                   const float *inverse, const __grid_constant__ Pointers slope, unsigned long long n,
                                   int stride, int first, int count) {
    FOR_EACH(i, n) {
        int own = i % count;
        unsigned long long at = i / count * stride;
        if (dz.at[own] && dloss.at[own]) dz.at[own][at] += *dloss.at[own] * inverse[first + own] * slope.at[own][at];
    }
}
