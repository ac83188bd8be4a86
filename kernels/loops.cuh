// Loops that any grid covers: over elements, a thread each; over rows, a warp each, its lanes along the columns.
#pragma once
#include "common.cuh"

#define FOR_EACH(i, n)                                                                            \
    for (unsigned long long i##_step = (unsigned long long)gridDim.x * blockDim.x,                \
                            i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < (n); \
         i += i##_step)

#define FOR_EACH_ROW(row, rows)                                                  \
    for (int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < (rows); \
         row += gridDim.x * blockDim.x / WARP)

#define FOR_EACH_COLUMN(c, cols) for (int c = threadIdx.x % WARP; c < (cols); c += WARP)
