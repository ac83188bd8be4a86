// The penalties of formula (14) that are not plain sums: those per sample, and the gradient of the cross-Gram forms.
//
// Layout: S, T (rows, d); moments (rows, 3) holds <s,t>, |s|^2, |t|^2; values (rows) the row's penalty.
// Schedule: one warp per row, lanes along d.
#include "loops.cuh"

// COSINE and NORMS are 0, with gradient 0, where a row's length is below TINY: they have none there.
enum RowForm { INNER = 0, COSINE = 1, NORMS = 2 };

#define TINY 1e-12f

extern "C" __global__ void orthogonality_rows_fwd(float *values, float *moments, const float *s, const float *t,
                                                  int rows, int d, int form) {
    const int lane = threadIdx.x % WARP;
    FOR_EACH_ROW(row, rows) {
        size_t at = (size_t)row * d;
        float st = 0.0f, ss = 0.0f, tt = 0.0f;
        FOR_EACH_COLUMN(c, d) {
            float x = s[at + c], y = t[at + c];
            st = fmaf(x, y, st);
            ss = fmaf(x, x, ss);
            tt = fmaf(y, y, tt);
        }
        st = warp_sum(st);
        ss = warp_sum(ss);
        tt = warp_sum(tt);
        if (lane != 0) continue;
        float ns = sqrtf(ss), nt = sqrtf(tt), cosine = ns < TINY || nt < TINY ? 0.0f : st / ns / nt;
        values[row] = form == INNER ? st * st : form == COSINE ? cosine * cosine : ns * nt;
        moments[3 * (size_t)row] = st;
        moments[3 * (size_t)row + 1] = ss;
        moments[3 * (size_t)row + 2] = tt;
    }
}

// ds += alpha t + beta s, dt += alpha s + gamma t: every form is such a combination. ds, dt null where not wanted.
extern "C" __global__ void orthogonality_rows_bwd(float *ds, float *dt, const float *dy, const float *moments,
                                                  const float *s, const float *t, int rows, int d, int form,
                                                  float inverse_rows) {
    float up = dy[0] * inverse_rows;
    FOR_EACH_ROW(row, rows) {
        size_t at = (size_t)row * d;
        float st = moments[3 * (size_t)row], ns = sqrtf(moments[3 * (size_t)row + 1]);
        float nt = sqrtf(moments[3 * (size_t)row + 2]);
        float alpha = 0.0f, beta = 0.0f, gamma = 0.0f;
        if (form == INNER) {
            alpha = 2.0f * up * st;
        } else if (ns >= TINY && nt >= TINY) {
            float cosine = st / ns / nt;
            alpha = form == COSINE ? 2.0f * up * cosine / ns / nt : 0.0f;
            beta = form == COSINE ? -2.0f * up * cosine / ns * cosine / ns : up * nt / ns;
            gamma = form == COSINE ? -2.0f * up * cosine / nt * cosine / nt : up * ns / nt;
        }
        FOR_EACH_COLUMN(c, d) {
            float x = s[at + c], y = t[at + c];
            if (ds) ds[at + c] += alpha * y + beta * x;
            if (dt) dt[at + c] += alpha * x + gamma * y;
        }
    }
}

// out = factor dy x, divided by max(norm, TINY) where a norm is given; dy and norm are one float each.
extern "C" __global__ void orthogonality_scale(float *out, const float *x, const float *dy, const float *norm,
                                               unsigned long long n, float factor) {
    float scale = factor * dy[0];
    if (norm) scale /= fmaxf(norm[0], TINY);
    FOR_EACH(i, n) out[i] = scale * x[i];
}
