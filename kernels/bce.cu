// Binary cross-entropy with logits, per task (column):
//   loss_k = sum_b w (p_k y softplus(-z) + (1 - y) softplus(z)) / sum_b w,  w the mask (1 where absent).
// No 1 - p is ever formed: both softplus are max(+-z, 0) + log1p(e^-|z|), exact at both ends.
//
// Layout: z, y, mask (rows, tasks) row-major; partial (chunks, tasks, 2) holds loss and weight; pos_weight (tasks) or
//   null; inverse (tasks) = 1 / sum w for the backward pass.
// Schedule: block (chunk, task) sums 1024 rows; one block per task adds the chunks in a fixed order.
#include "common.cuh"

#define CHUNK 1024

extern "C" __global__ void __launch_bounds__(256)
    bce_fwd(float *partial, const float *z, const float *y, const float *mask, const float *pos_weight, int rows,
            int tasks) {
    int task = blockIdx.y, begin = blockIdx.x * CHUNK, end = min(rows, begin + CHUNK);
    float p = pos_weight ? pos_weight[task] : 1.0f, loss = 0.0f, weight = 0.0f;
    for (int row = begin + threadIdx.x; row < end; row += blockDim.x) {
        size_t at = (size_t)row * tasks + task;
        float w = mask ? mask[at] : 1.0f;
        float tail = log1pf(expf(-fabsf(z[at])));
        float negative = fmaxf(z[at], 0.0f) + tail, positive = fmaxf(-z[at], 0.0f) + tail;
        loss += w * (p * y[at] * positive + (1.0f - y[at]) * negative);
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
    bce_merge(float *loss, float *inverse, const float *partial, int chunks, int tasks) {
    int task = blockIdx.x;
    double sum = 0.0, weight = 0.0;
    for (int c = threadIdx.x; c < chunks; c += blockDim.x) {
        sum += partial[2 * ((size_t)c * tasks + task)];
        weight += partial[2 * ((size_t)c * tasks + task) + 1];
    }
    sum = block_sum(sum);
    weight = block_sum(weight);
    if (threadIdx.x == 0) {
        double by = weight > 0.0 ? 1.0 / weight : 0.0;
        loss[task] = (float)(sum * by);
        inverse[task] = (float)by;
    }
}

// dz += dloss_k w / (sum w) ((1 - y) sigmoid(z) - p_k y sigmoid(-z))
extern "C" __global__ void bce_bwd(float *dz, const float *dloss, const float *inverse, const float *z, const float *y,
                                   const float *mask, const float *pos_weight, unsigned long long n, int tasks) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long at = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; at < n; at += stride) {
        int task = at % tasks;
        float p = pos_weight ? pos_weight[task] : 1.0f, w = mask ? mask[at] : 1.0f;
        float e = expf(-fabsf(z[at])), large = 1.0f / (1.0f + e), small = e * large;
        float up = z[at] >= 0.0f ? large : small, down = z[at] >= 0.0f ? small : large;
        dz[at] += dloss[task] * inverse[task] * w * ((1.0f - y[at]) * up - p * y[at] * down);
    }
}
