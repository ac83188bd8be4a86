// C = beta C + op(A) op(B), then optionally bias and activation.
//
// Layout: everything row-major and dense; op transposes A, B or neither (nn, nt, tn).
// Schedule: a block of 256 threads owns a 64 x 64 tile of C, four by four elements a thread in registers. Slabs
//   of 16 along k go through shared memory, read once from global by consecutive threads along the operand's
//   contiguous direction. blockIdx.z cuts k into `splits` ranges for the products whose C is small and whose k is
//   a whole batch (gradients of weights): each writes its own partial tile and `gemm_merge` adds them in order.
// Order: each element is one sequential sum over k per split, so the bits do not depend on the schedule.
// Registers: the second launch bound, two blocks a multiprocessor, allows 128 registers a thread. Without it ptxas
//   aims at a higher occupancy and spills a few values on some architectures (seen in four of the files here).
// Hazards: the two barriers of the k loop separate the writes of a slab from the reads of it and of its successor.
#include "common.cuh"

#define TILE 64
#define SLAB 16

enum Activation { IDENTITY = 0, RELU = 1, LEAKY_RELU = 2, ELU = 3 };

__device__ __forceinline__ float activate(float z, int activation, float slope) {
    if (activation == RELU) return fmaxf(z, 0.0f);
    if (activation == LEAKY_RELU) return z > 0.0f ? z : slope * z;
    if (activation == ELU) return z > 0.0f ? z : expm1f(z);
    return z;
}

template <bool TA, bool TB>
__device__ void gemm(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n,
                     int splits, float beta, int activation, float slope) {
    __shared__ float as[SLAB][TILE + 4];
    __shared__ float bs[SLAB][TILE + 4];
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    // Along x alone, whose limit is 2^31: that of y is 65535, which is 4 million rows.
    int across = (n + TILE - 1) / TILE;
    int row0 = blockIdx.x / across * TILE, col0 = blockIdx.x % across * TILE;
    int slabs = (k + SLAB - 1) / SLAB;
    int per_split = (slabs + splits - 1) / splits * SLAB;
    int k_begin = blockIdx.z * per_split, k_end = min(k, k_begin + per_split);
    float sum[4][4] = {};
    for (int k0 = k_begin; k0 < k_end; k0 += SLAB) {
        for (int e = threadIdx.x; e < TILE * SLAB; e += 256) {
            int r = TA ? e % TILE : e / SLAB, kk = TA ? e / TILE : e % SLAB;
            bool inside = row0 + r < m && k0 + kk < k_end;
            size_t at = TA ? (size_t)(k0 + kk) * m + row0 + r : (size_t)(row0 + r) * k + k0 + kk;
            as[kk][r] = inside ? a[at] : 0.0f;
        }
        for (int e = threadIdx.x; e < TILE * SLAB; e += 256) {
            int col = TB ? e / SLAB : e % TILE, kk = TB ? e % SLAB : e / TILE;
            bool inside = col0 + col < n && k0 + kk < k_end;
            size_t at = TB ? (size_t)(col0 + col) * k + k0 + kk : (size_t)(k0 + kk) * n + col0 + col;
            bs[kk][col] = inside ? b[at] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int kk = 0; kk < SLAB; kk++) {
            float x[4], y[4];
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = as[kk][ty * 4 + i];
#pragma unroll
            for (int j = 0; j < 4; j++) y[j] = bs[kk][tx * 4 + j];
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
        }
        __syncthreads();
    }
    float *out = splits > 1 ? partial + (size_t)blockIdx.z * m * n : c;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int row = row0 + ty * 4 + i;
        if (row >= m) continue;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int col = col0 + tx * 4 + j;
            if (col >= n) continue;
            size_t at = (size_t)row * n + col;
            float v = sum[i][j];
            if (splits == 1) {
                if (beta != 0.0f) v += beta * c[at];
                if (bias) v += bias[col];
                v = activate(v, activation, slope);
            }
            out[at] = v;
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_nn(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n, int splits,
            float beta, int activation, float slope) {
    gemm<false, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_nt(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n, int splits,
            float beta, int activation, float slope) {
    gemm<false, true>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_tn(const float *a, const float *b, float *c, const float *bias, float *partial, int m, int k, int n, int splits,
            float beta, int activation, float slope) {
    gemm<true, false>(a, b, c, bias, partial, m, k, n, splits, beta, activation, slope);
}

// c = beta c + the sum of the splits' partial tiles, in split order.
extern "C" __global__ void gemm_merge(float *c, const float *partial, unsigned long long n, int splits, float beta) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        float sum = 0.0f;
        for (int s = 0; s < splits; s++) sum += partial[s * n + i];
        c[i] = beta != 0.0f ? beta * c[i] + sum : sum;
    }
}

// dz = dy * act'(z), with act'(z) read off the output y: all the activations here keep the sign of z.
extern "C" __global__ void act_bwd(float *dz, const float *dy, const float *y, unsigned long long n, int activation,
                                   float slope) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        float v = y[i], d = 1.0f;
        if (activation == RELU) d = v > 0.0f ? 1.0f : 0.0f;
        if (activation == LEAKY_RELU) d = v > 0.0f ? 1.0f : slope;
        if (activation == ELU) d = v > 0.0f ? 1.0f : v + 1.0f;
        dz[i] = dy[i] * d;
    }
}

// Sums of columns over chunks of rows: partial (chunks, cols). Threads of a block read consecutive columns.
extern "C" __global__ void column_sums(float *partial, const float *x, int rows, int cols, int chunk) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    int begin = blockIdx.y * chunk, end = min(rows, begin + chunk);
    float sum = 0.0f;
    for (int r = begin; r < end; r++) sum += x[(size_t)r * cols + col];
    partial[(size_t)blockIdx.y * cols + col] = sum;
}

// out += the chunks' sums, in chunk order.
extern "C" __global__ void column_sums_merge(float *out, const float *partial, int chunks, int cols) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    float sum = 0.0f;
    for (int c = 0; c < chunks; c++) sum += partial[(size_t)c * cols + col];
    out[col] += sum;
}
