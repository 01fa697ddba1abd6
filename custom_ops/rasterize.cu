// The rasterizer on a GPU: two kernels for all samples of a call.
//
//   FindBoxes    one thread per face: the box of pixels that it may cover, 8 bytes.
//   DrawTiles    one block per tile of 32 x 32 pixels: reads the boxes, lists the faces that reach
//                into its tile, draws them into a depth buffer in shared memory, and writes each
//                pixel of the result once.
//
// A face is drawn by one thread if its box is small, else by a warp with one pixel per lane, so the
// work grows with the area of the boxes. The buffer holds depth and face in one 64-bit number whose
// minimum is the nearest depth and, at equal depths, the lowest face. The result therefore does not
// depend on the order of the threads, and every run gives the same image.

#include <cuda_runtime.h>

#include <string>

#include "checks.h"
#include "rasterize.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace handjax {
namespace {

constexpr int kTile = 32;
constexpr int kThreads = 256;
// Faces listed per round of drawing: the lists fit into shared memory and are long enough to keep
// all threads busy.
constexpr int kRound = 4 * kThreads;
constexpr int kSmall = 24;  // pixels of a box, at most, that a single thread draws

using Key = unsigned long long;
constexpr Key kNothing = ~Key{0};

// Maps floats to integers of the same order; -0 is mapped like 0.
__device__ uint32_t Ordered(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ float Unordered(uint32_t bits) {
  return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

__global__ void FindBoxes(const float* screen, const int32_t* faces, Sizes n, short4* boxes) {
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= n.batch * n.faces) return;
  const int64_t sample = i / n.faces, f = i % n.faces;
  Triangle t;
  Box box{0, 0, -1, -1};
  if (Load(screen + 4 * n.vertices * sample, n.vertices, faces + 3 * (n.shared ? f : i), t))
    box = Bounds(t, static_cast<int>(n.height), static_cast<int>(n.width));
  boxes[i] = make_short4(box.x0, box.y0, box.x1, box.y1);
}

__global__ void __launch_bounds__(kThreads)
    DrawTiles(const float* screen, const int32_t* faces, const short4* boxes, Sizes n, int culled,
              float near, float background, float* depth, int32_t* face) {
  __shared__ Key buffer[kTile * kTile];
  __shared__ int small[kRound], large[kRound];
  __shared__ int small_count, large_count;

  const int height = static_cast<int>(n.height), width = static_cast<int>(n.width);
  const int across = (width + kTile - 1) / kTile, down = (height + kTile - 1) / kTile;
  const int64_t sample = blockIdx.x / (across * down);
  const int tile = blockIdx.x % (across * down);
  const int left = tile % across * kTile, top = tile / across * kTile;
  const int right = min(left + kTile, width) - 1, bottom = min(top + kTile, height) - 1;
  screen += 4 * n.vertices * sample;
  faces += n.shared ? 0 : 3 * n.faces * sample;
  boxes += n.faces * sample;

  for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) buffer[i] = kNothing;

  // The part of a face's box within this tile; empty boxes stay empty.
  const auto clip = [&](int f) {
    const short4 box = boxes[f];
    return Box{max(int{box.x}, left), max(int{box.y}, top), min(int{box.z}, right),
               min(int{box.w}, bottom)};
  };
  const auto draw = [&](int f, int first, int stride) {
    Triangle t;
    Load(screen, n.vertices, faces + 3 * int64_t{f}, t);
    FindSides(t);
    const Box box = clip(f);
    const int columns = box.x1 - box.x0 + 1, pixels = columns * (box.y1 - box.y0 + 1);
    for (int i = first; i < pixels; i += stride) {
      const int x = box.x0 + i % columns, y = box.y0 + i / columns;
      float at;
      if (Fragment(t, static_cast<float>(x), static_cast<float>(y), culled, near, at) &&
          at < INFINITY)
        atomicMin(&buffer[(y - top) * kTile + x - left],
                  Key{Ordered(at)} << 32 | static_cast<uint32_t>(f));
    }
  };

  for (int64_t start = 0; start < n.faces; start += kRound) {
    if (threadIdx.x == 0) small_count = large_count = 0;
    __syncthreads();  // Also: the buffer is cleared, and the lists of the last round are drawn.
    for (int i = threadIdx.x; i < kRound && start + i < n.faces; i += kThreads) {
      const int f = static_cast<int>(start) + i;
      const Box box = clip(f);
      if (box.x0 > box.x1 || box.y0 > box.y1) continue;
      if ((box.x1 - box.x0 + 1) * (box.y1 - box.y0 + 1) <= kSmall)
        small[atomicAdd(&small_count, 1)] = f;
      else
        large[atomicAdd(&large_count, 1)] = f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < small_count; i += kThreads) draw(small[i], 0, 1);
    for (int i = threadIdx.x / 32; i < large_count; i += kThreads / 32)
      draw(large[i], threadIdx.x % 32, 32);
    __syncthreads();  // Also, in the last round: all drawing is done before the buffer is read.
  }

  for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const int x = left + i % kTile, y = top + i / kTile;
    if (x > right || y > bottom) continue;
    const int64_t pixel = (sample * height + y) * width + x;
    const Key key = buffer[i];
    depth[pixel] = key == kNothing ? background : Unordered(static_cast<uint32_t>(key >> 32));
    face[pixel] = key == kNothing ? -1 : static_cast<int32_t>(key & 0xffffffffu);
  }
}

ffi::Error Launched(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return ffi::Error::Success();
  return ffi::Error::Internal(std::string("handjax_rasterize, ") + kernel + ": " +
                              cudaGetErrorString(error) + "; HANDJAX_OPS=off runs plain JAX");
}

ffi::Error Rasterize(cudaStream_t stream, ffi::ScratchAllocator scratch,
                     ffi::Buffer<ffi::F32> screen, ffi::Buffer<ffi::S32> faces,
                     ffi::ResultBuffer<ffi::F32> depth, ffi::ResultBuffer<ffi::S32> face,
                     int32_t culled, float near, float background) {
  Sizes n;
  if (ffi::Error error = CheckSizes(screen.dimensions(), faces.dimensions(), depth->dimensions(),
                                    face->dimensions(), n);
      error.failure())
    return error;
  const int64_t all_faces = n.batch * n.faces;
  const int64_t tiles =
      n.batch * ((n.height + kTile - 1) / kTile) * ((n.width + kTile - 1) / kTile);
  if (tiles == 0) return ffi::Error::Success();
  if (tiles > INT32_MAX || all_faces / kThreads >= INT32_MAX)
    return ffi::Error::InvalidArgument("a batch of " + std::to_string(n.batch) +
                                       " is too large for one launch");

  short4* boxes = nullptr;
  if (all_faces > 0) {
    const auto memory = scratch.Allocate(all_faces * sizeof(short4), alignof(short4));
    if (!memory.has_value())
      return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                        "no memory for the boxes of " + std::to_string(all_faces) + " faces");
    boxes = static_cast<short4*>(*memory);
    const auto blocks = static_cast<unsigned>((all_faces + kThreads - 1) / kThreads);
    FindBoxes<<<blocks, kThreads, 0, stream>>>(screen.typed_data(), faces.typed_data(), n, boxes);
    if (ffi::Error error = Launched("FindBoxes"); error.failure()) return error;
  }
  DrawTiles<<<static_cast<unsigned>(tiles), kThreads, 0, stream>>>(
      screen.typed_data(), faces.typed_data(), boxes, n, culled, near, background,
      depth->typed_data(), face->typed_data());
  return Launched("DrawTiles");
}

}  // namespace
}  // namespace handjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(handjax_rasterize, handjax::Rasterize,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::PlatformStream<cudaStream_t>>()
                                  .Ctx<ffi::ScratchAllocator>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::S32>>()
                                  .Attr<int32_t>("culled")
                                  .Attr<float>("near")
                                  .Attr<float>("background"));
