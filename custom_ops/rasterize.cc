// The rasterizer on the CPU. Samples, and bands of rows if there are few samples, are distributed
// over XLA's threads. Within a band the faces are drawn in order, so the lowest face wins at equal
// depths.

#include "rasterize.h"

#include <algorithm>

#include "checks.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace handjax {
namespace {

#if defined(__x86_64__) && defined(__gnu_linux__)
#define HANDJAX_EVERY_CPU \
  __attribute__((target_clones("default", "avx2")))  // chosen when the library is loaded
#else
#define HANDJAX_EVERY_CPU
#endif

constexpr int kLanes = 8;  // pixels of a row per vectorized step

struct Image {
  int height, width, culled;
  float near, background;
};

// Draws rows y0 to y1 of one sample, whose images start at `depth` and `face`.
HANDJAX_EVERY_CPU void Draw(const float* screen, int64_t vertices, const int32_t* faces,
                            int64_t count, const Image& image, int y0, int y1, float* depth,
                            int32_t* face) {
  const int width = image.width, culled = image.culled;
  const float near = image.near;
  depth += int64_t{y0} * width, face += int64_t{y0} * width;
  std::fill_n(depth, int64_t{y1 - y0} * width, image.background);
  std::fill_n(face, int64_t{y1 - y0} * width, -1);
  Triangle t{};
  for (int64_t f = 0; f < count; ++f) {
    if (!Load(screen, vertices, faces + 3 * f, t)) continue;
    const Box box = Bounds(t, image.height, image.width);
    const int first = std::max(box.y0, y0), last = std::min(box.y1, y1 - 1);
    if (box.x0 > box.x1 || first > last) continue;
    FindSides(t);
    for (int y = first; y <= last; ++y) {
      float* depths = depth + int64_t{y - y0} * width;
      int32_t* seen = face + int64_t{y - y0} * width;
      // All reads come before all writes, and without branches; otherwise GCC does not vectorize.
      const auto draw = [&](int x) __attribute__((always_inline)) {
        float at;
        const bool covered =
            Fragment(t, static_cast<float>(x), static_cast<float>(y), culled, near, at);
        const float before = depths[x];
        const int32_t owner = seen[x];
        const bool closer = covered & (at < (owner < 0 ? INFINITY : before));
        depths[x] = closer ? at : before;
        seen[x] = closer ? static_cast<int32_t>(f) : owner;
      };
      if (width < kLanes) {
        for (int x = box.x0; x <= box.x1; ++x) draw(x);
        continue;
      }
      // Always full groups of pixels, the last one shifted back into the row. Pixels outside the
      // box are not covered, and testing them is free: most boxes are narrower than a group.
      for (int x = box.x0; x <= box.x1; x += kLanes) {
        const int start = std::min(x, width - kLanes);
#pragma GCC ivdep
        for (int i = 0; i < kLanes; ++i) draw(start + i);
      }
    }
  }
}

ffi::Error Rasterize(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> screen,
                     ffi::Buffer<ffi::S32> faces, ffi::ResultBuffer<ffi::F32> depth,
                     ffi::ResultBuffer<ffi::S32> face, int32_t culled, float near,
                     float background) {
  Sizes n;
  if (ffi::Error error = CheckSizes(screen.dimensions(), faces.dimensions(), depth->dimensions(),
                                    face->dimensions(), n);
      error.failure())
    return error;
  const Image image{static_cast<int>(n.height), static_cast<int>(n.width), culled, near,
                    background};
  // Twice as many pieces as threads, of at least 32 rows: every piece goes through all faces of its
  // sample.
  const int64_t wanted = n.batch ? (2 * pool.num_threads() + n.batch - 1) / n.batch : 0;
  const int64_t bands = std::max<int64_t>(1, std::min(wanted, n.height / 32));
  ParallelFor(pool, n.batch * bands, [&](int64_t i) {
    const int64_t sample = i / bands, band = i % bands, pixels = n.height * n.width;
    const int64_t y0 = n.height * band / bands, y1 = n.height * (band + 1) / bands;
    Draw(screen.typed_data() + 4 * n.vertices * sample, n.vertices,
         faces.typed_data() + (n.shared ? 0 : 3 * n.faces * sample), n.faces, image,
         static_cast<int>(y0), static_cast<int>(y1), depth->typed_data() + pixels * sample,
         face->typed_data() + pixels * sample);
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace handjax

XLA_FFI_DEFINE_HANDLER_SYMBOL(handjax_rasterize, handjax::Rasterize,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::S32>>()
                                  .Attr<int32_t>("culled")
                                  .Attr<float>("near")
                                  .Attr<float>("background"));
