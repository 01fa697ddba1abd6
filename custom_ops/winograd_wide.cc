// Convolutions of images without strides, with more than 3 x 3 taps or with channels that do not
// fill whole registers. The taps are cut into blocks of 3 x 3, which are applied to the input as in
// winograd.cc, and the blocks' products are summed per point before the points are transformed into
// pixels: 4 products per pixel and block instead of 9. A block of 2 taps is one of 3 whose third
// tap is 0; its last point is then 0 as well, which leaves 3 points per axis instead of 4.
//
// The patches of a block are offset from those of the output by the block's first tap. Points are
// computed once for the even offsets and once for the odd ones, one patch every two pixels, and all
// blocks find theirs among them.

#include <vector>

#include "conv.h"
#include "parallel.h"

namespace ffi = xla::ffi;

namespace handjax {
namespace {

// The taps along an axis, cut into blocks: first as many blocks of 2 as make the rest a multiple of
// 3, then blocks of 3. A block of 2 reads one pixel more than its taps meet. That pixel cancels
// unless it is not finite; the first tap of the next block meets it anyway, as no block of 2 is
// last.
class Cut {
 public:
  explicit Cut(int64_t taps) : twos_((3 - taps % 3) % 3) {
    for (int64_t start = 0; start < taps; start += Length(count() - 1)) {
      start_.push_back(start);
      const int64_t odd = start % 2;
      if (!any_[odd]) first_[odd] = start / 2;
      any_[odd] = true, last_[odd] = start / 2;
    }
  }
  // 1, 2 and 4 taps do not end in a block of 3.
  static bool Can(int64_t taps) { return taps == 3 || taps > 4; }

  int64_t count() const { return start_.size(); }
  int64_t points() const { return 4 * count() - twos_; }
  int64_t Start(int64_t i) const { return start_[i]; }
  int64_t Length(int64_t i) const { return i < twos_ ? 2 : 3; }
  // False for the last point of a block of 2, which is 0.
  bool Has(int64_t i, int64_t point) const { return point <= Length(i); }
  int64_t Odd(int64_t i) const { return start_[i] % 2; }

  // Of the patches at odd (1) or even (0) offsets: the first one that patch 0 of the output needs,
  // how many its patches 0 to n need, and which of these block i meets at patch 0.
  int64_t First(int64_t odd) const { return first_[odd]; }
  int64_t Needed(int64_t odd, int64_t n) const {
    return any_[odd] ? n + last_[odd] - first_[odd] : 0;
  }
  int64_t At(int64_t i) const { return start_[i] / 2 - first_[Odd(i)]; }

 private:
  int64_t twos_;
  std::vector<int64_t> start_;
  bool any_[2] = {false, false};
  int64_t first_[2] = {0, 0}, last_[2] = {0, 0};
};

// A convolution of images, one per plane.
struct Wide {
  explicit Wide(const Shape& shape)
      : shape(shape),
        down(shape.taps[1]),
        across(shape.taps[2]),
        columns(InGroups(shape)),
        channels(InRegisters(shape.channels)),
        blocks(down.count() * across.count()),
        tap(channels * columns.width),
        rows(DivideUp(shape.out[1], 2)),
        patches(DivideUp(shape.out[2], 2)) {}

  static int64_t InRegisters(int64_t values) {
    return DivideUp(values, TilesOfThisCpu().lanes) * TilesOfThisCpu().lanes;
  }
  int64_t Down(int64_t block) const { return block / across.count(); }
  int64_t Across(int64_t block) const { return block % across.count(); }
  bool Has(int64_t block, int64_t point) const {
    return down.Has(Down(block), point / 4) && across.Has(Across(block), point % 4);
  }
  int64_t in_image() const { return shape.in[1] * shape.in[2]; }  // pixels
  int64_t out_image() const { return shape.out[1] * shape.out[2]; }
  // Position of the kernel's points, or of their sums, in
  // [group of columns][point][block][channel][column of the group].
  int64_t KernelAt(int64_t group, int64_t point, int64_t block) const {
    return ((group * kPoints + point) * blocks + block) * tap;
  }

  Shape shape;
  Cut down, across;
  Columns columns;
  int64_t channels;       // padded with zeros to whole registers
  int64_t blocks;         // number of blocks
  int64_t tap;            // floats per tap, or per point of a block, in a group of columns
  int64_t rows, patches;  // of the output: rows of patches, patches per row
};

// Pixels padded with zeros to whole registers; null if no padding is needed.
Floats Filled(ffi::ThreadPool& pool, const float* from, int64_t pixels, int64_t values) {
  const int64_t whole = Wide::InRegisters(values),
                parts = std::min<int64_t>(pixels, 4 * pool.num_threads());
  if (whole == values) return nullptr;
  Floats filled = Allocate(pixels * whole);
  ParallelFor(pool, parts, [&](int64_t part) {
    for (int64_t n = pixels * part / parts; n < pixels * (part + 1) / parts; ++n)
      std::fill(std::copy_n(from + n * values, values, filled.get() + n * whole),
                filled.get() + (n + 1) * whole, 0.0f);
  });
  return filled;
}

// A range of the output's rows of patches and of the patches across.
struct Area {
  int64_t row0, row1, patch0, patch1;
  int64_t rows() const { return row1 - row0; }
  int64_t patches() const { return patch1 - patch0; }
};

// The input's points needed by an area: [point][rows at even offsets, then odd][patches at even
// offsets, then odd][channel].
class InputPoints {
 public:
  InputPoints(const Wide& wide, int64_t most_rows, int64_t most_patches, int64_t most_channels)
      : wide_(wide),
        points_(Allocate(kPoints * Apart(Both(wide.down, most_rows) *
                                         Both(wide.across, most_patches) * most_channels))) {}

  // Selects an area of an image, and `channels` values of its pixels starting at `channel`.
  void Move(const float* image, const Area& area, int64_t channel, int64_t channels) {
    image_ = image + channel, area_ = area, channels_ = channels;
    row_ = Both(wide_.across, area.patches()) * channels;
    point_ = Apart(rows() * row_);
  }

  int64_t rows() const { return Both(wide_.down, area_.rows()); }

  void Take(int64_t row) const {
    const int64_t even = wide_.down.Needed(0, area_.rows()), odd = row >= even,
                  y = Pixel(odd, row - odd * even);
    const int64_t line = wide_.shape.in[2] * wide_.channels;
    if (Outside(y)) return;
    const float* rows[4];
    for (int64_t i = 0; i < 4; ++i)
      rows[i] = y + i >= 0 && y + i < wide_.shape.in[1] ? image_ + (y + i) * line : nullptr;
    float* to = points_.get() + row * row_;
    for (int64_t odd_across = 0; odd_across < 2; ++odd_across) {
      const int64_t patches = wide_.across.Needed(odd_across, area_.patches());
      const int64_t first =
          2 * (area_.patch0 + wide_.across.First(odd_across)) + odd_across - wide_.shape.low[2];
      TilesOfThisCpu().small.input_points(
          {patches, channels_, first, wide_.shape.in[2], wide_.channels, point_, channels_}, rows,
          to);
      to += patches * channels_;
    }
  }

  // The first patch that a block meets from row `row` of the area on; null if the rows lie outside.
  const float* At(int64_t point, int64_t block, int64_t row) const {
    const int64_t down = wide_.Down(block), across = wide_.Across(block),
                  odd = wide_.down.Odd(down), n = row + wide_.down.At(down);
    if (Outside(Pixel(odd, n))) return nullptr;
    return points_.get() + point * point_ + (odd * wide_.down.Needed(0, area_.rows()) + n) * row_ +
           (wide_.across.Odd(across) * wide_.across.Needed(0, area_.patches()) +
            wide_.across.At(across)) *
               channels_;
  }

 private:
  static int64_t Both(const Cut& cut, int64_t n) { return cut.Needed(0, n) + cut.Needed(1, n); }
  // The first pixel of row n of the patches at odd (1) or even (0) offsets.
  int64_t Pixel(int64_t odd, int64_t n) const {
    return 2 * (area_.row0 + wide_.down.First(odd) + n) + odd - wide_.shape.low[1];
  }
  bool Outside(int64_t y) const { return y <= -4 || y >= wide_.shape.in[1]; }

  const Wide& wide_;
  Floats points_;
  const float* image_ = nullptr;
  Area area_{};
  int64_t channels_ = 0, row_ = 0, point_ = 0;  // steps in floats
};

Floats KernelPoints(ffi::ThreadPool& pool, const Wide& wide, const Taps& kernel) {
  Floats points = Allocate(wide.columns.groups * kPoints * wide.blocks * wide.tap);
  ParallelFor(pool, wide.columns.groups * wide.blocks, [&](int64_t i) {
    const int64_t group = i / wide.blocks, block = i % wide.blocks, down = wide.Down(block),
                  across = wide.Across(block);
    const Floats nine = Allocate(9 * wide.tap);
    std::fill_n(nine.get(), 9 * wide.tap, 0.0f);
    for (int64_t y = 0; y < wide.down.Length(down); ++y)
      for (int64_t x = 0; x < wide.across.Length(across); ++x)
        CopyTap(kernel, wide.shape, {0, wide.down.Start(down) + y, wide.across.Start(across) + x},
                group * wide.columns.width, wide.columns.width,
                nine.get() + (3 * y + x) * wide.tap);
    TilesOfThisCpu().small.kernel_points(wide.tap, nine.get(), wide.blocks * wide.tap,
                                         points.get() + wide.KernelAt(group, 0, block));
  });
  return points;
}

}  // namespace

bool ByWideWinograd(const Shape& shape, int64_t least_patches) {
  if (shape.stride != Triple{1, 1, 1} || !PlaneByPlane(shape) || !Cut::Can(shape.taps[1]) ||
      !Cut::Can(shape.taps[2]))
    return false;
  const int64_t patches = DivideUp(shape.out[1], 2) * DivideUp(shape.out[2], 2);
  const int64_t points =
      Cut(shape.taps[1]).points() * Cut(shape.taps[2]).points() * Wide::InRegisters(shape.channels);
  const int64_t products = shape.taps[1] * shape.taps[2] * shape.channels;
  // At least a third fewer products, since the transforms take time as well.
  return patches >= least_patches &&
         2 * shape.out[1] * shape.out[2] * products >= 3 * patches * points;
}

void WideWinogradConvolve(ffi::ThreadPool& pool, const Shape& shape, int64_t batch, const float* in,
                          const Taps& kernel, const Place& out, const Epilogue& then) {
  const Tiles& tiles = TilesOfThisCpu();
  const Wide wide(shape);
  const int64_t width = wide.columns.width, groups = wide.columns.groups,
                images = batch * shape.out[0];
  const Floats filled = Filled(pool, in, images * wide.in_image(), shape.channels);
  const Floats kernel_points = KernelPoints(pool, wide, kernel);
  // Areas of about as many patches as amortize loading the kernel into the cache (the number is
  // measured), at most two tiles across.
  constexpr int64_t kPatches = 96;
  const int64_t strips = DivideUp(wide.patches, 2 * tiles.height),
                most_patches = DivideUp(wide.patches, strips);
  const int64_t bands = DivideUp(wide.rows, std::max<int64_t>(1, kPatches / most_patches)),
                most_rows = DivideUp(wide.rows, bands);
  const int64_t areas = images * bands * strips;
  const int64_t shares = std::clamp<int64_t>(DivideUp(2 * pool.num_threads(), areas), 1, groups);
  ParallelFor(pool, areas * shares, [&](int64_t i) {
    const int64_t share = i % shares, strip = i / shares % strips,
                  band = i / shares / strips % bands, n = i / shares / strips / bands;
    const Area area = {wide.rows * band / bands, wide.rows * (band + 1) / bands,
                       wide.patches * strip / strips, wide.patches * (strip + 1) / strips};
    const int64_t group0 = groups * share / shares, group1 = groups * (share + 1) / shares;
    InputPoints input(wide, most_rows, most_patches, wide.channels);
    input.Move((filled ? filled.get() : in) + n * wide.in_image() * wide.channels, area, 0,
               wide.channels);
    for (int64_t row = 0; row < input.rows(); ++row) input.Take(row);

    // Products: [group of columns][point][patch][column].
    const int64_t row_step = area.patches() * width, point_step = Apart(area.rows() * row_step);
    const Floats products = Allocate((group1 - group0) * kPoints * point_step);
    std::vector<const float*> a(wide.blocks), b(wide.blocks);
    for (int64_t point = 0; point < kPoints; ++point)
      for (int64_t group = group0; group < group1; ++group)
        for (int64_t row = 0; row < area.rows(); ++row) {
          TileJob job{0,     a.data(),      b.data(),      0,
                      0,     wide.channels, wide.channels, 1,
                      width, nullptr,       width,         static_cast<int>(width),
                      false, nullptr};
          for (int64_t block = 0; block < wide.blocks; ++block)
            if (const float* from =
                    wide.Has(block, point) ? input.At(point, block, row) : nullptr) {
              a[job.count] = from;
              b[job.count++] = kernel_points.get() + wide.KernelAt(group, point, block);
            }
          float* to =
              products.get() + ((group - group0) * kPoints + point) * point_step + row * row_step;
          Evenly(area.patches(), tiles.height, [&](int64_t n0, int64_t n1) {
            job.a_offset = n0 * wide.channels;
            job.out = to + n0 * width;
            tiles.by_row[width / tiles.lanes - 1][n1 - n0 - 1](job);
          });
        }

    const int64_t pixels = std::min(2 * area.patches(), shape.out[2] - 2 * area.patch0);
    // For pixels that do not fill whole registers.
    const Floats edge = shape.columns % tiles.lanes ? Allocate(2 * pixels * width) : nullptr;
    for (int64_t group = group0; group < group1; ++group)
      for (int64_t row = 0; row < area.rows(); ++row) {
        const int64_t o0 = group * width, values = std::min(width, shape.columns - o0),
                      y = 2 * (area.row0 + row);
        float* image = out.data + n / shape.out[0] * out.sample + n % shape.out[0] * out.plane;
        float* to = image + y * out.row + 2 * area.patch0 * out.pixel + o0;
        const int64_t lines = std::min<int64_t>(2, shape.out[1] - y);
        const float* from =
            products.get() + (group - group0) * kPoints * point_step + row * row_step;
        Epilogue own = then.From(o0, to - out.data);
        if (values % tiles.lanes == 0) {
          tiles.small.output_of_points(
              {area.patches(), values, 0, pixels, out.pixel, point_step, width}, from,
              {to, out.row, lines}, own);
          continue;
        }
        const int64_t line_step = pixels * width;
        if (own.residual) {
          // In place: each residual is read before the pixel replaces it.
          for (int64_t line = 0; line < lines; ++line)
            for (int64_t x = 0; x < pixels; ++x)
              std::copy_n(own.residual + line * out.row + x * out.pixel, values,
                          edge.get() + line * line_step + x * width);
          own.residual = edge.get();
        }
        tiles.small.output_of_points({area.patches(), width, 0, pixels, width, point_step, width},
                                     from, {edge.get(), line_step, lines}, own);
        for (int64_t line = 0; line < lines; ++line)
          for (int64_t x = 0; x < pixels; ++x)
            std::copy_n(edge.get() + line * line_step + x * width, values,
                        to + line * out.row + x * out.pixel);
      }
  });
}

// Processes the images band by band, some channels at a time, so that their points stay in the
// cache. Every point has its own sums, to which one thread adds in the order of the bands. The sums
// of a block of 2 taps for its last point are never set; they affect only the missing tap. Nor are
// those of columns past the last register.
void WideWinogradKernelGradients(ffi::ThreadPool& pool, const Shape& shape, int64_t batch,
                                 const float* in, const float* gradient, float* out) {
  const Tiles& tiles = TilesOfThisCpu();
  const Wide wide(shape);
  const int64_t width = wide.columns.width, groups = wide.columns.groups,
                images = batch * shape.out[0];
  const int64_t columns = Wide::InRegisters(shape.columns);
  const Floats filled = Filled(pool, in, images * wide.in_image(), shape.channels);
  const Floats filled_gradient = Filled(pool, gradient, images * wide.out_image(), shape.columns);
  // Measured; kChannels is a whole number of registers on any CPU.
  constexpr int64_t kPatches = 768, kChannels = 32;
  const int64_t bands = DivideUp(wide.rows, std::max<int64_t>(1, kPatches / wide.patches)),
                most_rows = DivideUp(wide.rows, bands);
  InputPoints input(wide, most_rows, wide.patches, std::min(kChannels, wide.channels));
  const int64_t row_step = wide.patches * width, point_step = Apart(most_rows * row_step);
  // Points of the gradient: [group of columns][point][patch][column].
  const Floats points = Allocate(groups * kPoints * point_step);
  const Floats sums = Allocate(groups * kPoints * wide.blocks * wide.tap);
  for (int64_t n = 0; n < images * bands; ++n) {
    const int64_t image = n / bands, band = n % bands;
    const Area area = {wide.rows * band / bands, wide.rows * (band + 1) / bands, 0, wide.patches};
    ParallelFor(pool, groups * area.rows(), [&](int64_t i) {
      const int64_t group = i / area.rows(), row = i % area.rows(), y = 2 * (area.row0 + row),
                    o0 = group * width;
      const float* from = (filled_gradient ? filled_gradient.get() : gradient) +
                          (image * wide.out_image() + y * shape.out[2]) * columns + o0;
      const float* const lines[2] = {
          from, y + 1 < shape.out[1] ? from + shape.out[2] * columns : nullptr};
      tiles.small.gradient_points({wide.patches, std::min(width, columns - o0), 0, shape.out[2],
                                   columns, point_step, width},
                                  lines,
                                  points.get() + group * kPoints * point_step + row * row_step);
    });
    for (int64_t channel = 0; channel < wide.channels; channel += kChannels) {
      const int64_t channels = std::min(kChannels, wide.channels - channel);
      input.Move((filled ? filled.get() : in) + image * wide.in_image() * wide.channels, area,
                 channel, channels);
      ParallelFor(pool, input.rows(), [&](int64_t row) { input.Take(row); });
      ParallelFor(pool, kPoints * groups, [&](int64_t i) {
        const int64_t point = i / groups, group = i % groups,
                      values = std::min(width, columns - group * width);
        std::vector<const float*> a(area.rows()), g(area.rows());
        for (int64_t block = 0; block < wide.blocks; ++block) {
          if (!wide.Has(block, point)) continue;
          TileJob job{0,     a.data(), g.data(), 0,       0,     wide.patches,
                      1,     channels, width,    nullptr, width, static_cast<int>(values),
                      n > 0, nullptr};
          for (int64_t row = 0; row < area.rows(); ++row)
            if (const float* from = input.At(point, block, row)) {
              a[job.count] = from;
              g[job.count++] =
                  points.get() + (group * kPoints + point) * point_step + row * row_step;
            }
          Evenly(channels, tiles.height, [&](int64_t c0, int64_t c1) {
            job.a_offset = c0;
            job.out = sums.get() + wide.KernelAt(group, point, block) + (channel + c0) * width;
            tiles.by_step[values / tiles.lanes - 1][c1 - c0 - 1](job);
          });
        }
      });
    }
  }

  ParallelFor(pool, groups * wide.blocks, [&](int64_t i) {
    const int64_t group = i / wide.blocks, block = i % wide.blocks, down = wide.Down(block),
                  across = wide.Across(block);
    const int64_t o0 = group * width, values = std::min(width, shape.columns - o0);
    const Floats nine = Allocate(9 * wide.tap);
    tiles.small.kernel_of_points(wide.tap, wide.blocks * wide.tap,
                                 sums.get() + wide.KernelAt(group, 0, block), nine.get());
    for (int64_t y = 0; y < wide.down.Length(down); ++y)
      for (int64_t x = 0; x < wide.across.Length(across); ++x) {
        const int64_t tap =
            (wide.down.Start(down) + y) * shape.taps[2] + wide.across.Start(across) + x;
        for (int64_t c = 0; c < shape.channels; ++c)
          std::copy_n(nine.get() + (3 * y + x) * wide.tap + c * width, values,
                      out + (tap * shape.channels + c) * shape.columns + o0);
      }
  });
}

}  // namespace handjax
