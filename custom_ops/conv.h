// Shared by all convolution algorithms: the description of a convolution and of its arrays.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

#include "conv_tile.h"
#include "xla/ffi/api/ffi.h"

namespace handjax {

using Triple = std::array<int64_t, 3>;

inline int64_t Product(const Triple& n) { return n[0] * n[1] * n[2]; }
inline int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A convolution of volumes: out[o] = sum over taps t and channels of in[o * stride + t - low] *
// kernel[t].
struct Shape {
  Triple in, out, taps, stride, low;
  int64_t channels, columns;  // channels of the input, and of the output
};

// Its kernel: tap t is tap first + t * step of the stored array [size][c][o], or [size][o][c] if
// transposed.
struct Taps {
  const float* stored;
  Triple size, first, step;
  bool transposed;
};

// Its output, which may be a strided subset of the stored pixels. Steps are in floats.
struct Place {
  float* data;
  int64_t sample, plane, row, pixel;
};

// Uninitialized memory that starts at a cache line. Each thread keeps some of what it frees.
struct Keep {
  void operator()(float* data) const;
};
using Floats = std::unique_ptr<float[], Keep>;
Floats Allocate(int64_t count);

// The columns of a kernel in groups of one or two registers, the last one padded with zeros.
struct Columns {
  int64_t width, groups;
};
Columns InGroups(const Shape& shape);

// Copies tap `at` as [c][width], starting at column `first`, with zeros after the last column.
void CopyTap(const Taps& kernel, const Shape& shape, const Triple& at, int64_t first, int64_t width,
             float* to);

// Splits `count` into parts of nearly equal size, at most `most`, and calls work(from, to) on each.
template <typename Work>
void Evenly(int64_t count, int64_t most, const Work& work) {
  const int64_t parts = DivideUp(count, most);
  for (int64_t i = 0; i < parts; ++i) work(count * i / parts, count * (i + 1) / parts);
}

// ---- with fewer products: Winograd -------------------------------------------------------------

constexpr int64_t kPoints = 16;   // per patch of 2 x 2 pixels
constexpr int kLongestReach = 6;  // of the patches' input pixels, down or across

// The step from point to point, at least `size` floats. With steps of a power of two, all points
// would compete for the same few cache lines.
inline int64_t Apart(int64_t size) { return DivideUp(size, 1024) * 1024 + 64; }

// Whether every plane of the output depends on the same plane of the input alone.
inline bool PlaneByPlane(const Shape& shape) {
  return shape.taps[0] == 1 && shape.low[0] == 0 && shape.in[0] == shape.out[0];
}

// 3 x 3 taps in a plane (winograd.cc).
// Whether the algorithm applies and a sample has at least so many patches of 2 x 2 pixels. (The
// size of the batch does not count: a sample's result must not depend on the number of others.)
bool ByWinograd(const Shape& shape, int64_t least_patches);
void WinogradConvolve(xla::ffi::ThreadPool& pool, Shape shape, int64_t batch, const float* in,
                      const Taps& kernel, Place out, const Epilogue& then);
void WinogradKernelGradients(xla::ffi::ThreadPool& pool, Shape shape, int64_t batch,
                             const float* in, const float* gradient, float* out);

// Images with more taps, or with channels that do not fill whole registers (winograd_wide.cc). The
// patches are those of one image.
bool ByWideWinograd(const Shape& shape, int64_t least_patches);
void WideWinogradConvolve(xla::ffi::ThreadPool& pool, const Shape& shape, int64_t batch,
                          const float* in, const Taps& kernel, const Place& out,
                          const Epilogue& then);
void WideWinogradKernelGradients(xla::ffi::ThreadPool& pool, const Shape& shape, int64_t batch,
                                 const float* in, const float* gradient, float* out);

}  // namespace handjax
