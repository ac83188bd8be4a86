// The k best courses of each learner by the multi-task head's logit, the match score added where asked for.
//
// Formula   the first layer on [u | i | u * i] is split: W_u u + b and W_i i are inputs, made once for each learner and
//           each course; the product block and all that follows run here, pair by pair, and no pair is written.
// Layout    learners (rows, dim), courses (count, dim); of_learner (rows, hidden); of_course (hidden, count) or null;
//           product (dim, hidden) or null: W_h; weights: those of all dense steps, each (inputs, outputs) from a
//           multiple of 4, its bias behind it likewise; steps: ten ints each, see `Step`.
//           Shared: `x` (dim, tile) = u * i, where it is used, then the slab (slab_rows, tile), then the list's keys.
// Schedule  a block of 256 threads per learner; courses go through a tile at a time, tile a power of two that the
//           host chooses by the shared memory that is needed. In a dense step a thread sums eight outputs of one course,
//           which lie side by side in the weights: consecutive threads take consecutive courses, so a warp reads one
//           place of the weights, from the first-level cache.
// Order     each output is one sequential sum over the inputs; see topk.cuh for the list.
// Hazards   a barrier after each step; the first warp cuts the list between two.
#include "activation.cuh"
#include "topk.cuh"

enum Kind { DENSE = 0, MEAN = 1, GATE = 2, SOFTMAX = 3 };

// Mirrored by src/ops/rank/gpu.rs. A gate's `inputs` are the rows of its logits.
struct Step {
    int kind, from, inputs, to, outputs, parts, logits, weights, activation;
    float slope;
};

// For each output o of a dense layer and each column c of the tile: write(o, c, start(o, c) + <x(:, c), w(:, o)>), with
// w (inputs, outputs), or none (null). A thread sums eight outputs of one column.
template <class Start, class Write>
__device__ __forceinline__ void dense(const float* x, int tile, const float* __restrict__ w, int inputs, int outputs,
                                      Start start, Write write) {
    for (int e = threadIdx.x; e < (outputs + 7) / 8 * tile; e += blockDim.x) {
        const int c = e % tile, first = e / tile * 8;
        float sum[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[j] = first + j < outputs ? start(first + j, c) : 0.0f;
        if (w && outputs % 4 == 0 && first + 8 <= outputs) {
            for (int i = 0; i < inputs; ++i) {
                const float v = x[i * tile + c];
                const float4 a = *reinterpret_cast<const float4*>(w + static_cast<size_t>(i) * outputs + first);
                const float4 b = *reinterpret_cast<const float4*>(w + static_cast<size_t>(i) * outputs + first + 4);
                const float y[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[j] = fmaf(v, y[j], sum[j]);
            }
        } else if (w) {
            for (int i = 0; i < inputs; ++i) {
                const float v = x[i * tile + c];
#pragma unroll
                for (int j = 0; j < 8; ++j)
                    if (first + j < outputs) sum[j] = fmaf(v, w[static_cast<size_t>(i) * outputs + first + j], sum[j]);
            }
        }
#pragma unroll
        for (int j = 0; j < 8; ++j)
            if (first + j < outputs) write(first + j, c, sum[j]);
    }
}

__device__ void run_step(const Step& s, const float* __restrict__ weights, float* slab, int tile) {
    if (s.kind == DENSE) {
        const float* const w = weights + s.weights;
        const float* const bias = w + (s.inputs * s.outputs + 3) / 4 * 4;
        dense(slab + s.from * tile, tile, w, s.inputs, s.outputs, [&](int o, int) { return bias[o]; },
              [&](int o, int c, float z) { slab[(s.to + o) * tile + c] = activate(z, s.activation, s.slope); });
        return;
    }
    for (int e = threadIdx.x; e < s.outputs * tile; e += blockDim.x) {
        const int c = e % tile, row = e / tile;
        const auto at = [&](int r) { return slab[r * tile + c]; };
        float y = 0.0f;
        if (s.kind == MEAN) {
            for (int part = 0; part < s.parts; ++part) y += at(s.from + part * s.outputs + row);
            y /= s.parts;
        } else if (s.kind == SOFTMAX) {
            float top = -INFINITY, sum = 0.0f;
            for (int part = 0; part < s.parts; ++part) top = fmaxf(top, at(s.logits + part));
            for (int part = 0; part < s.parts; ++part) {
                const float weight = expf(at(s.logits + part) - top);
                sum += weight;
                y += weight * at(s.from + part * s.outputs + row);
            }
            y /= sum;
        } else {
            const float first = at(s.from + row), second = at(s.from + s.outputs + row);
            const float g = sigmoid(at(s.logits + (s.inputs == 1 ? 0 : row)));
            y = g * first + (1.0f - g) * second;
        }
        slab[(s.to + row) * tile + c] = y;
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
    topk_head(const float* __restrict__ learners, const float* __restrict__ courses,
              const float* __restrict__ of_learner, const float* __restrict__ of_course,
              const float* __restrict__ product, const float* __restrict__ weights, const Step* __restrict__ steps,
              const float* __restrict__ bias, const unsigned long long* __restrict__ offsets,
              const unsigned* __restrict__ seen, unsigned* __restrict__ ids, float* __restrict__ values,
              unsigned* __restrict__ invalid, int rows, int count, int dim, int hidden, int step_count, int slab_rows,
              int tile, int active, int activation, float slope, int match, float scale, int k) {
    DYNAMIC_SHARED(float, shared);
    __shared__ Kept kept;
    const bool pairs = product || match;
    unsigned long long* const keys = reinterpret_cast<unsigned long long*>(shared);
    float* const x = shared + 2 * ROOM;
    float* const slab = x + (pairs ? dim * tile : 0);
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const float* const u = learners + static_cast<size_t>(row) * dim;
        const float* const start = of_learner + static_cast<size_t>(row) * hidden;
        if (threadIdx.x == 0) kept = {0, 0, 0};
        for (int col0 = 0; col0 < count; col0 += tile) {
            if (pairs) {
                for (int e = threadIdx.x; e < dim * tile; e += blockDim.x) {
                    const int i = e % dim, c = e / dim;
                    const bool inside = col0 + c < count;
                    x[i * tile + c] = inside ? u[i] * courses[static_cast<size_t>(col0 + c) * dim + i] : 0.0f;
                }
            }
            __syncthreads();
            dense(x, tile, product, dim, hidden,
                  [&](int h, int c) {
                      const bool inside = of_course && col0 + c < count;
                      return inside ? start[h] + of_course[static_cast<size_t>(h) * count + col0 + c] : start[h];
                  },
                  [&](int h, int c, float z) { slab[h * tile + c] = h < active ? activate(z, activation, slope) : z; });
            __syncthreads();
            for (int s = 0; s < step_count; ++s) {
                run_step(steps[s], weights, slab, tile);
                __syncthreads();
            }
            for (int c = threadIdx.x; c < tile; c += blockDim.x) {
                const int id = col0 + c;
                if (id >= count) continue;
                float score = slab[(slab_rows - 1) * tile + c];
                if (match) {
                    float dot = 0.0f;
                    for (int i = 0; i < dim; ++i) dot += x[i * tile + c];
                    score += scale * dot + (bias ? bias[id] : 0.0f);
                }
                topk_offer(&kept, keys, score, id, seen, offsets[row], offsets[row + 1]);
            }
            __syncthreads();
            if (threadIdx.x < WARP && (kept.count > ROOM - tile || col0 + tile >= count)) topk_cut(&kept, keys, k);
        }
        if (threadIdx.x < WARP) {
            const size_t at = static_cast<size_t>(row) * k;
            topk_write(&kept, keys, ids + at, values + at, invalid + row, k);
        }
        // The next learner resets `kept`.
        __syncthreads();
    }
}
