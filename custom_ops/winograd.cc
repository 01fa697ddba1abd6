// Convolutions with 3 x 3 taps in a plane and without strides, with 4 or 2.25 products per pixel
// instead of 9: Winograd's F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3), as in Lavin and Gray 2015 (arXiv
// 1509.09308). A patch d of 4 x 4 or 6 x 6 pixels yields 2 x 2 or 4 x 4 pixels of output under the
// taps g:
//
//     y = At [(G g Gt) * (Bt d B)] A,  where * multiplies the points elementwise;
//     the gradient to g is Gt [(A y At) * (Bt d B)] G.
//
// Over channels and patches, each point is thus a matrix product, in which taps along the first
// axis are summed as well. The matrices are in conv_tile.cc. Those of small patches contain only 0,
// ±1 and ±1/2, so rounding errors are about those of plain sums; those of large patches are two to
// four times as large. A value that is not finite reaches the pixels whose windows contain it: of
// small patches exactly these, of large ones all pixels of the patch. Infinity may become NaN.

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
  Blocks(const Shape& shape, int64_t batch, const Filter& filter) : shape_(shape), batch_(batch) {
    across = DivideUp(shape.out[2], filter.side), down = DivideUp(shape.out[1], filter.side);
    // Enough patches to amortize loading the kernel into the cache. With taps along the first axis,
    // neighbouring output planes need the same points, so a block has many planes and few patches
    // of each. The numbers are measured.
    const bool alone = PlaneByPlane(shape);
    const int64_t patches = alone ? 64 : 18, rows = std::clamp<int64_t>(patches / across, 1, down);
    const int64_t planes = alone ? std::max<int64_t>(1, patches / (rows * across)) : 12;
    bands_ = DivideUp(down, rows), slices_ = DivideUp(shape.out[0], planes);
    most_planes = DivideUp(shape.out[0], slices_), most_patches = DivideUp(down, bands_) * across;
  }

  int64_t count() const { return batch_ * slices_ * bands_; }
  Block operator[](int64_t i) const {
    const int64_t band = i % bands_, slice = i / bands_ % slices_;
    return {i / bands_ / slices_, shape_.out[0] * slice / slices_,
            shape_.out[0] * (slice + 1) / slices_, down * band / bands_,
            down * (band + 1) / bands_};
  }

  int64_t across, down;               // patches per row, rows of patches
  int64_t most_planes, most_patches;  // planes per block, patches per plane of a block

 private:
  Shape shape_;
  int64_t batch_, bands_, slices_;
};

// The input's points for one block: [point][plane][patch][channel]. Planes outside are skipped.
class InputPoints {
 public:
  InputPoints(const Shape& shape, const Blocks& blocks, const Filter& filter)
      : shape_(shape),
        filter_(filter),
        across_(blocks.across),
        points_(Allocate(filter.points() * Apart((blocks.most_planes + shape.taps[0] - 1) *
                                                 blocks.most_patches * shape.channels))) {}

  void Take(const float* in, const Block& block) {
    first_ = block.plane0 - shape_.low[0];
    const int64_t c = shape_.channels, row = shape_.in[2] * c,
                  planes = block.planes() + shape_.taps[0] - 1;
    plane_ = (block.row1 - block.row0) * across_ * c, point_ = Apart(planes * plane_);
    for (int64_t plane = first_; plane < first_ + planes; ++plane)
      for (int64_t n = block.row0; Inside(plane) && n < block.row1; ++n) {
        const float* rows[kLongestReach];
        for (int64_t i = 0; i < filter_.reach(); ++i) {
          const int64_t y = filter_.side * n - shape_.low[1] + i;
          const bool inside = y >= 0 && y < shape_.in[1];
          rows[i] = inside ? in + ((block.sample * shape_.in[0] + plane) * shape_.in[1] + y) * row
                           : nullptr;
        }
        filter_.input_points(
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
  const Filter& filter_;
  int64_t across_, first_ = 0, plane_ = 0, point_ = 0;
  Floats points_;
};

// Number of planes of a block whose patches are processed like those of a single plane.
int64_t PlanesTogether(const Shape& shape, const Block& block) {
  return PlaneByPlane(shape) ? block.planes() : 1;
}

// The filter that needs fewer products, unless the kernel's points, of which the large one has more
// than twice as many, cost what that saves: with fewer than 16 patches of a sample per plane of
// taps (measured).
const Filter& FilterFor(const Shape& shape) {
  const Filter &small = TilesOfThisCpu().small, &large = TilesOfThisCpu().large;
  const auto patches = [&](const Filter& filter) {
    return shape.out[0] * DivideUp(shape.out[1], filter.side) * DivideUp(shape.out[2], filter.side);
  };
  const bool pays = patches(large) >= 16 * shape.taps[0] &&
                    large.points() * patches(large) < small.points() * patches(small);
  return pays ? large : small;
}

// The points of a kernel's taps `t0` to `t1` of the first axis, for one group of columns:
// [point][tap of the first axis][channel][column of the group].
void GroupPoints(const Shape& shape, const Taps& kernel, const Columns& columns,
                 const Filter& filter, int64_t group, int64_t t0, int64_t t1, float* points) {
  const int64_t tap = shape.channels * columns.width;
  const Floats nine = Allocate(9 * tap);
  for (int64_t t = t0; t < t1; ++t) {
    for (int64_t n = 0; n < 9; ++n)
      CopyTap(kernel, shape, {t, n / 3, n % 3}, group * columns.width, columns.width,
              nine.get() + n * tap);
    filter.kernel_points(tap, nine.get(), shape.taps[0] * tap, points + t * tap);
  }
}

// A kernel's points: [group of columns] of the above.
Floats KernelPoints(ffi::ThreadPool& pool, const Shape& shape, const Taps& kernel,
                    const Columns& columns, const Filter& filter) {
  const int64_t taps = shape.taps[0],
                group_points = filter.points() * taps * shape.channels * columns.width;
  Floats points = Allocate(columns.groups * group_points);
  ParallelFor(pool, columns.groups * taps, [&](int64_t i) {
    GroupPoints(shape, kernel, columns, filter, i / taps, i % taps, i % taps + 1,
                points.get() + i / taps * group_points);
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
  const Filter& filter = FilterFor(shape);  // before samples are folded: they do not choose
  if (shape.out[0] == 1) out.plane = out.sample;
  if (out.sample == shape.out[0] * out.plane) FoldSamples(shape, batch);
  const Tiles& tiles = TilesOfThisCpu();
  const Columns columns = InGroups(shape);
  const int64_t all_points = filter.points();
  const int64_t tap = shape.channels * columns.width, taps = shape.taps[0],
                group_points = all_points * taps * tap;
  const Blocks blocks(shape, batch, filter);
  // For a single block, who needs a group of columns computes its points, which stay in the cache.
  const bool single = blocks.count() == 1;
  const Floats kernel_points =
      single ? nullptr : KernelPoints(pool, shape, kernel, columns, filter);
  // If there are few blocks, the columns are distributed as well.
  const int64_t shares =
      std::clamp<int64_t>(DivideUp(4 * pool.num_threads(), blocks.count()), 1, columns.groups);
  ParallelFor(pool, blocks.count() * shares, [&](int64_t i) {
    const Block block = blocks[i / shares];
    const int64_t group0 = columns.groups * (i % shares) / shares,
                  group1 = columns.groups * (i % shares + 1) / shares;
    InputPoints input(shape, blocks, filter);
    input.Take(in, block);
    // Products: [group of columns][point][plane][patch][column].
    const int64_t patches = (block.row1 - block.row0) * blocks.across,
                  plane = patches * columns.width;
    const int64_t point = Apart(block.planes() * plane);
    const Floats products = Allocate((group1 - group0) * all_points * point);
    const int64_t together = PlanesTogether(shape, block);
    std::vector<const float*> a(taps), b(taps);
    const auto multiply = [&](int64_t group, int64_t p, const float* points) {
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
          if (const float* from = input.At(p, block.plane0 + z, t)) {
            a[job.count] = from;
            b[job.count++] = points + (p * taps + t) * tap;
          }
        float* to = products.get() + ((group - group0) * all_points + p) * point + z * plane;
        Evenly(together * patches, tiles.height, [&](int64_t n0, int64_t n1) {
          job.a_offset = n0 * shape.channels;
          job.out = to + n0 * columns.width;
          tiles.by_row[columns.width / tiles.lanes - 1][n1 - n0 - 1](job);
        });
      }
    };
    if (single) {
      const Floats own = Allocate(group_points);
      for (int64_t group = group0; group < group1; ++group) {
        GroupPoints(shape, kernel, columns, filter, group, 0, taps, own.get());
        for (int64_t p = 0; p < all_points; ++p) multiply(group, p, own.get());
      }
    } else {
      for (int64_t p = 0; p < all_points; ++p)
        for (int64_t group = group0; group < group1; ++group)
          multiply(group, p, kernel_points.get() + group * group_points);
    }
    for (int64_t group = group0; group < group1; ++group)
      for (int64_t z = 0; z < block.planes(); ++z)
        for (int64_t n = block.row0; n < block.row1; ++n) {
          const int64_t o0 = group * columns.width;
          float* to = out.data + block.sample * out.sample + (block.plane0 + z) * out.plane +
                      filter.side * n * out.row + o0;
          filter.output_of_points(
              {blocks.across, std::min(columns.width, shape.columns - o0), 0, shape.out[2],
               out.pixel, point, columns.width},
              products.get() + (group - group0) * all_points * point + z * plane +
                  (n - block.row0) * blocks.across * columns.width,
              {to, out.row, std::min<int64_t>(filter.side, shape.out[1] - filter.side * n)},
              then.From(o0, to - out.data));
        }
  });
}

// As in the direct algorithm (conv.cc), blocks are grouped into slabs, whose sums are added in
// order. Sums are stored as [slab][group of columns][point][tap of the first axis][channel]
// [column].
void WinogradKernelGradients(ffi::ThreadPool& pool, Shape shape, int64_t batch, const float* in,
                             const float* gradient, float* out) {
  const Filter& filter = FilterFor(shape);
  FoldSamples(shape, batch);
  const Tiles& tiles = TilesOfThisCpu();
  const Columns columns = InGroups(shape);
  const int64_t all_points = filter.points();
  const int64_t tap = shape.channels * columns.width, taps = shape.taps[0],
                piece = all_points * taps * tap;
  const Blocks blocks(shape, batch, filter);
  // Independent of the number of threads, so the sums are, too. A slab has enough patches to pay
  // for writing and adding its sums.
  const int64_t patches = batch * shape.out[0] * blocks.across * blocks.down;
  const int64_t slabs =
      std::clamp<int64_t>(std::min(32 / columns.groups, patches / 128), 1, blocks.count());
  const Floats sums = Allocate(slabs * columns.groups * piece);
  ParallelFor(pool, slabs * columns.groups, [&](int64_t i) {
    const int64_t slab = i / columns.groups, o0 = i % columns.groups * columns.width;
    const int64_t values = std::min(columns.width, shape.columns - o0);
    float* sum = sums.get() + i * piece;
    InputPoints input(shape, blocks, filter);
    // Points of the gradient.
    const Floats points =
        Allocate(all_points * Apart(blocks.most_planes * blocks.most_patches * columns.width));
    std::vector<const float*> a(blocks.most_planes), g(blocks.most_planes);
    const int64_t first = blocks.count() * slab / slabs;
    for (int64_t n = first; n < blocks.count() * (slab + 1) / slabs; ++n) {
      const Block block = blocks[n];
      const int64_t patches = (block.row1 - block.row0) * blocks.across,
                    plane = patches * columns.width;
      const int64_t point = Apart(block.planes() * plane);
      input.Take(in, block);
      for (int64_t z = 0; z < block.planes(); ++z)
        for (int64_t row = block.row0; row < block.row1; ++row) {
          const int64_t line = shape.out[2] * shape.columns;
          const float* from = gradient + o0 +
                              ((block.sample * shape.out[0] + block.plane0 + z) * shape.out[1] +
                               filter.side * row) *
                                  line;
          const float* rows[kLongestReach] = {};
          for (int64_t i = 0; i < filter.side && filter.side * row + i < shape.out[1]; ++i)
            rows[i] = from + i * line;
          filter.gradient_points(
              {blocks.across, values, 0, shape.out[2], shape.columns, point, columns.width}, rows,
              points.get() + z * plane + (row - block.row0) * blocks.across * columns.width);
        }
      const int64_t together = PlanesTogether(shape, block);
      for (int64_t p = 0; p < all_points; ++p)
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
                      n > first,
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
    for (int64_t p = 0; p < all_points; ++p) {
      float* total = sums.get() + group * piece + (p * taps + t) * tap;
      for (int64_t slab = 1; slab < slabs; ++slab) {
        const float* more = total + slab * columns.groups * piece;
        for (int64_t n = 0; n < tap; ++n) total[n] += more[n];
      }
    }
    const Floats nine = Allocate(9 * tap);
    filter.kernel_of_points(tap, taps * tap, sums.get() + group * piece + t * tap, nine.get());
    for (int64_t n = 0; n < 9; ++n)
      for (int64_t c = 0; c < shape.channels; ++c)
        std::copy_n(nine.get() + n * tap + c * columns.width, values,
                    out + ((t * 9 + n) * shape.channels + c) * shape.columns + o0);
  });
}

}  // namespace handjax
