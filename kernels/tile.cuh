// A 64 x 64 tile of a product of matrices by a block of 256 threads: in float by the ordinary units, or with operands
// rounded to tf32 or bf16 by the matrix units. Sums are float either way.
//
// Schedule: slabs of 16 along k go through shared memory. In float a thread owns four by four elements; on the matrix
//   units a warp owns 16 rows and 32 columns, four fragments of 16 x 8.
// Banks: rows of a slab are 72 floats apart, so that the 32 elements of a fragment lie in 32 banks.
// Order: each element is one sum over k in slab order, so the bits do not depend on the schedule.
// Hazards: the two barriers of the k loop separate the writes of a slab from the reads of it and of its successor.
#pragma once
#include "activation.cuh"
#include "loops.cuh"
#include "mma.cuh"

constexpr int TILE = 64, SLAB = 16;

enum Unit { F32, TF32, BF16 };

// UNIT_VARIANTS(name, (256, 2), (parameters), body) are the kernels `name`, `name_tf32` and `name_bf16`, with U standing for
// the unit in the body; `train.matmul` chooses among them, kernels/scan.rs knows the macro by name. The second launch
// bound, two blocks a multiprocessor, allows 128 registers a thread: without it ptxas aims at a higher occupancy and
// spills a few values on some architectures.
#define UNIT_VARIANT(unit, name, bounds, parameters, ...)                  \
    extern "C" __global__ void __launch_bounds__ bounds name parameters {  \
        constexpr Unit U = unit;                                           \
        __VA_ARGS__                                                        \
    }
#define UNIT_VARIANTS(name, ...)                 \
    UNIT_VARIANT(F32, name, __VA_ARGS__)         \
    UNIT_VARIANT(TF32, name##_tf32, __VA_ARGS__) \
    UNIT_VARIANT(BF16, name##_bf16, __VA_ARGS__)

// The block's tile of a matrix of `cols` columns. Tiles lie along x alone, whose limit is 2^31: that of y is 65,535,
// which is 4 million rows.
__device__ __forceinline__ void place(int cols, int &row0, int &col0) {
    int across = (cols + TILE - 1) / TILE;
    row0 = blockIdx.x / across * TILE;
    col0 = blockIdx.x % across * TILE;
}

typedef float Sums[4][4];
typedef float Slab[SLAB][TILE + 8];

// Row and column in the tile of the thread's sum[i][j].
template <Unit U>
__device__ __forceinline__ int row_of(int i, int j) {
    return U == F32 ? threadIdx.x / 16 * 4 + i : threadIdx.x / WARP % 4 * 16 + threadIdx.x % WARP / 4 + j / 2 * 8;
}

template <Unit U>
__device__ __forceinline__ int col_of(int i, int j) {
    return U == F32 ? threadIdx.x % 16 * 4 + j : threadIdx.x / WARP / 4 * 32 + i * 8 + threadIdx.x % 4 * 2 + j % 2;
}

// f(row, column, sum) for each of the thread's elements that lies inside the rows x cols matrix.
template <Unit U, class F>
__device__ __forceinline__ void for_each_sum(const Sums &sum, int row0, int col0, int rows, int cols, F f) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = row0 + row_of<U>(i, j), col = col0 + col_of<U>(i, j);
            if (row < rows && col < cols) f(row, col, sum[i][j]);
        }
    }
}

template <Unit U>
__device__ __forceinline__ void add_slab(Sums &sum, const Slab &as, const Slab &bs) {
    if (U == F32) {
        int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
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
        return;
    }
    int g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    int row = threadIdx.x / WARP % 4 * 16 + g, col = threadIdx.x / WARP / 4 * 32 + g;
    if (U == TF32) {
#pragma unroll
        for (int k = t; k < SLAB; k += 8) {
            const float a[4] = {as[k][row], as[k][row + 8], as[k + 4][row], as[k + 4][row + 8]};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float b[2] = {bs[k][col + 8 * i], bs[k + 4][col + 8 * i]};
                mma_tf32(sum[i], a, b);
            }
        }
    } else {
        int k = 2 * t;
        const unsigned a[4] = {pack_bf16(as[k][row], as[k + 1][row]), pack_bf16(as[k][row + 8], as[k + 1][row + 8]),
                               pack_bf16(as[k + 8][row], as[k + 9][row]),
                               pack_bf16(as[k + 8][row + 8], as[k + 9][row + 8])};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int c = col + 8 * i;
            const unsigned b[2] = {pack_bf16(bs[k][c], bs[k + 1][c]), pack_bf16(bs[k + 8][c], bs[k + 9][c])};
            mma_bf16(sum[i], a, b);
        }
    }
}

template <Unit U>
__device__ __forceinline__ float rounded(float x) {
    return U == TF32 ? round_tf32(x) : x;
}

// sum += the tile of A B over k_begin .. k_end. a(row, k) and b(k, column) give elements, counted from the tile, and 0
// outside the matrices; consecutive threads take consecutive k of A if A_ALONG_K, else rows, and alike for B. `see` is
// shown every slab of B.
template <Unit U, bool A_ALONG_K, bool B_ALONG_K, class A, class B, class See>
__device__ __forceinline__ void multiply(Sums &sum, int k_begin, int k_end, A a, B b, See see) {
    __shared__ Slab as, bs;
    for (int k0 = k_begin; k0 < k_end; k0 += SLAB) {
#pragma unroll
        for (int e = threadIdx.x; e < TILE * SLAB; e += 256) {
            int r = A_ALONG_K ? e / SLAB : e % TILE, kk = A_ALONG_K ? e % SLAB : e / TILE;
            as[kk][r] = k0 + kk < k_end ? rounded<U>(a(r, k0 + kk)) : 0.0f;
        }
#pragma unroll
        for (int e = threadIdx.x; e < TILE * SLAB; e += 256) {
            int c = B_ALONG_K ? e / SLAB : e % TILE, kk = B_ALONG_K ? e % SLAB : e / TILE;
            bs[kk][c] = k0 + kk < k_end ? rounded<U>(b(k0 + kk, c)) : 0.0f;
        }
        __syncthreads();
        see(bs);
        add_slab<U>(sum, as, bs);
        __syncthreads();
    }
}
