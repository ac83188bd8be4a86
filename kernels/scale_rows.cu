// y_v = a_v exp(power l_v): takes back part of a softmax's normalization, l being the logarithm of its denominator.
//
// Layout: a, y (rows, cols) row-major, l (rows). Schedule: one warp a row, lanes along the columns; memory-bound.
#include "common.cuh"

extern "C" __global__ void scale_rows_fwd(const float *a, const float *l, float *y, int rows, int cols, float power) {
    int warps = gridDim.x * (blockDim.x / WARP), lane = threadIdx.x % WARP;
    for (int v = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; v < rows; v += warps) {
        float f = expf(power * l[v]);
        for (int j = lane; j < cols; j += WARP) y[(size_t)v * cols + j] = f * a[(size_t)v * cols + j];
    }
}

// da += f dy and dl += power dy . y; either may be null.
extern "C" __global__ void scale_rows_bwd(const float *l, const float *y, const float *dy, float *da, float *dl,
                                          int rows, int cols, float power) {
    int warps = gridDim.x * (blockDim.x / WARP), lane = threadIdx.x % WARP;
    for (int v = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; v < rows; v += warps) {
        float f = expf(power * l[v]), dot = 0.0f;
        for (int j = lane; j < cols; j += WARP) {
            size_t at = (size_t)v * cols + j;
            if (da) da[at] += f * dy[at];
            dot += dy[at] * y[at];
        }
        dot = warp_sum(dot);
        if (dl && lane == 0) dl[v] += power * dot;
    }
}
