// Bayesian personalised ranking: loss_b = softplus(-(u.i - u.j)) + l2/2 (|u|^2 + |i|^2 + |j|^2), to be averaged.
//
// Layout    u, i, j (B, d) row-major; losses, slope (B). slope = -sigmoid(-(u.i - u.j)) / B.
// Schedule  forward: a warp per row; backward: a thread per element, all three gradients at once.
// Hazards   none: every element has one writer.
#include "loops.cuh"

extern "C" __global__ void __launch_bounds__(256)
    bpr_fwd(float* __restrict__ losses, float* __restrict__ slope, const float* __restrict__ u,
            const float* __restrict__ i, const float* __restrict__ j, int rows, int d, float l2) {
    const int lane = threadIdx.x % WARP;
    FOR_EACH_ROW(b, rows) {
        float below = 0.0f, above = 0.0f, squares = 0.0f;
        FOR_EACH_COLUMN(k, d) {
            const size_t at = static_cast<size_t>(b) * d + k;
            below += u[at] * j[at];
            above += u[at] * i[at];
            squares += u[at] * u[at] + i[at] * i[at] + j[at] * j[at];
        }
        const float z = warp_sum(below) - warp_sum(above);
        squares = warp_sum(squares);
        if (lane == 0) {
            const float small = expf(-fabsf(z));
            losses[b] = fmaxf(z, 0.0f) + log1pf(small) + 0.5f * l2 * squares;
            slope[b] = -(z >= 0.0f ? 1.0f : small) / (1.0f + small) / static_cast<float>(rows);
        }
    }
}

// Adds to the gradients, each of which may be null.
extern "C" __global__ void bpr_bwd(float* __restrict__ du, float* __restrict__ di, float* __restrict__ dj,
                                   const float* __restrict__ u, const float* __restrict__ i,
                                   const float* __restrict__ j, const float* __restrict__ slope,
                                   const float* __restrict__ upstream, int rows, int d, float l2) {
    const float up = upstream[0], decay = up * l2 / static_cast<float>(rows);
    FOR_EACH(at, static_cast<size_t>(rows) * d) {
        const float c = up * slope[at / d];
        if (du) du[at] += c * (i[at] - j[at]) + decay * u[at];
        if (di) di[at] += c * u[at] + decay * i[at];
        if (dj) dj[at] += -c * u[at] + decay * j[at];
    }
}
