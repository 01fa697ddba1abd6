// Convolutions with 3 x 3 taps in a plane and without strides, with 4 products per pixel instead of
// 9: Winograd's F(2 x 2, 3 x 3), as in Lavin and Gray 2015 (arXiv 1509.09308). A patch d of 4 x 4
// pixels yields 2 x 2 pixels of output under the taps g:
//
//     y = At [(G g Gt) * (Bt d B)] A,  where * multiplies the 16 points elementwise;
//     the gradient to g is Gt [(A y At) * (Bt d B)] G.
//
// Over channels and patches, each point is thus a matrix product, in which taps along the first
// axis are summed as well. The matrices contain only 0, ±1 and ±1/2, so rounding errors are about
// those of plain sums. A value that is not finite reaches exactly the pixels whose windows contain
// it, although infinity may become NaN. The matrices are in conv_tile.cc.

#include <vector>

#include "conv.h"
#include "parallel.h"

namespace ffi = xla::ffi;

namespace handjax {
namespace {

// Where planes are independent, treats the planes of all samples as those of one sample.
void FoldSamples(Shape& shape, int64_t& batch) {
  if (!PlaneByPlane(shape)) return;
  shape.in[0] = shape.out[0] = shape.in[0] * batch;
  batch = 1;
}

// A block of the output whose points fit into the cache: some planes, some rows of patches, and all
// patches across.
struct Block {
  int64_t sample, plane0, plane1, row0, row1;
  int64_t planes() const { return plane1 - plane0; }
};

// The output, cut into blocks.
class Blocks {
 public:
  Blocks(const Shape& shape, int64_t batch) : shape_(shape), batch_(batch) {
    across = DivideUp(shape.out[2], 2), down_ = DivideUp(shape.out[1], 2);
    // Enough patches to amortize loading the kernel into the cache. With taps along the first axis,
    // neighbouring output planes need the same points, so a block has many planes and few patches
    // of each. The numbers are measured.
    const bool alone = PlaneByPlane(shape);
    const int64_t patches = alone ? 64 : 18, rows = std::clamp<int64_t>(patches / across, 1, down_);
    const int64_t planes = alone ? std::max<int64_t>(1, patches / (rows * across)) : 12;
    bands_ = DivideUp(down_, rows), slices_ = DivideUp(shape.out[0], planes);
    most_planes = DivideUp(shape.out[0], slices_), most_patches = DivideUp(down_, bands_) * across;
  }

  int64_t count() const { return batch_ * slices_ * bands_; }
  Block operator[](int64_t i) const {
    const int64_t band = i % bands_, slice = i / bands_ % slices_;
    return {i / bands_ / slices_, shape_.out[0] * slice / slices_,
            shape_.out[0] * (slice + 1) / slices_, down_ * band / bands_,
            down_ * (band + 1) / bands_};
  }

  int64_t across;                     // patches per row
  int64_t most_planes, most_patches;  // planes per block, patches per plane of a block

 private:
  Shape shape_;
  int64_t batch_, down_, bands_, slices_;
};

// The input's points for one block: [point][plane][patch][channel]. Planes outside are skipped.
class InputPoints {
 public:
  InputPoints(const Shape& shape, const Blocks& blocks)
      : shape_(shape),
        across_(blocks.across),
        points_(Allocate(kPoints * Apart((blocks.most_planes + shape.taps[0] - 1) *
                                         blocks.most_patches * shape.channels))) {}

  void Take(const float* in, const Block& block) {
    first_ = block.plane0 - shape_.low[0];
    const int64_t c = shape_.channels, row = shape_.in[2] * c,
                  planes = block.planes() + shape_.taps[0] - 1;
    plane_ = (block.row1 - block.row0) * across_ * c, point_ = Apart(planes * plane_);
    for (int64_t plane = first_; plane < first_ + planes; ++plane)
      for (int64_t n = block.row0; Inside(plane) && n < block.row1; ++n) {
        const float* rows[4];
        for (int64_t i = 0; i < 4; ++i) {
          const int64_t y = 2 * n - shape_.low[1] + i;
          const bool inside = y >= 0 && y < shape_.in[1];
          rows[i] = inside ? in + ((block.sample * shape_.in[0] + plane) * shape_.in[1] + y) * row
                           : nullptr;
        }
        TilesOfThisCpu().input_points(
            {across_, c, -shape_.low[2], shape_.in[2], c, point_, c}, rows,
            points_.get() + (plane - first_) * plane_ + (n - block.row0) * across_ * c);
      }
  }

  // The points that tap t of the first axis meets from output plane z on; null if outside.
  const float* At(int64_t point, int64_t z, int64_t t) const {
    const int64_t plane = z - shape_.low[0] + t;
    return Inside(plane) ? points_.get() + point * point_ + (plane - first_) * plane_ : nullptr;
  }

 private:
  bool Inside(int64_t plane) const { return plane >= 0 && plane < shape_.in[0]; }

  Shape shape_;
  int64_t across_, first_ = 0, plane_ = 0, point_ = 0;
  Floats points_;
};

// Number of planes of a block whose patches are processed like those of a single plane.
int64_t PlanesTogether(const Shape& shape, const Block& block) {
  return PlaneByPlane(shape) ? block.planes() : 1;
}

// A kernel's points: [group of columns][point][tap of the first axis][channel][column of the
// group].
Floats KernelPoints(ffi::ThreadPool& pool, const Shape& shape, const Taps& kernel,
                    const Columns& columns) {
  const int64_t tap = shape.channels * columns.width, taps = shape.taps[0];
  Floats points = Allocate(columns.groups * kPoints * taps * tap);
  ParallelFor(pool, columns.groups * taps, [&](int64_t i) {
    const int64_t group = i / taps, t = i % taps;
    const Floats nine = Allocate(9 * tap);
    for (int64_t n = 0; n < 9; ++n)
      CopyTap(kernel, shape, {t, n / 3, n % 3}, group * columns.width, columns.width,
              nine.get() + n * tap);
    TilesOfThisCpu().kernel_points(tap, nine.get(), taps * tap,
                                   points.get() + (group * kPoints * taps + t) * tap);
  });
  return points;
}

}  // namespace

bool ByWinograd(const Shape& shape, int64_t least_patches) {
  const int64_t lanes = TilesOfThisCpu().lanes;
  return shape.stride == Triple{1, 1, 1} && shape.taps[1] == 3 && shape.taps[2] == 3 &&
         shape.channels % lanes == 0 && shape.columns % lanes == 0 && shape.out[1] > 1 &&
         shape.out[2] > 1 &&
         shape.out[0] * DivideUp(shape.out[1], 2) * DivideUp(shape.out[2], 2) >= least_patches;
}

void WinogradConvolve(ffi::ThreadPool& pool, Shape shape, int64_t batch, const float* in,
                      const Taps& kernel, Place out, const Epilogue& then) {
  if (shape.out[0] == 1) out.plane = out.sample;
  if (out.sample == shape.out[0] * out.plane) FoldSamples(shape, batch);
  const Tiles& tiles = TilesOfThisCpu();
  const Columns columns = InGroups(shape);
  const Floats kernel_points = KernelPoints(pool, shape, kernel, columns);
  const int64_t tap = shape.channels * columns.width, taps = shape.taps[0];
  const Blocks blocks(shape, batch);
  // If there are few blocks, the columns are distributed as well.
  const int64_t shares =
      std::clamp<int64_t>(DivideUp(4 * pool.num_threads(), blocks.count()), 1, columns.groups);
  ParallelFor(pool, blocks.count() * shares, [&](int64_t i) {
    const Block block = blocks[i / shares];
    const int64_t group0 = columns.groups * (i % shares) / shares,
                  group1 = columns.groups * (i % shares + 1) / shares;
    InputPoints input(shape, blocks);
    input.Take(in, block);
    // Products: [group of columns][point][plane][patch][column].
    const int64_t patches = (block.row1 - block.row0) * blocks.across,
                  plane = patches * columns.width;
    const int64_t point = Apart(block.planes() * plane);
    const Floats products = Allocate((group1 - group0) * kPoints * point);
    const int64_t together = PlanesTogether(shape, block);
    std::vector<const float*> a(taps), b(taps);
    for (int64_t p = 0; p < kPoints; ++p)
      for (int64_t group = group0; group < group1; ++group)
        for (int64_t z = 0; z < block.planes(); z += together) {
          TileJob job{0,
                      a.data(),
                      b.data(),
                      0,
                      0,
                      shape.channels,
                      shape.channels,
                      1,
                      columns.width,
                      nullptr,
                      columns.width,
                      static_cast<int>(columns.width),
                      false,
                      nullptr};
          for (int64_t t = 0; t < taps; ++t)
            if (const float* points = input.At(p, block.plane0 + z, t)) {
              a[job.count] = points;
              b[job.count++] = kernel_points.get() + ((group * kPoints + p) * taps + t) * tap;
            }
          float* to = products.get() + ((group - group0) * kPoints + p) * point + z * plane;
          Evenly(together * patches, tiles.height, [&](int64_t n0, int64_t n1) {
            job.a_offset = n0 * shape.channels;
            job.out = to + n0 * columns.width;
            tiles.by_row[columns.width / tiles.lanes - 1][n1 - n0 - 1](job);
          });
        }
    for (int64_t group = group0; group < group1; ++group)
      for (int64_t z = 0; z < block.planes(); ++z)
        for (int64_t n = block.row0; n < block.row1; ++n) {
          const int64_t o0 = group * columns.width;
          float* to = out.data + block.sample * out.sample + (block.plane0 + z) * out.plane +
                      2 * n * out.row + o0;
          float* const rows[2] = {to, 2 * n + 1 < shape.out[1] ? to + out.row : nullptr};
          const Epilogue own = then.From(o0, to - out.data);
          tiles.output_of_points({blocks.across, std::min(columns.width, shape.columns - o0), 0,
                                  shape.out[2], out.pixel, point, columns.width},
                                 products.get() + (group - group0) * kPoints * point + z * plane +
                                     (n - block.row0) * blocks.across * columns.width,
                                 rows, own, own.residual ? own.residual + out.row : nullptr);
        }
  });
}

// As in the direct algorithm (conv.cc), blocks are grouped into slabs, whose sums are added in
// order. Sums are stored as [slab][group of columns][point][tap of the first axis][channel]
// [column].
void WinogradKernelGradients(ffi::ThreadPool& pool, Shape shape, int64_t batch, const float* in,
                             const float* gradient, float* out) {
  FoldSamples(shape, batch);
  const Tiles& tiles = TilesOfThisCpu();
  const Columns columns = InGroups(shape);
  const int64_t tap = shape.channels * columns.width, taps = shape.taps[0],
                piece = kPoints * taps * tap;
  const Blocks blocks(shape, batch);
  // Independent of the number of threads, so the sums are, too.
  const int64_t slabs = std::clamp<int64_t>(32 / columns.groups, 1, blocks.count());
  const Floats sums = Allocate(slabs * columns.groups * piece);
  ParallelFor(pool, slabs * columns.groups, [&](int64_t i) {
    const int64_t slab = i / columns.groups, o0 = i % columns.groups * columns.width;
    const int64_t values = std::min(columns.width, shape.columns - o0);
    float* sum = sums.get() + i * piece;
    std::fill(sum, sum + piece, 0.0f);
    InputPoints input(shape, blocks);
    // Points of the gradient.
    const Floats points =
        Allocate(kPoints * Apart(blocks.most_planes * blocks.most_patches * columns.width));
    std::vector<const float*> a(blocks.most_planes), g(blocks.most_planes);
    for (int64_t n = blocks.count() * slab / slabs; n < blocks.count() * (slab + 1) / slabs; ++n) {
      const Block block = blocks[n];
      const int64_t patches = (block.row1 - block.row0) * blocks.across,
                    plane = patches * columns.width;
      const int64_t point = Apart(block.planes() * plane);
      input.Take(in, block);
      for (int64_t z = 0; z < block.planes(); ++z)
        for (int64_t row = block.row0; row < block.row1; ++row) {
          const float* from =
              gradient + o0 +
              ((block.sample * shape.out[0] + block.plane0 + z) * shape.out[1] + 2 * row) *
                  shape.out[2] * shape.columns;
          const float* rows[2] = {
              from, 2 * row + 1 < shape.out[1] ? from + shape.out[2] * shape.columns : nullptr};
          tiles.gradient_points(
              {blocks.across, values, 0, shape.out[2], shape.columns, point, columns.width}, rows,
              points.get() + z * plane + (row - block.row0) * blocks.across * columns.width);
        }
      const int64_t together = PlanesTogether(shape, block);
      for (int64_t p = 0; p < kPoints; ++p)
        for (int64_t t = 0; t < taps; ++t) {
          TileJob job{0,
                      a.data(),
                      g.data(),
                      0,
                      0,
                      together * patches,
                      1,
                      shape.channels,
                      columns.width,
                      nullptr,
                      columns.width,
                      static_cast<int>(values),
                      true,
                      nullptr};
          for (int64_t z = 0; z < block.planes(); z += together)
            if (const float* from = input.At(p, block.plane0 + z, t)) {
              a[job.count] = from;
              g[job.count++] = points.get() + p * point + z * plane;
            }
          Evenly(shape.channels, tiles.height, [&](int64_t c0, int64_t c1) {
            job.a_offset = c0;
            job.out = sum + (p * taps + t) * tap + c0 * columns.width;
            tiles.by_step[values / tiles.lanes - 1][c1 - c0 - 1](job);
          });
        }
    }
  });

  ParallelFor(pool, columns.groups * taps, [&](int64_t i) {
    const int64_t group = i / taps, t = i % taps, o0 = group * columns.width,
                  values = std::min(columns.width, shape.columns - o0);
    for (int64_t p = 0; p < kPoints; ++p) {
      float* total = sums.get() + group * piece + (p * taps + t) * tap;
      for (int64_t slab = 1; slab < slabs; ++slab) {
        const float* more = total + slab * columns.groups * piece;
        for (int64_t n = 0; n < tap; ++n) total[n] += more[n];
      }
    }
    const Floats nine = Allocate(9 * tap);
    tiles.kernel_of_points(tap, taps * tap, sums.get() + group * piece + t * tap, nine.get());
    for (int64_t n = 0; n < 9; ++n)
      for (int64_t c = 0; c < shape.channels; ++c)
        std::copy_n(nine.get() + n * tap + c * columns.width, values,
                    out + ((t * 9 + n) * shape.channels + c) * shape.columns + o0);
  });
}

}  // namespace handjax
