// The features of a (learner, course) pair from u and i, each (rows, d):
//   [u | i] (kind 0), u * i (kind 1), [u | i | u * i] (kind 2).
// Schedule: a thread per pair of elements, which writes, or gathers from, its one to three columns.
#include "loops.cuh"

__device__ __forceinline__ int blocks(int kind) { return kind == 0 ? 2 : kind == 1 ? 1 : 3; }

extern "C" __global__ void pair_features_fwd(float *y, const float *u, const float *i, unsigned long long n, int d, int kind) {
    int width = blocks(kind) * d;
    FOR_EACH(e, n) {
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
extern "C" __global__ void pair_features_bwd(float *du, float *di, const float *dy, const float *u, const float *i,
                                      unsigned long long n, int d, int kind) {
    int width = blocks(kind) * d;
    FOR_EACH(e, n) {
        const float *row = dy + e / d * width;
        int c = e % d;
        float gu = kind == 1 ? 0.0f : row[c], gi = kind == 1 ? 0.0f : row[d + c];
        float gp = kind == 0 ? 0.0f : row[kind == 1 ? c : 2 * d + c];
        if (du) du[e] += gu + gp * i[e];
        if (di) di[e] += gi + gp * u[e];
    }
}
