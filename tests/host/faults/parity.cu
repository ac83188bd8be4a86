// Copies of kernels with one fault each that no check of an access can see: the comparison with the CPU must.
#include "common.cuh"

// Row v takes the logarithm of the row after it.
extern "C" __global__ void fault_scale_rows_wrong_index(const float* a, const float* l, float* y, int rows, int cols,
                                                        float power) {
    int warps = gridDim.x * (blockDim.x / WARP), lane = threadIdx.x % WARP;
    for (int v = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; v < rows; v += warps) {
        float f = expf(power * l[(v + 1) % rows]);
        for (int j = lane; j < cols; j += WARP) y[(size_t)v * cols + j] = f * a[(size_t)v * cols + j];
    }
}

// dl without the factor `power`.
extern "C" __global__ void fault_scale_rows_dropped_power(const float* l, const float* y, const float* dy, float* da,
                                                          float* dl, int rows, int cols, float power) {
    int warps = gridDim.x * (blockDim.x / WARP), lane = threadIdx.x % WARP;
    for (int v = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; v < rows; v += warps) {
        float f = expf(power * l[v]), dot = 0.0f;
        for (int j = lane; j < cols; j += WARP) {
            size_t at = (size_t)v * cols + j;
            if (da) da[at] += f * dy[at];
            dot += dy[at] * y[at];
        }
        dot = warp_sum(dot);
        if (dl && lane == 0) dl[v] += dot;
    }
}

// di without L2.
extern "C" __global__ void fault_bpr_dropped_decay(float* du, float* di, float* dj, const float* u, const float* i,
                                                   const float* j, const float* slope, const float* upstream, int rows,
                                                   int d, float l2) {
    const float up = upstream[0], decay = up * l2 / static_cast<float>(rows);
    const size_t count = static_cast<size_t>(rows) * d, stride = static_cast<size_t>(gridDim.x) * blockDim.x;
    for (size_t at = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += stride) {
        const float c = up * slope[at / d];
        if (du) du[at] += c * (i[at] - j[at]) + decay * u[at];
        if (di) di[at] += c * u[at];
        if (dj) dj[at] += -c * u[at] + decay * j[at];
    }
}

// dx without the part along y.
extern "C" __global__ void fault_normalize_dropped_projection(float* dx, const float* dy, const float*,
                                                              const float* norms, int rows, int cols, float floor) {
    int lane = threadIdx.x % WARP, warps = gridDim.x * blockDim.x / WARP;
    for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < rows; row += warps) {
        if (norms[row] == 0.0f) continue;
        const size_t at = (size_t)row * cols;
        for (int c = lane; c < cols; c += WARP) dx[at + c] += dy[at + c] / fmaxf(norms[row], floor);
    }
}
