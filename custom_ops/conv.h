// What the ways to convolve have in common: which convolution it is, and where its arrays lie.

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

// One convolution of volumes: out[o] = sum over taps t and channels of in[o * stride + t - low] * kernel[t].
struct Shape {
  Triple in, out, taps, stride, low;
  int64_t channels, columns;  // of the input, of the output
};

// Its kernel: tap t is first + t * step of what is stored, [size][c][o], or [size][o][c] where it is transposed.
struct Taps {
  const float* stored;
  Triple size, first, step;
  bool transposed;
};

// Where its output lies, which may be some of the pixels of what is stored: steps in floats.
struct Place {
  float* data;
  int64_t sample, plane, row, pixel;
};

// Memory that is not cleared.
using Floats = std::unique_ptr<float[]>;
Floats Allocate(int64_t count);

// The columns of a kernel in groups of one or two registers, the last one filled up with zeros.
struct Columns {
  int64_t width, groups;
};
Columns InGroups(const Shape& shape);

// Tap `at` as [c][width], from column `first` on, with zeros after the last column.
void CopyTap(const Taps& kernel, const Shape& shape, const Triple& at, int64_t first, int64_t width, float* to);

// `count` in parts of nearly the same size, none above `most`: calls work(from, to).
template <typename Work>
void Evenly(int64_t count, int64_t most, const Work& work) {
  const int64_t parts = DivideUp(count, most);
  for (int64_t i = 0; i < parts; ++i) work(count * i / parts, count * (i + 1) / parts);
}

// ---- with fewer products -------------------------------------------------------------------------------------------

constexpr int64_t kPoints = 16;  // of a patch

// A step from point to point, at least `size` floats: 16 steps of a power of two would all meet in the same few lines of the cache.
inline int64_t Apart(int64_t size) { return DivideUp(size, 1024) * 1024 + 64; }

// Whether every plane of the output comes of one of the input, the same one.
inline bool PlaneByPlane(const Shape& shape) { return shape.taps[0] == 1 && shape.low[0] == 0 && shape.in[0] == shape.out[0]; }

// 3 x 3 taps in a plane (winograd.cc).
// Whether a convolution can be done that way, and a sample has as many patches of 2 x 2 pixels. (Those of the whole batch do not count,
// or a sample's numbers would hang on how many others there are.)
bool ByWinograd(const Shape& shape, int64_t least_patches);
void WinogradConvolve(xla::ffi::ThreadPool& pool, Shape shape, int64_t batch, const float* in, const Taps& kernel, Place out);
void WinogradKernelGradients(xla::ffi::ThreadPool& pool, Shape shape, int64_t batch, const float* in, const float* gradient, float* out);

// Of pictures: more taps, or channels that are no whole registers (winograd_wide.cc). The patches are those of one picture.
bool ByWideWinograd(const Shape& shape, int64_t least_patches);
void WideWinogradConvolve(xla::ffi::ThreadPool& pool, const Shape& shape, int64_t batch, const float* in, const Taps& kernel,
                          const Place& out);
void WideWinogradKernelGradients(xla::ffi::ThreadPool& pool, const Shape& shape, int64_t batch, const float* in, const float* gradient,
                                 float* out);

}  // namespace handjax
