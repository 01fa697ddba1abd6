// Enough of CUDA to run kernels on a machine without a GPU. Blocks run one after another. The
// threads, barriers and atomics of a block are real ones, so that sanitizers find the races that a
// GPU would have.

#pragma once

#include <pthread.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __host__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static  // kept between blocks: a kernel that does not clear it sees old values

using std::max;
using std::min;

struct short4 {
  short x, y, z, w;
};
inline short4 make_short4(int x, int y, int z, int w) {
  return {static_cast<short>(x), static_cast<short>(y), static_cast<short>(z),
          static_cast<short>(w)};
}

inline uint32_t __float_as_uint(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

inline int atomicAdd(int* at, int x) { return __atomic_fetch_add(at, x, __ATOMIC_RELAXED); }
inline unsigned long long atomicMin(unsigned long long* at, unsigned long long x) {
  unsigned long long old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (x < old &&
         !__atomic_compare_exchange_n(at, &old, x, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

using cudaStream_t = struct Stream*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidConfiguration };
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "invalid configuration argument";
}

namespace on_host {

struct Index {
  unsigned x;
};
inline thread_local Index thread_index, block_index;
inline pthread_barrier_t barrier;
inline bool barriers_work = true;  // false: as if the kernels had none
inline cudaError_t last_error = cudaSuccess;

// kernel<<<blocks, threads>>>(arguments...)
template <typename... Parameters, typename... Arguments>
void Launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
            Arguments... arguments) {
  if (blocks == 0 || blocks > INT32_MAX || threads == 0 || threads > 1024) {
    last_error = cudaErrorInvalidConfiguration;
    return;
  }
  pthread_barrier_init(&barrier, nullptr, threads);
  std::vector<std::thread> all;
  for (unsigned i = 0; i < threads; ++i)
    all.emplace_back([=] {
      thread_index.x = i;
      for (block_index.x = 0; block_index.x < blocks; ++block_index.x) {
        kernel(arguments...);
        pthread_barrier_wait(&barrier);
      }
    });
  for (std::thread& one : all) one.join();
  pthread_barrier_destroy(&barrier);
}

}  // namespace on_host

#define threadIdx on_host::thread_index
#define blockIdx on_host::block_index

inline void __syncthreads() {
  if (on_host::barriers_work) pthread_barrier_wait(&on_host::barrier);
}
inline cudaError_t cudaGetLastError() { return std::exchange(on_host::last_error, cudaSuccess); }
