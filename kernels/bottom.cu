// The bottom vector of a (learner, course) pair from u and i, each (rows, d):
//   [u | i] (kind 0), u * i (kind 1), [u | i | u * i] (kind 2).
// Grid-stride over the rows x d pairs of elements; each writes, or gathers from, its one to three columns.
#include "common.cuh"

__device__ __forceinline__ int blocks(int kind) { return kind == 0 ? 2 : kind == 1 ? 1 : 3; }

extern "C" __global__ void bottom_fwd(float *y, const float *u, const float *i, unsigned long long n, int d, int kind) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    int width = blocks(kind) * d;
    for (unsigned long long e = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; e < n; e += stride) {
        float *row = y + e / d * width;
        int c = e % d;
        if (kind != 1) {
            row[c] = u[e];
            row[d + c] = i[e];
        }
        if (kind != 0) row[kind == 1 ? c : 2 * d + c] = u[e] * i[e];
    }
}

// du, di: added to; null where not wanted.
extern "C" __global__ void bottom_bwd(float *du, float *di, const float *dy, const float *u, const float *i,
                                      unsigned long long n, int d, int kind) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    int width = blocks(kind) * d;
    for (unsigned long long e = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; e < n; e += stride) {
        const float *row = dy + e / d * width;
        int c = e % d;
        float gu = kind == 1 ? 0.0f : row[c], gi = kind == 1 ? 0.0f : row[d + c];
        float gp = kind == 0 ? 0.0f : row[kind == 1 ? c : 2 * d + c];
        if (du) du[e] += gu + gp * i[e];
        if (di) di[e] += gi + gp * u[e];
    }
}
