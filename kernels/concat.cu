// Blocks of columns: into and out of a wider matrix. wide (rows, width), part (rows, cols), the part's first column
// at `first`. Schedule: a thread per element of the part; consecutive threads take consecutive columns.
#include "loops.cuh"

// wide[:, first : first + cols] = part
extern "C" __global__ void concat_fwd(float *wide, const float *part, unsigned long long n, int cols, int width,
                                      int first) {
    FOR_EACH(i, n) wide[i / cols * width + first + i % cols] = part[i];
}

// part += wide[:, first : first + cols]
extern "C" __global__ void concat_bwd(float *part, const float *wide, unsigned long long n, int cols, int width,
                                      int first) {
    FOR_EACH(i, n) part[i] += wide[i / cols * width + first + i % cols];
}
