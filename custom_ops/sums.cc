// Sums over the pixels of each sample and channel on the CPU, as batch and group normalization and
// their gradients need them; handjax/ops/sums.py has the definition. Pieces of fixed size are added
// in order and in double precision, so the sums do not depend on the number of threads.

#include <algorithm>
#include <vector>

#include "checks.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

// Compiled for several instruction sets; the best one is chosen when the library is loaded.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define HANDJAX_EVERY_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define HANDJAX_EVERY_CPU
#endif

namespace handjax {
namespace {

constexpr int64_t kPiece = 4096;  // pixels per work item
constexpr int64_t kRun = 256;     // pixels added in single precision

// sum += x - x0 and product += (x - x0) (y - y0) over a run of pixels.
HANDJAX_EVERY_CPU void AddRun(const float* __restrict x, const float* __restrict y,
                              const float* __restrict x0, const float* __restrict y0,
                              int64_t pixels, int64_t channels, float* __restrict sum,
                              float* __restrict product) {
  int64_t p = 0;
  for (; p + 4 <= pixels; p += 4, x += 4 * channels, y += 4 * channels)
    for (int64_t c = 0; c < channels; ++c) {
      const float a = x[c] - x0[c], b = x[c + channels] - x0[c];
      const float d = x[c + 2 * channels] - x0[c], e = x[c + 3 * channels] - x0[c];
      sum[c] += (a + b) + (d + e);
      product[c] += (a * (y[c] - y0[c]) + b * (y[c + channels] - y0[c])) +
                    (d * (y[c + 2 * channels] - y0[c]) + e * (y[c + 3 * channels] - y0[c]));
    }
  for (; p < pixels; ++p, x += channels, y += channels)
    for (int64_t c = 0; c < channels; ++c) {
      const float a = x[c] - x0[c];
      sum[c] += a;
      product[c] += a * (y[c] - y0[c]);
    }
}

ffi::Error Sums(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> y,
                ffi::Buffer<ffi::F32> x0, ffi::Buffer<ffi::F32> y0,
                ffi::ResultBuffer<ffi::F32> out) {
  const auto shape = x.dimensions(), wanted = out->dimensions();
  if (shape.size() < 2 || y.dimensions() != shape)
    return ffi::Error::InvalidArgument("x is " + Text(shape) + ", y " + Text(y.dimensions()) +
                                       ": expected [b ... c], both alike");
  const int64_t batch = shape[0], channels = shape.back();
  int64_t pixels = 1;
  for (size_t axis = 1; axis + 1 < shape.size(); ++axis) pixels *= shape[axis];
  const auto fits = [&](ffi::Span<const int64_t> from) {
    return from.size() == 2 && (from[0] == batch || from[0] == 1) && from[1] == channels;
  };
  if (!fits(x0.dimensions()) || !fits(y0.dimensions()))
    return ffi::Error::InvalidArgument(
        "origins are " + Text(x0.dimensions()) + " and " + Text(y0.dimensions()) + ": expected [" +
        std::to_string(batch) + " " + std::to_string(channels) + "], or one for all samples");
  if (wanted.size() != 3 || wanted[0] != batch || wanted[1] != 2 || wanted[2] != channels)
    return ffi::Error::InvalidArgument("sums are " + Text(wanted) + ": expected [" +
                                       std::to_string(batch) + " 2 " + std::to_string(channels) +
                                       "]");
  const int64_t pieces = std::max<int64_t>(1, (pixels + kPiece - 1) / kPiece);
  const int64_t step_x0 = x0.dimensions()[0] == 1 ? 0 : channels,
                step_y0 = y0.dimensions()[0] == 1 ? 0 : channels;
  std::vector<double> totals(batch * pieces * 2 * channels, 0.0);
  ParallelFor(pool, batch * pieces, [&](int64_t i) {
    const int64_t b = i / pieces, first = i % pieces * kPiece,
                  end = std::min(first + kPiece, pixels);
    std::vector<float> run(2 * channels);
    double* total = totals.data() + i * 2 * channels;
    for (int64_t p = first; p < end; p += kRun) {
      std::fill(run.begin(), run.end(), 0.0f);
      const int64_t at = (b * pixels + p) * channels;
      AddRun(x.typed_data() + at, y.typed_data() + at, x0.typed_data() + b * step_x0,
             y0.typed_data() + b * step_y0, std::min(kRun, end - p), channels, run.data(),
             run.data() + channels);
      for (int64_t c = 0; c < 2 * channels; ++c) total[c] += run[c];
    }
  });
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < 2 * channels; ++c) {
      double sum = 0;
      for (int64_t piece = 0; piece < pieces; ++piece)
        sum += totals[(b * pieces + piece) * 2 * channels + c];
      out->typed_data()[b * 2 * channels + c] = static_cast<float>(sum);
    }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace handjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(handjax_sums, handjax::Sums,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
