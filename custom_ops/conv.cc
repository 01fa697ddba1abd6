// Convolutions on the CPU, channels last: forward, gradient to the input, gradient to the kernel,
// and the first two with an epilogue; handjax/ops/conv.py and conv_affine.py have the definitions.
// Work is distributed over XLA's threads in pieces whose results do not overlap, and sums over
// pieces are taken in a fixed order, so equal arguments give equal bits.

#include "conv.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "checks.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ffi = xla::ffi;

namespace handjax {

const Tiles& TilesOfThisCpu() {
  static const Tiles& tiles = []() -> const Tiles& {
#if defined(__x86_64__)
    // "avx2" or "any" in tests: run as a lesser machine would.
    const char* name = std::getenv("HANDJAX_TILES");
    const std::string wanted = name ? name : "";
    if (wanted.empty() && __builtin_cpu_supports("avx512f")) return kTilesAvx512;
    if (wanted != "any" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      return kTilesAvx2;
#endif
    return kTilesAnyCpu;
  }();
  return tiles;
}

namespace {

// Lets memory that is about to be written for the first time come in pages of 2 MB. XLA's large
// buffers are new in every call, and with small pages their first touch takes a fifth of a training
// step.
void UseLargePages(void* data, size_t bytes) {
#if defined(__linux__)
  constexpr uintptr_t page = uintptr_t{1} << 21;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / page * page;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
}

// Freed memory of a thread, by size. Work items ask for the same few sizes again and again, for
// which malloc took a tenth of the step of a small network. Of larger blocks it costs little.
constexpr int kSizes = 17;                      // 4 KB, 6 KB, 8 KB, 12 KB, … 1 MB
constexpr size_t kMostBytes = size_t{8} << 20;  // that a thread keeps
constexpr std::align_val_t kCacheLine{64};

struct Block {  // in front of the data, which starts at the next cache line
  Block* next;
  int size;  // index, or kSizes for a larger block
};

size_t BytesOf(int size) { return (size % 2 ? size_t{6144} : size_t{4096}) << (size / 2); }

class Kept {
 public:
  ~Kept() { Clear(); }

  Block* Take(int size) {
    Block* block = first_[size];
    if (block) first_[size] = block->next, bytes_ -= BytesOf(size);
    return block;
  }

  // What was kept before is given up when there is too much: another network has other sizes.
  void Keep(Block* block) {
    const size_t bytes = BytesOf(block->size);
    if (bytes_ + bytes > kMostBytes) Clear();
    block->next = first_[block->size];
    first_[block->size] = block, bytes_ += bytes;
  }

 private:
  void Clear() {
    for (Block*& first : first_)
      while (Block* block = first) {
        first = block->next;
        ::operator delete(block, kCacheLine);
      }
    bytes_ = 0;
  }

  Block* first_[kSizes] = {};
  size_t bytes_ = 0;
};

thread_local Kept kept;

}  // namespace

Floats Allocate(int64_t count) {
  constexpr size_t header = static_cast<size_t>(kCacheLine);
  size_t bytes = std::max<int64_t>(count, 1) * sizeof(float) + header;
  int size = 0;
  while (size < kSizes && BytesOf(size) < bytes) ++size;
  Block* block = nullptr;
  if (size < kSizes) block = kept.Take(size), bytes = BytesOf(size);
  if (!block) {
    block = new (::operator new(bytes, kCacheLine)) Block{nullptr, size};
    UseLargePages(block, bytes);
  }
  return Floats(reinterpret_cast<float*>(reinterpret_cast<char*>(block) + header));
}

void Keep::operator()(float* data) const {
  Block* block =
      reinterpret_cast<Block*>(reinterpret_cast<char*>(data) - static_cast<size_t>(kCacheLine));
  if (block->size < kSizes)
    kept.Keep(block);
  else
    ::operator delete(block, kCacheLine);
}

Columns InGroups(const Shape& shape) {
  const int64_t lanes = TilesOfThisCpu().lanes,
                width = std::min<int64_t>(2, DivideUp(shape.columns, lanes)) * lanes;
  return {width, DivideUp(shape.columns, width)};
}

namespace {

constexpr int64_t kLine = 16;  // floats: one cache line

// Copies channels c0 to c1 of what CopyTap copies; `to` is where the tap starts.
void CopyChannels(const Taps& kernel, const Shape& shape, const Triple& at, int64_t first,
                  int64_t width, int64_t c0, int64_t c1, float* to) {
  int64_t from = 0;
  for (int axis = 0; axis < 3; ++axis)
    from = from * kernel.size[axis] + kernel.first[axis] + kernel.step[axis] * at[axis];
  const float* block = kernel.stored + from * shape.channels * shape.columns;
  const int64_t columns = std::min(width, shape.columns - first);
  if (kernel.transposed) {
    for (int64_t line = c0; line < c1; line += kLine)
      for (int64_t o = 0; o < columns; ++o)
        for (int64_t c = line; c < std::min(line + kLine, c1); ++c)
          to[c * width + o] = block[(first + o) * shape.channels + c];
  }
  for (int64_t c = c0; c < c1; ++c) {
    if (!kernel.transposed)
      std::memcpy(to + c * width, block + c * shape.columns + first, columns * sizeof(float));
    std::fill(to + c * width + columns, to + (c + 1) * width, 0.0f);
  }
}

}  // namespace

void CopyTap(const Taps& kernel, const Shape& shape, const Triple& at, int64_t first, int64_t width,
             float* to) {
  CopyChannels(kernel, shape, at, first, width, 0, shape.channels, to);
}

namespace {

// ---- rows of the input, with their padding -----------------------------------------------------

// The input rows needed by some output rows, each as one run of numbers in which the products of
// neighbouring pixels start a constant step apart: in place if the kernel stays inside, otherwise
// copied with zeros at both ends.
class Rows {
 public:
  Rows(const Shape& shape, int64_t most_rows, bool sparse) : shape_(shape), sparse_(sparse) {
    length_ = (shape.out[2] - 1) * shape.stride[2] + shape.taps[2];
    in_place_ = shape.low[2] == 0 && length_ <= shape.in[2];
    planes_ = shape.taps[0], lines_ = (most_rows - 1) * shape.stride[1] + shape.taps[1];
    starts_.resize(planes_ * lines_);
    if (!in_place_) copies_ = Allocate(planes_ * lines_ * length_ * shape.channels);
    if (!sparse) return;
    found_.resize(planes_ * lines_);
    positions_ = std::unique_ptr<int32_t[]>(new int32_t[planes_ * lines_ * length_]);
    values_ = Allocate(planes_ * lines_ * length_);
  }

  // Prepares output rows y0 to y1 of plane z, of the sample at `in`.
  void Take(const float* in, int64_t z, int64_t y0, int64_t y1) {
    const int64_t c = shape_.channels;
    for (int64_t i = 0; i < planes_; ++i)
      for (int64_t j = 0; j < (y1 - 1 - y0) * shape_.stride[1] + shape_.taps[1]; ++j) {
        const int64_t plane = z * shape_.stride[0] - shape_.low[0] + i,
                      line = y0 * shape_.stride[1] - shape_.low[1] + j;
        const float*& start = starts_[i * lines_ + j];
        start = nullptr;
        if (plane < 0 || plane >= shape_.in[0] || line < 0 || line >= shape_.in[1]) continue;
        start = in + (plane * shape_.in[1] + line) * shape_.in[2] * c;
        if (sparse_) Find(i * lines_ + j, start);
        if (in_place_ || sparse_) continue;
        float* copy = copies_.get() + (i * lines_ + j) * length_ * c;
        const int64_t before = std::clamp<int64_t>(shape_.low[2], 0, length_);
        const int64_t end = std::clamp<int64_t>(shape_.in[2] + shape_.low[2], before, length_);
        std::memset(copy, 0, before * c * sizeof(float));
        std::memcpy(copy + before * c, start + (before - shape_.low[2]) * c,
                    (end - before) * c * sizeof(float));
        std::memset(copy + end * c, 0, (length_ - end) * c * sizeof(float));
        start = copy;
      }
  }

  // The row that tap (i, j) meets for output row y0 + y; null if it lies outside (all zeros).
  const float* At(int64_t i, int64_t j, int64_t y) const {
    return starts_[i * lines_ + y * shape_.stride[1] + j];
  }
  SparseRow FoundAt(int64_t i, int64_t j, int64_t y) const {
    const int64_t n = i * lines_ + y * shape_.stride[1] + j;
    return {found_[n], positions_.get() + n * length_, values_.get() + n * length_};
  }
  int64_t step() const { return shape_.stride[2] * shape_.channels; }

 private:
  // Collects the nonzero values of row n and their positions, padding included.
  void Find(int64_t n, const float* row) {
    int64_t count = 0;
    int32_t* at = positions_.get() + n * length_;
    float* value = values_.get() + n * length_;
    const int64_t first = std::max<int64_t>(0, -shape_.low[2]),
                  end = std::min(shape_.in[2], length_ - shape_.low[2]);
    for (int64_t x = first; x < end; ++x)
      if (row[x] != 0.0f) {
        at[count] = static_cast<int32_t>(x + shape_.low[2]);
        value[count++] = row[x];
      }
    found_[n] = count;
  }

  Shape shape_;
  bool sparse_;
  int64_t length_, planes_, lines_;
  bool in_place_;
  std::vector<const float*> starts_;
  Floats copies_;
  std::vector<int64_t> found_;
  std::unique_ptr<int32_t[]> positions_;
  Floats values_;
};

// Whether to process nonzero values one by one, which pays for the occupancy of a grid: one channel
// and mostly zeros.
bool Sparse(const Shape& shape, int64_t batch, const float* in) {
  if (shape.channels != 1 || shape.stride[2] != 1 || shape.columns % TilesOfThisCpu().lanes)
    return false;
  const int64_t size = batch * shape.in[0] * shape.in[1] * shape.in[2];
  int64_t found = 0;
  for (int64_t i = 0; i < size; ++i) found += in[i] != 0.0f;
  return found < size / 8;
}

// Number of output rows processed together: enough pixels to amortize the copies and the loading of
// the kernel into the cache, but no more than fit into the level-2 cache.
int64_t RowsTogether(const Shape& shape, int64_t pixels) {
  const int64_t row = ((shape.out[2] - 1) * shape.stride[2] + shape.taps[2]) * shape.channels *
                      shape.taps[0] * sizeof(float);
  const int64_t fit =
      (192 * 1024 / std::max<int64_t>(row, 1) - shape.taps[1]) / shape.stride[1] + 1;
  return std::clamp<int64_t>(std::min(DivideUp(pixels, shape.out[2]), fit), 1, shape.out[1]);
}

// ---- forward, and the gradient to the input ----------------------------------------------------

// Tap `t` of a kernel, counted over all axes.
Triple TapAt(const Shape& shape, int64_t t) {
  return {t / (shape.taps[1] * shape.taps[2]), t / shape.taps[2] % shape.taps[1],
          t % shape.taps[2]};
}

// Packs a group of columns as the tiles read it: [tap][channel][column of the group].
void PackGroup(const Shape& shape, const Taps& kernel, const Columns& columns, int64_t group,
               float* to) {
  for (int64_t t = 0; t < Product(shape.taps); ++t, to += shape.channels * columns.width)
    CopyTap(kernel, shape, TapAt(shape, t), group * columns.width, columns.width, to);
}

// Packs a whole kernel, [group of columns] of the above, reading it about once from front to back:
// group by group, memory gives a third less.
Floats Pack(ffi::ThreadPool& pool, const Shape& shape, const Taps& kernel, const Columns& columns) {
  const int64_t taps = Product(shape.taps), tap = shape.channels * columns.width,
                lines = DivideUp(shape.channels, kLine), all = taps * lines;
  Floats packed = Allocate(columns.groups * taps * tap);
  const int64_t parts = std::min<int64_t>(all, 4 * pool.num_threads());
  ParallelFor(pool, parts, [&](int64_t part) {
    for (int64_t n = all * part / parts; n < all * (part + 1) / parts; ++n) {
      const int64_t t = n / lines, c = n % lines * kLine;
      for (int64_t group = 0; group < columns.groups; ++group)
        CopyChannels(kernel, shape, TapAt(shape, t), group * columns.width, columns.width, c,
                     std::min(c + kLine, shape.channels), packed.get() + (group * taps + t) * tap);
    }
  });
  return packed;
}

// A single image whose pixels fit into one band, as in the deep layers of a network.
bool FewPixels(const Shape& shape, int64_t batch) {
  return batch == 1 && shape.out[0] == 1 && shape.out[1] * shape.out[2] <= 128;
}

// Of few pixels, each of which meets one tap, all in one row: tiles are then full.
Shape InOneRow(Shape shape, const Place& out) {
  if (Product(shape.taps) == 1 && shape.in == shape.out && shape.low == Triple{} &&
      shape.stride == Triple{1, 1, 1} && out.row == shape.out[2] * out.pixel)
    shape.in = shape.out = {1, 1, shape.out[1] * shape.out[2]};
  return shape;
}

void Convolve(ffi::ThreadPool& pool, const Shape& given, int64_t batch, const float* in,
              const Taps& kernel, const Place& out, const Epilogue& then) {
  const bool few = FewPixels(given, batch);
  const Shape shape = few ? InOneRow(given, out) : given;
  // With few patches, computing the kernel's points costs more than it saves.
  if (ByWinograd(shape, 32)) return WinogradConvolve(pool, shape, batch, in, kernel, out, then);
  if (ByWideWinograd(shape, 32))
    return WideWinogradConvolve(pool, shape, batch, in, kernel, out, then);
  const Tiles& tiles = TilesOfThisCpu();
  const Columns all = InGroups(shape);
  const int64_t together = few ? shape.out[1] : RowsTogether(shape, 128),
                bands = DivideUp(shape.out[1], together);
  const int64_t places = batch * shape.out[0] * bands;
  // For few pixels a kernel is packed group by group, by who needs the group: it then stays in the
  // cache instead of going through memory, which would take longer than the products.
  const Floats packed = few ? nullptr : Pack(pool, shape, kernel, all);
  // If there are few places, the columns are distributed as well.
  const int64_t shares =
      std::clamp<int64_t>(DivideUp(4 * pool.num_threads(), places), 1, all.groups);
  const int64_t sample = shape.in[0] * shape.in[1] * shape.in[2] * shape.channels;
  const int64_t lines = shape.taps[0] * shape.taps[1];
  const int64_t row_of_taps = shape.taps[2] * shape.channels * all.width,
                registers = all.width / tiles.lanes;
  const bool sparse = Sparse(shape, batch, in);
  ParallelFor(pool, places * shares, [&](int64_t i) {
    const int64_t share = i % shares, place = i / shares;
    const int64_t band = place % bands, z = place / bands % shape.out[0],
                  b = place / bands / shape.out[0];
    const int64_t y0 = shape.out[1] * band / bands, y1 = shape.out[1] * (band + 1) / bands;
    Rows rows(shape, y1 - y0, sparse);
    rows.Take(in + b * sample, z, y0, y1);
    std::vector<const float*> a(lines), w(lines);
    const Floats own = few ? Allocate(lines * row_of_taps) : nullptr;
    // The sums of a row, which only later become pixels.
    const Floats sums = sparse && then.scale ? Allocate(shape.out[2] * all.width) : nullptr;
    for (int64_t group = all.groups * share / shares; group < all.groups * (share + 1) / shares;
         ++group) {
      const int64_t o0 = group * all.width;
      if (few) PackGroup(shape, kernel, all, group, own.get());
      const float* taps = few ? own.get() : packed.get() + group * lines * row_of_taps;
      for (int64_t y = y0; y < y1; ++y) {
        float* to = out.data + b * out.sample + z * out.plane + y * out.row + o0;
        const int64_t columns = std::min(all.width, shape.columns - o0);
        const Epilogue finish = then.From(o0, to - out.data);
        if (sparse) {
          float* row = sums ? sums.get() : to;
          const int64_t pixel = sums ? columns : out.pixel;
          for (int64_t x = 0; x < shape.out[2]; ++x) std::fill_n(row + x * pixel, columns, 0.0f);
          for (int64_t n = 0; n < lines; ++n)
            if (rows.At(n / shape.taps[1], n % shape.taps[1], y - y0))
              tiles.spread({rows.FoundAt(n / shape.taps[1], n % shape.taps[1], y - y0),
                            shape.taps[2], shape.out[2], columns, all.width, pixel},
                           taps + n * row_of_taps, row);
          if (sums) tiles.finish({shape.out[2], columns, out.pixel}, finish, row, to);
          continue;
        }
        int64_t count = 0;
        for (int64_t n = 0; n < lines; ++n)
          if (const float* row = rows.At(n / shape.taps[1], n % shape.taps[1], y - y0)) {
            a[count] = row;
            w[count++] = taps + n * row_of_taps;
          }
        TileJob job{
            count,       a.data(), w.data(),  0,       0,         shape.taps[2] * shape.channels,
            rows.step(), 1,        all.width, nullptr, out.pixel, static_cast<int>(columns),
            false,       nullptr,  finish};
        Evenly(shape.out[2], tiles.height, [&](int64_t x0, int64_t x1) {
          job.a_offset = x0 * rows.step();
          job.out = to + x0 * out.pixel;
          job.then = finish.From(0, x0 * out.pixel);
          tiles.by_row[registers - 1][x1 - x0 - 1](job);
        });
      }
    }
  });
}

// ---- gradient to the kernel --------------------------------------------------------------------

// Writes [taps][c][o] to `out`, from the inputs and the output gradients of all samples. Their rows
// are cut into slabs, whose sums are added in order. Sums are stored compactly, as
// [group of columns][line of taps][tap and channel][column].
void KernelGradients(ffi::ThreadPool& pool, const Shape& shape, int64_t batch, const float* in,
                     const float* gradient, float* out) {
  if (ByWinograd(shape, 1)) return WinogradKernelGradients(pool, shape, batch, in, gradient, out);
  // A larger kernel has many sums, whatever the size of the image.
  if (ByWideWinograd(shape, 32))
    return WideWinogradKernelGradients(pool, shape, batch, in, gradient, out);
  const Tiles& tiles = TilesOfThisCpu();
  const auto [width, groups] = InGroups(shape);
  const int64_t padded = DivideUp(shape.columns, tiles.lanes) * tiles.lanes;
  const int64_t lines = shape.taps[0] * shape.taps[1], across = shape.taps[2] * shape.channels;
  const int64_t together = RowsTogether(shape, 96), bands = DivideUp(shape.out[1], together),
                places = shape.out[0] * bands;
  // A piece of the sums fits into the level-2 cache. If there are few pieces, several slabs keep
  // more threads busy, each with enough pixels to pay for writing and adding its sums. Neither
  // depends on the number of threads, and so the sums do not.
  const int64_t piece = across * width, most = std::max<int64_t>(1, 96 * 1024 / piece);
  const int64_t pieces = DivideUp(lines * groups, most);
  const int64_t slabs = std::clamp<int64_t>(std::min(32 / pieces, batch * Product(shape.out) / 512),
                                            1, batch * places);
  const int64_t sample = shape.in[0] * shape.in[1] * shape.in[2] * shape.channels;
  const int64_t sample_out = shape.out[0] * shape.out[1] * shape.out[2] * shape.columns;
  const bool sparse = Sparse(shape, batch, in);
  const Floats sums = Allocate(slabs * lines * groups * piece);

  ParallelFor(pool, slabs * pieces, [&](int64_t i) {
    const int64_t slab = i / pieces;
    const int64_t piece0 = lines * groups * (i % pieces) / pieces,
                  piece1 = lines * groups * (i % pieces + 1) / pieces;
    float* sum = sums.get() + slab * lines * groups * piece;
    if (sparse) std::fill(sum + piece0 * piece, sum + piece1 * piece, 0.0f);
    Rows rows(shape, together, sparse);
    // The gradients of some groups of columns, one group after the other: [group][pixel][width].
    const int64_t group0 = piece0 / lines, group1 = (piece1 - 1) / lines + 1;
    const Floats gradients = Allocate((group1 - group0) * together * shape.out[2] * width);
    std::vector<const float*> a(together), g(together);
    const int64_t first = batch * places * slab / slabs;
    for (int64_t place = first; place < batch * places * (slab + 1) / slabs; ++place) {
      const int64_t b = place / places, z = place / bands % shape.out[0], band = place % bands;
      const int64_t y0 = shape.out[1] * band / bands, y1 = shape.out[1] * (band + 1) / bands;
      rows.Take(in + b * sample, z, y0, y1);
      const float* from =
          gradient + b * sample_out + (z * shape.out[1] + y0) * shape.out[2] * shape.columns;
      const int64_t pixels = (y1 - y0) * shape.out[2];
      for (int64_t pixel = 0; pixel < pixels; ++pixel)
        for (int64_t group = group0; group < group1; ++group) {
          const int64_t columns = std::min(width, shape.columns - group * width);
          float* to = gradients.get() + ((group - group0) * pixels + pixel) * width;
          std::memcpy(to, from + pixel * shape.columns + group * width, columns * sizeof(float));
          std::fill(to + columns, to + width, 0.0f);
        }
      for (int64_t n = piece0; n < piece1; ++n) {
        const int64_t group = n / lines, line = n % lines,
                      columns = std::min(width, padded - group * width);
        const float* own = gradients.get() + (group - group0) * pixels * width;
        if (sparse) {
          for (int64_t y = 0; y < y1 - y0; ++y)
            if (rows.At(line / shape.taps[1], line % shape.taps[1], y))
              tiles.gather({rows.FoundAt(line / shape.taps[1], line % shape.taps[1], y),
                            shape.taps[2], shape.out[2], columns, width, width},
                           sum + n * piece, own + y * shape.out[2] * width);
          continue;
        }
        int64_t count = 0;
        for (int64_t y = 0; y < y1 - y0; ++y)
          if (const float* row = rows.At(line / shape.taps[1], line % shape.taps[1], y)) {
            a[count] = row;
            g[count++] = own + y * shape.out[2] * width;
          }
        TileJob job{count,
                    a.data(),
                    g.data(),
                    0,
                    0,
                    shape.out[2],
                    1,
                    rows.step(),
                    width,
                    nullptr,
                    width,
                    static_cast<int>(columns),
                    place > first,
                    nullptr};
        Evenly(across, tiles.height, [&](int64_t c0, int64_t c1) {
          job.a_offset = c0;
          job.out = sum + n * piece + c0 * width;
          tiles.by_step[columns / tiles.lanes - 1][c1 - c0 - 1](job);
        });
      }
    }
  });

  const int64_t rows = lines * across, parts = std::min<int64_t>(rows, 4 * pool.num_threads());
  ParallelFor(pool, parts, [&](int64_t i) {
    for (int64_t row = rows * i / parts; row < rows * (i + 1) / parts; ++row)
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t columns = std::min(width, shape.columns - group * width);
        const float* from = sums.get() + group * lines * piece + row * width;
        float* to = out + row * shape.columns + group * width;
        std::copy(from, from + columns, to);
        for (int64_t slab = 1; slab < slabs; ++slab) {
          from += lines * groups * piece;
          for (int64_t o = 0; o < columns; ++o) to[o] += from[o];
        }
      }
  });
}

// ---- handlers called by XLA --------------------------------------------------------------------

using Dimensions = ffi::Span<const int64_t>;

// Checks the shapes of the three arrays of a convolution and its options, and fills in `shape`.
// There are as many axes as strides, one to three; missing axes get length 1. `shared` is false if
// `kernel` holds one kernel per sample.
ffi::Error Check(Dimensions in, Dimensions kernel, Dimensions out, Dimensions stride,
                 Dimensions low, Shape& shape, bool& shared) {
  using ffi::Error;
  const size_t axes = stride.size();
  if (axes < 1 || axes > 3 || low.size() != axes)
    return Error::InvalidArgument(
        "strides and padding: expected as many numbers each, one to three");
  const std::string space = std::string(" d h w").substr(2 * (3 - axes));
  if (in.size() != axes + 2)
    return Error::InvalidArgument("input is " + Text(in) + ": expected [b" + space + " c]");
  if (out.size() != axes + 2 || out[0] != in[0])
    return Error::InvalidArgument("output is " + Text(out) + ": expected [" +
                                  std::to_string(in[0]) + space + " o]");
  shared = kernel.size() == axes + 2;
  const size_t at = shared ? 0 : 1;
  if (!(shared || (kernel.size() == axes + 3 && kernel[0] == in[0])) ||
      kernel[at + axes] != in.back() || kernel.back() != out.back())
    return Error::InvalidArgument("kernel is " + Text(kernel) + ": expected [" + space.substr(1) +
                                  " " + std::to_string(in.back()) + " " +
                                  std::to_string(out.back()) + "], or one per sample");
  shape.in = shape.out = shape.taps = shape.stride = {1, 1, 1}, shape.low = {0, 0, 0};
  for (size_t i = 0, axis = 3 - axes; i < axes; ++i, ++axis) {
    shape.in[axis] = in[i + 1], shape.out[axis] = out[i + 1], shape.taps[axis] = kernel[at + i];
    shape.stride[axis] = stride[i], shape.low[axis] = low[i];
    if (stride[i] < 1)
      return Error::InvalidArgument("strides are " + Text(stride) + ": expected 1 or more");
  }
  shape.channels = in.back(), shape.columns = out.back();
  for (int64_t n :
       {in[0], shape.in[0] * shape.in[1] * shape.in[2], shape.out[0] * shape.out[1] * shape.out[2],
        shape.taps[0] * shape.taps[1] * shape.taps[2], shape.channels, shape.columns})
    if (n == 0)
      return Error::InvalidArgument("nothing to convolve: " + Text(in) + " with " + Text(kernel));
  return Error::Success();
}

ffi::Error Convolved(ffi::ThreadPool& pool, const ffi::Buffer<ffi::F32>& in,
                     const ffi::Buffer<ffi::F32>& kernel, ffi::ResultBuffer<ffi::F32>& out,
                     Dimensions stride, Dimensions low, const Epilogue& then) {
  Shape shape;
  bool shared;
  if (ffi::Error error = Check(in.dimensions(), kernel.dimensions(), out->dimensions(), stride, low,
                               shape, shared);
      error.failure())
    return error;
  UseLargePages(out->typed_data(), out->size_bytes());
  const int64_t batch = in.dimensions()[0], kernels = shared ? 1 : batch, samples = batch / kernels;
  const int64_t row = shape.out[2] * shape.columns, plane = shape.out[1] * row,
                sample = shape.out[0] * plane;
  for (int64_t n = 0; n < kernels; ++n) {
    const float* stored =
        kernel.typed_data() + n * Product(shape.taps) * shape.channels * shape.columns;
    const Taps taps{stored, shape.taps, {0, 0, 0}, {1, 1, 1}, false};
    Convolve(pool, shape, samples, in.typed_data() + n * Product(shape.in) * shape.channels, taps,
             {out->typed_data() + n * sample, sample, plane, row, shape.columns},
             then.From(0, n * sample));
  }
  return ffi::Error::Success();
}

// Gradient of the output → gradient of the input. Input pixels at equal positions modulo the
// strides meet the same taps, so each such set of pixels is a separate convolution without strides.
ffi::Error Transposed(ffi::ThreadPool& pool, const ffi::Buffer<ffi::F32>& gradient,
                      const ffi::Buffer<ffi::F32>& kernel, ffi::ResultBuffer<ffi::F32>& out,
                      Dimensions stride, Dimensions low, const Epilogue& then) {
  Shape whole;
  bool shared;
  if (ffi::Error error = Check(out->dimensions(), kernel.dimensions(), gradient.dimensions(),
                               stride, low, whole, shared);
      error.failure())
    return error;
  UseLargePages(out->typed_data(), out->size_bytes());
  const int64_t batch = gradient.dimensions()[0], kernels = shared ? 1 : batch,
                samples = batch / kernels;
  const int64_t row = whole.in[2] * whole.channels, plane = whole.in[1] * row,
                sample = whole.in[0] * plane;
  const int64_t sets = Product(whole.stride);
  bool every = true;  // whether every pixel meets some tap
  for (int axis = 0; axis < 3; ++axis) every &= whole.taps[axis] >= whole.stride[axis];
  if (!every && then.scale)
    return ffi::Error::InvalidArgument("strides are " + Text(stride) + ": more than the taps");
  if (!every) std::memset(out->typed_data(), 0, out->size_bytes());
  for (int64_t n = 0; n < kernels; ++n)
    for (int64_t set = 0; set < sets; ++set) {
      const Triple at = {set / (whole.stride[1] * whole.stride[2]),
                         set / whole.stride[2] % whole.stride[1], set % whole.stride[2]};
      Shape shape;
      Taps taps{kernel.typed_data() + n * Product(whole.taps) * whole.channels * whole.columns,
                whole.taps,
                {},
                {},
                true};
      bool any = true;
      for (int axis = 0; axis < 3; ++axis) {
        const int64_t s = whole.stride[axis];
        // The first of the taps that meet these pixels.
        const int64_t first = ((at[axis] + whole.low[axis]) % s + s) % s;
        shape.in[axis] = whole.out[axis];
        shape.out[axis] = at[axis] < whole.in[axis] ? DivideUp(whole.in[axis] - at[axis], s) : 0;
        shape.taps[axis] = first < whole.taps[axis] ? DivideUp(whole.taps[axis] - first, s) : 0;
        shape.stride[axis] = 1;
        shape.low[axis] = shape.taps[axis] - 1 - (at[axis] + whole.low[axis] - first) / s;
        taps.first[axis] = first + s * (shape.taps[axis] - 1);
        taps.step[axis] = -s;
        any &= shape.out[axis] > 0 && shape.taps[axis] > 0;
      }
      if (!any) continue;
      shape.channels = whole.columns, shape.columns = whole.channels;
      const int64_t start = n * sample + at[0] * plane + at[1] * row + at[2] * whole.channels;
      Convolve(pool, shape, samples, gradient.typed_data() + n * Product(whole.out) * whole.columns,
               taps,
               {out->typed_data() + start, sample, whole.stride[0] * plane, whole.stride[1] * row,
                whole.stride[2] * whole.channels},
               then.From(0, start));
    }
  return ffi::Error::Success();
}

ffi::Error Forward(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> in, ffi::Buffer<ffi::F32> kernel,
                   ffi::ResultBuffer<ffi::F32> out, Dimensions stride, Dimensions low) {
  return Convolved(pool, in, kernel, out, stride, low, {});
}

ffi::Error InputGradient(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> gradient,
                         ffi::Buffer<ffi::F32> kernel, ffi::ResultBuffer<ffi::F32> out,
                         Dimensions stride, Dimensions low) {
  return Transposed(pool, gradient, kernel, out, stride, low, {});
}

// The first two with scale and shift [o], and perhaps a residual of the output's shape.
template <auto kFunction>
ffi::Error Affine(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> in, ffi::Buffer<ffi::F32> kernel,
                  ffi::Buffer<ffi::F32> scale, ffi::Buffer<ffi::F32> shift,
                  ffi::RemainingArgs residual, ffi::ResultBuffer<ffi::F32> out, Dimensions stride,
                  Dimensions low, bool relu) {
  using ffi::Error;
  if (out->dimensions().size() != in.dimensions().size() ||
      kernel.dimensions().size() != in.dimensions().size())
    return Error::InvalidArgument("kernel is " + Text(kernel.dimensions()) + ", input " +
                                  Text(in.dimensions()) + ": expected one kernel for all samples");
  const int64_t columns = out->dimensions().size() ? out->dimensions().back() : 0;
  for (const auto& each : {scale, shift})
    if (each.dimensions().size() != 1 || each.dimensions()[0] != columns)
      return Error::InvalidArgument("scale or shift is " + Text(each.dimensions()) +
                                    ": expected [" + std::to_string(columns) + "]");
  // Padded, since the tiles read whole groups of columns.
  const int64_t group = 2 * TilesOfThisCpu().lanes, padded = DivideUp(columns, group) * group;
  std::vector<float> factors(padded), offsets(padded);
  std::copy_n(scale.typed_data(), columns, factors.begin());
  std::copy_n(shift.typed_data(), columns, offsets.begin());
  Epilogue then{factors.data(), offsets.data(), nullptr, relu};
  if (residual.size() > 1) return Error::InvalidArgument("more than one residual");
  if (residual.size() == 1) {
    const auto beside = residual.get<ffi::Buffer<ffi::F32>>(0);
    if (beside.has_error()) return beside.error();
    const Dimensions given = beside->dimensions(), wanted = out->dimensions();
    if (!std::equal(given.begin(), given.end(), wanted.begin(), wanted.end()))
      return Error::InvalidArgument("residual is " + Text(given) +
                                    ": expected the shape of the output, " + Text(wanted));
    then.residual = beside->typed_data();
  }
  return kFunction(pool, in, kernel, out, stride, low, then);
}

// Samples [b ...] → their sum, or sets of samples [n b ...] → the sum over each set, [n ...].
ffi::Error KernelGradient(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> in,
                          ffi::Buffer<ffi::F32> gradient, ffi::ResultBuffer<ffi::F32> out,
                          Dimensions stride, Dimensions low) {
  Dimensions ins = in.dimensions(), gradients = gradient.dimensions(), outs = out->dimensions();
  int64_t sets = 1;
  if (ins.size() == stride.size() + 3) {
    sets = ins[0];
    if (gradients.size() != ins.size() || outs.size() != ins.size() || gradients[0] != sets ||
        outs[0] != sets)
      return ffi::Error::InvalidArgument("input is " + Text(ins) + ", gradient of the output " +
                                         Text(gradients) + ", of the kernel " + Text(outs) +
                                         ": expected as many sets of samples");
    const auto rest = [](Dimensions all) { return Dimensions(all.begin() + 1, all.size() - 1); };
    ins = rest(ins), gradients = rest(gradients), outs = rest(outs);
  }
  Shape shape;
  bool shared;
  if (ffi::Error error = Check(ins, outs, gradients, stride, low, shape, shared); error.failure())
    return error;
  const int64_t batch = ins[0];
  for (int64_t n = 0; n < sets; ++n)
    KernelGradients(pool, shape, batch,
                    in.typed_data() + n * batch * Product(shape.in) * shape.channels,
                    gradient.typed_data() + n * batch * Product(shape.out) * shape.columns,
                    out->typed_data() + n * Product(shape.taps) * shape.channels * shape.columns);
  return ffi::Error::Success();
}

}  // namespace
}  // namespace handjax

#define HANDJAX_CONVOLUTION(symbol, function)                                 \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(symbol, function,                             \
                                ffi::Ffi::Bind()                              \
                                    .Ctx<ffi::ThreadPool>()                   \
                                    .Arg<ffi::Buffer<ffi::F32>>()             \
                                    .Arg<ffi::Buffer<ffi::F32>>()             \
                                    .Ret<ffi::Buffer<ffi::F32>>()             \
                                    .Attr<ffi::Span<const int64_t>>("stride") \
                                    .Attr<ffi::Span<const int64_t>>("low"))

HANDJAX_CONVOLUTION(handjax_conv, handjax::Forward);
HANDJAX_CONVOLUTION(handjax_conv_input, handjax::InputGradient);
HANDJAX_CONVOLUTION(handjax_conv_kernel, handjax::KernelGradient);

#define HANDJAX_AFFINE_CONVOLUTION(symbol, function)                          \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(symbol, handjax::Affine<handjax::function>,   \
                                ffi::Ffi::Bind()                              \
                                    .Ctx<ffi::ThreadPool>()                   \
                                    .Arg<ffi::Buffer<ffi::F32>>()             \
                                    .Arg<ffi::Buffer<ffi::F32>>()             \
                                    .Arg<ffi::Buffer<ffi::F32>>()             \
                                    .Arg<ffi::Buffer<ffi::F32>>()             \
                                    .RemainingArgs()                          \
                                    .Ret<ffi::Buffer<ffi::F32>>()             \
                                    .Attr<ffi::Span<const int64_t>>("stride") \
                                    .Attr<ffi::Span<const int64_t>>("low")    \
                                    .Attr<bool>("relu"))

HANDJAX_AFFINE_CONVOLUTION(handjax_conv_affine, Convolved);
HANDJAX_AFFINE_CONVOLUTION(handjax_conv_input_affine, Transposed);
