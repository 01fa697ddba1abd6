// Exported symbols, and shape checks shared by the rasterizer's CPU and CUDA handlers.

#pragma once

#include <cstdint>
#include <string>

#include "rasterize.h"
#include "xla/ffi/api/ffi.h"

// The libraries export the version of the jaxlib whose headers were compiled in (with an older
// jaxlib the loader registers nothing) and the handlers.
extern "C" {
__attribute__((visibility("default"))) const char* handjax_jaxlib();
__attribute__((visibility("default"))) XLA_FFI_Error* handjax_rasterize(XLA_FFI_CallFrame*);
__attribute__((visibility("default"))) XLA_FFI_Error* handjax_conv(XLA_FFI_CallFrame*);
__attribute__((visibility("default"))) XLA_FFI_Error* handjax_conv_input(XLA_FFI_CallFrame*);
__attribute__((visibility("default"))) XLA_FFI_Error* handjax_conv_kernel(XLA_FFI_CallFrame*);
__attribute__((visibility("default"))) XLA_FFI_Error* handjax_conv_affine(XLA_FFI_CallFrame*);
__attribute__((visibility("default"))) XLA_FFI_Error* handjax_conv_input_affine(XLA_FFI_CallFrame*);
__attribute__((visibility("default"))) XLA_FFI_Error* handjax_sums(XLA_FFI_CallFrame*);
__attribute__((visibility("default"))) XLA_FFI_Error* handjax_stored(XLA_FFI_CallFrame*);
}

namespace handjax {

struct Sizes {
  int64_t batch, vertices, faces, height, width;
  bool shared;  // one face list for all samples
};

inline std::string Text(xla::ffi::Span<const int64_t> shape) {
  std::string text = "[";
  for (int64_t n : shape) {
    if (text.size() > 1) text += ' ';
    text += std::to_string(n);
  }
  return text + "]";
}

inline xla::ffi::Error CheckSizes(xla::ffi::Span<const int64_t> screen,
                                  xla::ffi::Span<const int64_t> faces,
                                  xla::ffi::Span<const int64_t> depth,
                                  xla::ffi::Span<const int64_t> face, Sizes& n) {
  using xla::ffi::Error;
  if (screen.size() != 3 || screen[2] != 4)
    return Error::InvalidArgument("screen is " + Text(screen) + ": expected [b v 4]");
  n.batch = screen[0], n.vertices = screen[1];
  n.shared = faces.size() == 2;
  if (!(n.shared || (faces.size() == 3 && faces[0] == n.batch)) || faces.back() != 3)
    return Error::InvalidArgument("faces are " + Text(faces) + ": expected [f 3] or [" +
                                  std::to_string(n.batch) + " f 3]");
  n.faces = faces[faces.size() - 2];
  if (depth.size() != 3 || depth[0] != n.batch)
    return Error::InvalidArgument("depth is " + Text(depth) + ": expected [b h w]");
  n.height = depth[1], n.width = depth[2];
  if (n.height > kLargestImage || n.width > kLargestImage)
    return Error::InvalidArgument("depth is " + Text(depth) + ": expected at most " +
                                  std::to_string(kLargestImage) + " pixels a side");
  if (face.size() != 3 || face[0] != n.batch || face[1] != n.height || face[2] != n.width)
    return Error::InvalidArgument("face is " + Text(face) + ": expected the shape of depth, " +
                                  Text(depth));
  if (n.faces > INT32_MAX)
    return Error::InvalidArgument("faces are " + Text(faces) + ": more than an int32 can count");
  return Error::Success();
}

}  // namespace handjax
