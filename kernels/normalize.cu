// Rows divided by their length: y = x / max(|x|, floor), row by row.
//
// Layout: x, y (rows, cols) row-major; norms (rows) holds |x| for the backward pass.
// Schedule: one warp per row, lanes along the columns; grid-stride over rows.
#include "common.cuh"

extern "C" __global__ void normalize_fwd(float *y, float *norms, const float *x, int rows, int cols, float floor) {
    int lane = threadIdx.x % WARP, warps = gridDim.x * blockDim.x / WARP;
    for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < rows; row += warps) {
        const float *from = x + (size_t)row * cols;
        float square = 0.0f;
        for (int c = lane; c < cols; c += WARP) square = fmaf(from[c], from[c], square);
        float norm = sqrtf(warp_sum(square)), by = fmaxf(norm, floor);
        for (int c = lane; c < cols; c += WARP) y[(size_t)row * cols + c] = from[c] / by;
        if (lane == 0) norms[row] = norm;
    }
}

// dx += (dy - y <y, dy>) / |x|; at or below the floor the divisor is constant: dx += dy / floor. Nothing at 0.
extern "C" __global__ void normalize_bwd(float *dx, const float *dy, const float *y, const float *norms, int rows,
                                         int cols, float floor) {
    int lane = threadIdx.x % WARP, warps = gridDim.x * blockDim.x / WARP;
    for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < rows; row += warps) {
        if (norms[row] == 0.0f) continue;
        size_t at = (size_t)row * cols;
        float inner = 0.0f;
        for (int c = lane; c < cols; c += WARP) inner = fmaf(y[at + c], dy[at + c], inner);
        inner = warp_sum(inner);
        float by = fmaxf(norms[row], floor);
        if (!(norms[row] > floor)) inner = 0.0f;
        for (int c = lane; c < cols; c += WARP) dx[at + c] += (dy[at + c] - y[at + c] * inner) / by;
    }
}
