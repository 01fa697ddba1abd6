// What the loader asks before it registers the CUDA kernels (handjax/ops/library.py).

#include <cuda_runtime.h>

// The CUDA versions of the driver (0: there is none) and of the runtime in this library, as 12080
// for 12.8. Both are known without a GPU. The result is CUDA's error code.
extern "C" __attribute__((visibility("default"))) int handjax_cuda_versions(int* driver,
                                                                            int* runtime) {
  const cudaError_t error = cudaDriverGetVersion(driver);
  return error != cudaSuccess ? error : cudaRuntimeGetVersion(runtime);
}
