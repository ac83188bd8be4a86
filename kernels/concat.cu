// Blocks of columns: into and out of a wider matrix. wide (rows, width), part (rows, cols), the part's first column
// at `first`. Grid-stride over the part's elements; consecutive threads take consecutive columns.
#include "common.cuh"

// wide[:, first : first + cols] = part
extern "C" __global__ void concat_fwd(float *wide, const float *part, unsigned long long n, int cols, int width,
                                      int first) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        wide[i / cols * width + first + i % cols] = part[i];
}

// part += wide[:, first : first + cols]
extern "C" __global__ void concat_bwd(float *part, const float *wide, unsigned long long n, int cols, int width,
                                      int first) {
    unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        part[i] += wide[i / cols * width + first + i % cols];
}
