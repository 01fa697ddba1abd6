// The straightforward kernel that the benchmark compares with ours: one block of one thread per
// triangle, which goes through the pixels of its box and keeps the nearest depth by
// compare-and-swap, like the kernel of sphereHand (Wan et al. 2019), which goes through columns
// instead of the box. Depth only, interpolated linearly in the image, without back faces.

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

__global__ void Fill(float* depth, int64_t count, float background) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i < count) depth[i] = background;
}

__device__ void KeepNearest(float* at, float depth) {
  unsigned* bits = reinterpret_cast<unsigned*>(at);
  unsigned old = *bits;
  while (depth < __uint_as_float(old)) {
    const unsigned seen = atomicCAS(bits, old, __float_as_uint(depth));
    if (seen == old) return;
    old = seen;
  }
}

__global__ void DrawTriangle(const float4* screen, const int3* faces, int64_t vertices,
                             int64_t face_count, int height, int width, float* depth) {
  const int64_t sample = blockIdx.x / face_count;
  const int3 face = faces[blockIdx.x % face_count];
  const float4 a = screen[sample * vertices + face.x], b = screen[sample * vertices + face.y],
               c = screen[sample * vertices + face.z];
  const float au = a.x / a.z, av = a.y / a.z, bu = b.x / b.z, bv = b.y / b.z, cu = c.x / c.z,
              cv = c.y / c.z;
  const float area = (bu - au) * (cv - av) - (bv - av) * (cu - au);
  if (!(area < 0)) return;
  const int x0 = max(0, static_cast<int>(ceilf(fminf(au, fminf(bu, cu))))),
            y0 = max(0, static_cast<int>(ceilf(fminf(av, fminf(bv, cv)))));
  const int x1 = min(width - 1, static_cast<int>(floorf(fmaxf(au, fmaxf(bu, cu)))));
  const int y1 = min(height - 1, static_cast<int>(floorf(fmaxf(av, fmaxf(bv, cv)))));
  for (int y = y0; y <= y1; ++y) {
    for (int x = x0; x <= x1; ++x) {
      const float wa = ((bu - x) * (cv - y) - (bv - y) * (cu - x)) / area,
                  wb = ((cu - x) * (av - y) - (cv - y) * (au - x)) / area;
      const float wc = 1 - wa - wb;
      if (wa >= 0 && wb >= 0 && wc >= 0)
        KeepNearest(depth + (sample * height + y) * width + x, wa * a.w + wb * b.w + wc * c.w);
    }
  }
}

ffi::Error Rasterize(cudaStream_t stream, ffi::Buffer<ffi::F32> screen, ffi::Buffer<ffi::S32> faces,
                     ffi::ResultBuffer<ffi::F32> depth, float background) {
  const auto shape = depth->dimensions(), points = screen.dimensions(), list = faces.dimensions();
  if (points.size() != 3 || points[2] != 4 || list.size() != 2 || list[1] != 3 ||
      shape.size() != 3 || shape[0] != points[0])
    return ffi::Error::InvalidArgument("expected screen [b v 4], faces [f 3] and depth [b h w]");
  const int64_t pixels = shape[0] * shape[1] * shape[2];
  Fill<<<static_cast<unsigned>((pixels + 255) / 256), 256, 0, stream>>>(depth->typed_data(), pixels,
                                                                        background);
  DrawTriangle<<<static_cast<unsigned>(points[0] * list[0]), 1, 0, stream>>>(
      reinterpret_cast<const float4*>(screen.typed_data()),
      reinterpret_cast<const int3*>(faces.typed_data()), points[1], list[0],
      static_cast<int>(shape[1]), static_cast<int>(shape[2]), depth->typed_data());
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess
             ? ffi::Error::Success()
             : ffi::Error::Internal(std::string("naive: ") + cudaGetErrorString(error));
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(naive_rasterizer, Rasterize,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<float>("background"));
