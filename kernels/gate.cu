// The gate of formulas (12)(13): g = sigmoid(u), u = [S | T] W + b;  F = g S + (1 - g) T.
//
// Layout: S, T, F (rows, d); u, g (rows, gates) with gates = d (one gate per feature) or 1 (one per row).
// Schedule: one warp per row, lanes along d; a scalar gate's sums over d are warp sums.
#include "activation.cuh"
#include "loops.cuh"

extern "C" __global__ void gate_fwd(float *f, float *g, const float *u, const float *s, const float *t, int rows, int d,
                                    int gates) {
    FOR_EACH_ROW(row, rows) {
        size_t at = (size_t)row * d, gate_at = (size_t)row * gates;
        FOR_EACH_COLUMN(c, d) {
            size_t k = gate_at + (gates == 1 ? 0 : c);
            float gate = sigmoid(u[k]);
            f[at + c] = gate * s[at + c] + (1.0f - gate) * t[at + c];
            if (gates > 1 || c == 0) g[k] = gate;
        }
    }
}

// du = (dg + sum over the gate's features of dF (S - T)) g (1 - g). df, dg: null where nothing depends on them.
extern "C" __global__ void gate_bwd_logits(float *du, const float *df, const float *dg, const float *g, const float *s,
                                           const float *t, int rows, int d, int gates) {
    const int lane = threadIdx.x % WARP;
    FOR_EACH_ROW(row, rows) {
        size_t at = (size_t)row * d, gate_at = (size_t)row * gates;
        float sum = 0.0f;
        FOR_EACH_COLUMN(c, d) {
            float v = df ? df[at + c] * (s[at + c] - t[at + c]) : 0.0f;
            if (gates == 1) {
                sum += v;
            } else {
                float gate = g[gate_at + c];
                du[gate_at + c] = (v + (dg ? dg[gate_at + c] : 0.0f)) * gate * (1.0f - gate);
            }
        }
        if (gates == 1) {
            sum = warp_sum(sum);
            float gate = g[gate_at];
            if (lane == 0) du[gate_at] = (sum + (dg ? dg[gate_at] : 0.0f)) * gate * (1.0f - gate);
        }
    }
}

// dS += dF g + dx[:, :d], dT += dF (1 - g) + dx[:, d:], with dx (rows, 2 d) the gradient through the gate's product.
// ds, dt: null where not wanted; df as above.
extern "C" __global__ void gate_bwd(float *ds, float *dt, const float *df, const float *g, const float *dx, int rows,
                                    int d, int gates) {
    FOR_EACH_ROW(row, rows) {
        size_t at = (size_t)row * d, gate_at = (size_t)row * gates;
        FOR_EACH_COLUMN(c, d) {
            float gate = g[gate_at + (gates == 1 ? 0 : c)], up = df ? df[at + c] : 0.0f;
            if (ds) ds[at + c] += up * gate + dx[2 * at + c];
            if (dt) dt[at + c] += up * (1.0f - gate) + dx[2 * at + d + c];
        }
    }
}
