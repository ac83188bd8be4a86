// TransD's knowledge-graph loss with its gradient, formulas (1) and (2).
//
//   y(v) = (p_v . e_v) r_p + pad_or_cut(e_v, m), optionally scaled to norm 1       e = y(h) + r - y(t)
//   loss = mean f( d(e) - d(e') ) + l2/2 mean( |y(h)|^2 + |r|^2 + |y(t)|^2 + |y(c)|^2 ), c the corrupted entity
//
// Layout    E, P (N, n); R, R_p (Q, m); triples sorted by relation, ids (B) of each: head, tail, corrupted entity,
//           2 relation + 1 where that stands in for the head (else for the tail). rows (4 B, m): the gradients before
//           the norm of y(h), y(t), y(c), and of r, for upstream 1. dots (3 B) = r_p . rows, products (3 B) = p . e.
// Schedule  a warp owns a triple, its lanes the columns; vectors are recomputed from their cached rows rather
//           than kept, so any n and m fit. Relations have few rows and many triples: pieces of at most 256
//           triples, then one warp a relation. Entities: sorted uses, a warp a segment, long ones in pieces.
// Order     of triples within pieces, then of pieces: no atomics, the same bits every time.
#include "common.cuh"

enum Distance { L2_SQUARED = 0, L2 = 1, L1 = 2 };
enum ProjNorm { NONE = 0, CLAMP = 1, UNIT = 2 };
enum Loss { BPR = 0, MARGIN = 1 };

// An entity as a relation sees it.
struct Projection {
    const float* e;
    const float* rp;
    float product;
    // 1 / norm where y was scaled to norm 1, else 0.
    float scaled;
    int n;

    __device__ __forceinline__ float raw(int j) const { return product * rp[j] + (j < n ? e[j] : 0.0f); }
    __device__ __forceinline__ float at(int j) const { return scaled != 0.0f ? raw(j) * scaled : raw(j); }
};

__device__ __forceinline__ Projection project(const float* e, const float* p, const float* rp, int n, int m, int norm,
                                              int lane) {
    float product = 0.0f;
    for (int j = lane; j < n; j += WARP) product += p[j] * e[j];
    Projection y = {e, rp, warp_sum(product), 0.0f, n};
    if (norm != NONE) {
        float square = 0.0f;
        for (int j = lane; j < m; j += WARP) square += y.raw(j) * y.raw(j);
        const float length = sqrtf(warp_sum(square));
        if (norm == UNIT || length >= 1.0f) y.scaled = 1.0f / fmaxf(length, 1e-12f);
    }
    return y;
}

__device__ __forceinline__ float term(float e, int distance) { return distance == L1 ? fabsf(e) : e * e; }

__device__ __forceinline__ float finish(float sum, int distance) {
    return distance == L2 ? sqrtf(sum + 1e-12f) : sum;
}

// c d'(e), with `c` already 2 c or c / d where the distance needs it.
__device__ __forceinline__ float slope(float e, float c, int distance) {
    if (distance != L1) return c * e;
    return e > 0.0f ? c : e < 0.0f ? -c : 0.0f;
}

__device__ __forceinline__ float slope_scale(float c, float d, int distance) {
    return distance == L2_SQUARED ? 2.0f * c : distance == L2 ? c / d : c;
}

extern "C" __global__ void __launch_bounds__(256, 2)
    transd_fwd(const float* __restrict__ entities, const float* __restrict__ projections,
               const float* __restrict__ relations, const float* __restrict__ relation_projections,
               const uint4* __restrict__ ids, float* __restrict__ rows, float* __restrict__ dots,
               float* __restrict__ products, float* __restrict__ losses, int count, int n, int m, int loss, float gamma,
               int distance, int norm, float l2) {
    const int lane = threadIdx.x % WARP, warps = gridDim.x * (blockDim.x / WARP);
    const float share = 1.0f / static_cast<float>(count), decay = l2 * share;
    for (int i = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; i < count; i += warps) {
        const uint4 id = ids[i];
        const float* const r = relations + static_cast<size_t>(id.w >> 1) * m;
        const float* const rp = relation_projections + static_cast<size_t>(id.w >> 1) * m;
        const size_t at_h = static_cast<size_t>(id.x) * n, at_t = static_cast<size_t>(id.y) * n;
        const size_t at_c = static_cast<size_t>(id.z) * n;
        const Projection h = project(entities + at_h, projections + at_h, rp, n, m, norm, lane);
        const Projection t = project(entities + at_t, projections + at_t, rp, n, m, norm, lane);
        const Projection c = project(entities + at_c, projections + at_c, rp, n, m, norm, lane);
        const bool head_side = id.w & 1;

        float near = 0.0f, far = 0.0f, squares = 0.0f;
        for (int j = lane; j < m; j += WARP) {
            const float yh = h.at(j), yt = t.at(j), yc = c.at(j);
            near += term(yh + r[j] - yt, distance);
            far += term(head_side ? yc + r[j] - yt : yh + r[j] - yc, distance);
            squares += yh * yh + r[j] * r[j] + yt * yt + yc * yc;
        }
        near = finish(warp_sum(near), distance);
        far = finish(warp_sum(far), distance);
        squares = warp_sum(squares);

        float z = near - far, value, weight;
        if (loss == MARGIN) {
            z += gamma;
            value = fmaxf(z, 0.0f);
            weight = z > 0.0f ? 1.0f : 0.0f;
        } else {
            const float small = expf(-fabsf(z));
            value = fmaxf(z, 0.0f) + log1pf(small);
            weight = (z >= 0.0f ? 1.0f : small) / (1.0f + small);
        }
        if (lane == 0) losses[i] = value + 0.5f * l2 * squares;
        const float a = slope_scale(weight * share, near, distance), b = slope_scale(-weight * share, far, distance);

        // Gradients of the projections, and their parts along y, which scaling to norm 1 takes away.
        float* const gh = rows + static_cast<size_t>(i) * 4 * m;
        float along[3] = {};
        for (int j = lane; j < m; j += WARP) {
            const float yh = h.at(j), yt = t.at(j), yc = c.at(j);
            const float plus = slope(yh + r[j] - yt, a, distance);
            const float minus = slope(head_side ? yc + r[j] - yt : yh + r[j] - yc, b, distance);
            const float g_h = (head_side ? plus : plus + minus) + decay * yh;
            const float g_t = (head_side ? -(plus + minus) : -plus) + decay * yt;
            const float g_c = (head_side ? minus : -minus) + decay * yc;
            along[0] += g_h * yh;
            along[1] += g_t * yt;
            along[2] += g_c * yc;
            gh[j] = g_h;
            gh[m + j] = g_t;
            gh[2 * m + j] = g_c;
            gh[3 * m + j] = plus + minus + decay * r[j];
        }
        const auto put = [&](const Projection& y, int slot) {
            float* const g = gh + slot * m;
            const float part = warp_sum(along[slot]);
            float dot = 0.0f;
            // A lane reads back only what it wrote.
            for (int j = lane; j < m; j += WARP) {
                if (y.scaled != 0.0f) g[j] = (g[j] - part * y.at(j)) * y.scaled;
                dot += rp[j] * g[j];
            }
            dot = warp_sum(dot);
            if (lane == 0) {
                dots[3 * static_cast<size_t>(i) + slot] = dot;
                products[3 * static_cast<size_t>(i) + slot] = y.product;
            }
        };
        put(h, 0);
        put(t, 1);
        put(c, 2);
    }
}

// partial (pieces, 2 m) = [ sum of d r | sum of (p . e) G over the three projections ], by piece of a relation's
// triples. A block of any size per piece, its threads the columns.
extern "C" __global__ void transd_relation_pieces(float* __restrict__ partial, const float* __restrict__ rows,
                                                  const float* __restrict__ products,
                                                  const unsigned long long* __restrict__ begin,
                                                  const unsigned long long* __restrict__ end, int pieces, int m) {
    for (int piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        for (int j = threadIdx.x; j < m; j += blockDim.x) {
            float dr = 0.0f, drp = 0.0f;
            for (unsigned long long i = begin[piece]; i < end[piece]; ++i) {
                const float* const g = rows + i * 4 * m + j;
                const float* const product = products + 3 * i;
                drp += product[0] * g[0] + product[1] * g[m] + product[2] * g[2 * m];
                dr += g[3 * m];
            }
            partial[static_cast<size_t>(piece) * 2 * m + j] = dr;
            partial[static_cast<size_t>(piece) * 2 * m + m + j] = drp;
        }
    }
}

// dR, dR_p = upstream * the pieces' sums, in order. A warp per relation; either output may be null.
extern "C" __global__ void __launch_bounds__(256, 2)
    transd_relations(float* __restrict__ dr, float* __restrict__ drp, const float* __restrict__ partial,
                     const unsigned long long* __restrict__ pieces, const float* __restrict__ upstream, int relations,
                     int m) {
    const int lane = threadIdx.x % WARP, warps = gridDim.x * (blockDim.x / WARP);
    for (int q = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; q < relations; q += warps) {
        for (int j = lane; j < 2 * m; j += WARP) {
            float* const out = j < m ? dr : drp;
            if (!out) continue;
            float sum = 0.0f;
            for (unsigned long long piece = pieces[q]; piece < pieces[q + 1]; ++piece) sum += partial[piece * 2 * m + j];
            out[static_cast<size_t>(q) * m + j % m] = upstream[0] * sum;
        }
    }
}

// Column `column` of the sums over uses begin .. end: of rows for columns below k, of dots for column k. Use
// 3 i + s is row 4 i + s.
__device__ __forceinline__ float use_sum(const float* rows, const float* dots, const unsigned* position,
                                         unsigned long long begin, unsigned long long end, int m, int k, int column) {
    float sum = 0.0f;
    for (unsigned long long u = begin; u < end; ++u) {
        const size_t use = position[u];
        sum += column < k ? rows[(use + use / 3) * m + column] : dots[use];
    }
    return sum;
}

// partial (pieces, k + 1), k = min(n, m). A warp per piece.
extern "C" __global__ void __launch_bounds__(256, 2)
    transd_entity_pieces(float* __restrict__ partial, const float* __restrict__ rows, const float* __restrict__ dots,
                         const unsigned* __restrict__ position, const unsigned long long* __restrict__ begin,
                         const unsigned long long* __restrict__ end, int pieces, int n, int m) {
    const int lane = threadIdx.x % WARP, warps = gridDim.x * (blockDim.x / WARP), k = n < m ? n : m;
    for (int p = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; p < pieces; p += warps)
        for (int j = lane; j <= k; j += WARP)
            partial[static_cast<size_t>(p) * (k + 1) + j] = use_sum(rows, dots, position, begin[p], end[p], m, k, j);
}

// With G the sum of rows and s that of dots: dE = upstream (pad_or_cut(G, n) + s P), dP = upstream s E, written to the
// entity's row, or to row s of compact outputs for segment s of uses. A warp per segment; either output may be null.
extern "C" __global__ void __launch_bounds__(256, 2)
    transd_entities(float* __restrict__ de, float* __restrict__ dp, const float* __restrict__ entities,
                    const float* __restrict__ projections, const float* __restrict__ rows,
                    const float* __restrict__ dots, const float* __restrict__ partial, const unsigned* __restrict__ row,
                    const unsigned* __restrict__ position, const unsigned long long* __restrict__ offsets,
                    const unsigned long long* __restrict__ pieces, const float* __restrict__ upstream, int compact,
                    int segments, int n, int m) {
    const int lane = threadIdx.x % WARP, warps = gridDim.x * (blockDim.x / WARP), k = n < m ? n : m;
    const float up = upstream[0];
    for (int s = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; s < segments; s += warps) {
        const unsigned long long first = pieces[s], last = pieces[s + 1];
        const auto sum = [&](int column) {
            if (first == last) return use_sum(rows, dots, position, offsets[s], offsets[s + 1], m, k, column);
            float total = 0.0f;
            for (unsigned long long p = first; p < last; ++p) total += partial[p * (k + 1) + column];
            return total;
        };
        const float along = up * sum(k);
        for (int j = lane; j < n; j += WARP) {
            const size_t at = static_cast<size_t>(row[s]) * n + j;
            const size_t to = compact ? static_cast<size_t>(s) * n + j : at;
            if (de) de[to] = (j < k ? up * sum(j) : 0.0f) + along * projections[at];
            if (dp) dp[to] = along * entities[at];
        }
    }
}

// scores = -d of triples. A warp per triple.
extern "C" __global__ void __launch_bounds__(256, 2)
    transd_score(const float* __restrict__ entities, const float* __restrict__ projections,
                 const float* __restrict__ relations, const float* __restrict__ relation_projections,
                 const unsigned* __restrict__ head, const unsigned* __restrict__ relation,
                 const unsigned* __restrict__ tail, float* __restrict__ scores, int count, int n, int m, int distance,
                 int norm) {
    const int lane = threadIdx.x % WARP, warps = gridDim.x * (blockDim.x / WARP);
    for (int i = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; i < count; i += warps) {
        const float* const r = relations + static_cast<size_t>(relation[i]) * m;
        const float* const rp = relation_projections + static_cast<size_t>(relation[i]) * m;
        const size_t at_h = static_cast<size_t>(head[i]) * n, at_t = static_cast<size_t>(tail[i]) * n;
        const Projection h = project(entities + at_h, projections + at_h, rp, n, m, norm, lane);
        const Projection t = project(entities + at_t, projections + at_t, rp, n, m, norm, lane);
        float sum = 0.0f;
        for (int j = lane; j < m; j += WARP) sum += term(h.at(j) + r[j] - t.at(j), distance);
        sum = finish(warp_sum(sum), distance);
        if (lane == 0) scores[i] = -sum;
    }
}
