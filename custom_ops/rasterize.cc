// The rasterizer on the CPU. Samples, and bands of rows where there are few samples, are shared out over XLA's threads; within one
// the faces are drawn in order, so that of equal depths the lowest face stays.

#include "rasterize.h"

#include <algorithm>
#include <limits>

#include "checks.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace handjax {
namespace {

#if defined(__x86_64__) && defined(__gnu_linux__)
#define HANDJAX_EVERY_CPU __attribute__((target_clones("default", "avx2", "avx512f")))  // chosen when the library is loaded
#else
#define HANDJAX_EVERY_CPU
#endif

struct Image {
  int height, width, culled;
  float near, background;
};

// Rows y0 to y1 of one sample.
HANDJAX_EVERY_CPU void Draw(const float* screen, int64_t vertices, const int32_t* faces, int64_t count, const Image& image, int y0,
                            int y1, float* depth, int32_t* face) {
  const int64_t width = image.width;
  std::fill(depth + y0 * width, depth + y1 * width, std::numeric_limits<float>::infinity());
  std::fill(face + y0 * width, face + y1 * width, -1);
  const int culled = image.culled;
  const float near = image.near;
  Triangle t;
  for (int64_t f = 0; f < count; ++f) {
    if (!Load(screen, vertices, faces + 3 * f, t)) continue;
    const Box box = Bounds(t, image.height, image.width);
    const int last = std::min(box.y1, y1 - 1);
    for (int y = std::max(box.y0, y0); y <= last; ++y) {
      float* depths = depth + y * width;
      int32_t* seen = face + y * width;
      for (int x = box.x0; x <= box.x1; ++x) {
        const float at = Fragment(t, static_cast<float>(x), static_cast<float>(y), culled, near);
        const bool closer = at < depths[x];
        depths[x] = closer ? at : depths[x];
        seen[x] = closer ? static_cast<int32_t>(f) : seen[x];
      }
    }
  }
  for (int64_t i = y0 * width; i < y1 * width; ++i) depth[i] = face[i] < 0 ? image.background : depth[i];
}

ffi::Error Rasterize(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> screen, ffi::Buffer<ffi::S32> faces,
                     ffi::ResultBuffer<ffi::F32> depth, ffi::ResultBuffer<ffi::S32> face, int32_t culled, float near,
                     float background) {
  Sizes n;
  if (ffi::Error error = CheckSizes(screen.dimensions(), faces.dimensions(), depth->dimensions(), face->dimensions(), n);
      error.failure())
    return error;
  const Image image{static_cast<int>(n.height), static_cast<int>(n.width), culled, near, background};
  // Twice as many pieces as threads, and none thinner than some rows: every piece looks at all of its sample's faces.
  const int64_t wanted = n.batch ? (2 * pool.num_threads() + n.batch - 1) / n.batch : 0;
  const int64_t bands = std::max<int64_t>(1, std::min(wanted, n.height / 32));
  ParallelFor(pool, n.batch * bands, [&](int64_t i) {
    const int64_t sample = i / bands, band = i % bands, pixels = n.height * n.width;
    const int64_t y0 = n.height * band / bands, y1 = n.height * (band + 1) / bands;
    Draw(screen.typed_data() + 4 * n.vertices * sample, n.vertices, faces.typed_data() + (n.shared ? 0 : 3 * n.faces * sample),
         n.faces, image, static_cast<int>(y0), static_cast<int>(y1), depth->typed_data() + pixels * sample,
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
