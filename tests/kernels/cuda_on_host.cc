// Calls the rasterizer's CUDA handler on the host, with scenes from standard input and images to
// standard output, as test_cuda_on_host.py writes and reads them. With "no-barriers" on the command
// line __syncthreads does nothing.

#include <cstdlib>
#include <iostream>
#include <string_view>
#include <vector>

#include "rasterize_on_host.h"  // custom_ops/rasterize.cu, translated for the host

namespace {

struct Scene {
  int64_t batch, vertices, faces, shared, height, width, culled;
  float near, background;
};

template <typename T>
std::vector<T> Read(int64_t count) {
  std::vector<T> values(count);
  if (!std::cin.read(reinterpret_cast<char*>(values.data()), count * sizeof(T))) std::abort();
  return values;
}

template <typename T>
void Write(const std::vector<T>& values) {
  std::cout.write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <typename T>
XLA_FFI_Buffer Buffer(std::vector<T>& values, XLA_FFI_DataType type, std::vector<int64_t>& shape) {
  return {sizeof(XLA_FFI_Buffer),
          nullptr,
          type,
          values.data(),
          static_cast<int64_t>(shape.size()),
          shape.data()};
}

XLA_FFI_Error* Allocate(XLA_FFI_DeviceMemory_Allocate_Args* args) {
  args->data = std::malloc(args->size);
  return nullptr;
}

XLA_FFI_Error* Free(XLA_FFI_DeviceMemory_Free_Args* args) {
  std::free(args->data);
  return nullptr;
}

}  // namespace

int main(int count, char** words) {
  on_host::barriers_work = count < 2 || std::string_view(words[1]) != "no-barriers";
#ifdef __x86_64__
  // Flush denormals to 0, as XLA's threads do, and nvcc's --ftz=true.
  __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#endif
  XLA_FFI_Api api{};
  api.XLA_FFI_DeviceMemory_Allocate = Allocate;
  api.XLA_FFI_DeviceMemory_Free = Free;
  for (Scene n; std::cin.read(reinterpret_cast<char*>(&n), sizeof n);) {
    std::vector<float> screen = Read<float>(4 * n.batch * n.vertices);
    std::vector<int32_t> faces = Read<int32_t>(3 * n.faces * (n.shared ? 1 : n.batch));
    std::vector<float> depth(n.batch * n.height * n.width);
    std::vector<int32_t> face(depth.size());
    std::vector<int64_t> screen_shape{n.batch, n.vertices, 4},
        image_shape{n.batch, n.height, n.width}, faces_shape{n.faces, 3};
    if (!n.shared) faces_shape.insert(faces_shape.begin(), n.batch);

    XLA_FFI_Buffer screen_buffer = Buffer(screen, XLA_FFI_DataType_F32, screen_shape);
    XLA_FFI_Buffer faces_buffer = Buffer(faces, XLA_FFI_DataType_S32, faces_shape);
    XLA_FFI_Buffer depth_buffer = Buffer(depth, XLA_FFI_DataType_F32, image_shape);
    XLA_FFI_Buffer face_buffer = Buffer(face, XLA_FFI_DataType_S32, image_shape);
    ffi::DiagnosticEngine diagnostic;
    const ffi::Error error = handjax::Rasterize(
        nullptr, *ffi::CtxDecoding<ffi::ScratchAllocator>::Decode(&api, nullptr, diagnostic),
        ffi::Buffer<ffi::F32>(&screen_buffer), ffi::Buffer<ffi::S32>(&faces_buffer),
        ffi::Buffer<ffi::F32>(&depth_buffer), ffi::Buffer<ffi::S32>(&face_buffer),
        static_cast<int32_t>(n.culled), n.near, n.background);
    if (error.failure()) {
      std::cerr << error.message() << '\n';
      return 1;
    }
    Write(depth), Write(face);
  }
}
