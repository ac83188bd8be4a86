// Stands in front of every kernel file when g++ compiles it: what nvcc knows by itself.
//
// Not here, because the executor cannot show it: __activemask (undefined under divergence), inline PTX, tensor
// cores, asynchronous copies, cooperative groups. Threads switch at barriers and warp collectives alone, so a
// loop that waits for another thread's write never ends.
#pragma once

// Standard headers come first: some of them use names that are macros below.
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "executor.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __launch_bounds__(...)
#define __noinline__ __attribute__((noinline))
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#ifndef __restrict__
#define __restrict__ __restrict
#endif

// One block runs at a time, so its shared memory is a static variable; build.rs puts those into a section of
// the file's own, which the executor fills with NaN before each block.
#define __shared__ static
#define DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(waata_host::dynamic_shared)

#define threadIdx (*waata_host::thread_index)
#define blockIdx (waata_host::block_index)
#define blockDim (waata_host::block_size)
#define gridDim (waata_host::grid_size)
#define warpSize 32

#define WAATA_SITE(name) waata_host::Site{name, __FILE__, __LINE__}
#define __syncthreads WAATA_SITE("__syncthreads").sync_block
#define __syncthreads_count WAATA_SITE("__syncthreads_count").count
#define __syncthreads_and WAATA_SITE("__syncthreads_and").block_and
#define __syncthreads_or WAATA_SITE("__syncthreads_or").block_or
#define __syncwarp WAATA_SITE("__syncwarp").sync_warp
#define __shfl_sync WAATA_SITE("__shfl_sync").shuffle
#define __shfl_up_sync WAATA_SITE("__shfl_up_sync").shuffle_up
#define __shfl_down_sync WAATA_SITE("__shfl_down_sync").shuffle_down
#define __shfl_xor_sync WAATA_SITE("__shfl_xor_sync").shuffle_xor
#define __ballot_sync WAATA_SITE("__ballot_sync").ballot
#define __any_sync WAATA_SITE("__any_sync").any
#define __all_sync WAATA_SITE("__all_sync").all
#define __match_any_sync WAATA_SITE("__match_any_sync").match
#define __reduce_add_sync WAATA_SITE("__reduce_add_sync").add
#define __reduce_min_sync WAATA_SITE("__reduce_min_sync").minimum
#define __reduce_max_sync WAATA_SITE("__reduce_max_sync").maximum
#define __reduce_and_sync WAATA_SITE("__reduce_and_sync").bit_and
#define __reduce_or_sync WAATA_SITE("__reduce_or_sync").bit_or
#define __reduce_xor_sync WAATA_SITE("__reduce_xor_sync").bit_xor
#define __trap() waata_host::fault("__trap", __FILE__, __LINE__)

#include "cuda_bf16.h"
#include "functions.h"
