// The inner loops of all convolutions: accumulating a small tile of the output in registers,
// products that skip zeros, and Winograd's transforms between patches and points.

#pragma once

#include <cstdint>

namespace handjax {

// What happens to a sum before it is stored: y = sum * scale[v] + shift[v], plus `residual` unless
// that is null, and with `relu` 0 in place of negative numbers. Nothing if `scale` is null.
// Residuals are stored as the output is; scale and shift can be read in whole registers.
struct Epilogue {
  const float* scale = nullptr;
  const float* shift = nullptr;
  const float* residual = nullptr;
  bool relu = false;

  // That of the output `column` columns and `floats` stored numbers further on.
  Epilogue From(int64_t column, int64_t floats) const {
    if (!scale) return {};
    return {scale + column, shift + column, residual ? residual + floats : nullptr, relu};
  }
};

// Rows of a tile, at most. Of the 32 registers of AVX-512, 14 x 2 leave four for factors.
constexpr int kTallestTile = 14;

// out[i, v] += sum over s, k of a[s][i * a_row + k * a_step] * b[s][k * b_step + v], for the rows i
// and `columns` values v of a tile. With `add` the sum starts from the content of `out`, otherwise
// from `start`[v], or 0 if `start` is null. All steps are in floats.
struct TileJob {
  int64_t count;          // number of pairs (a[s], b[s])
  const float* const* a;  // advanced by `a_offset`
  const float* const* b;  // advanced by `b_offset`
  int64_t a_offset, b_offset, depth, a_row, a_step, b_step;
  float* out;
  int64_t out_row;
  int columns;
  bool add;
  const float* start;
  Epilogue then = {};
};

// The nonzero values of a row of a single-channel input: value[n] at position at[n].
struct SparseRow {
  int64_t count;
  const int32_t* at;
  const float* value;
};

// A sparse row and one row of taps [taps][..] of a kernel, with the pixels [pixels][..] at which
// they meet, `at` - tap. `columns` is a whole number of registers; steps are in floats.
struct SparseJob {
  SparseRow row;
  int64_t taps, pixels, columns, tap_step, pixel_step;
};

// A row of patches of input pixels, each one `side` of the output to the right of the one before,
// and the points of each (winograd.cc). `values` is a whole number of registers; steps are in
// floats.
struct PatchJob {
  int64_t patches, values;
  int64_t first, pixels, pixel;  // first pixel of the first patch, pixels per row, pixel step
  int64_t point, patch;          // point step, patch step
};

// The rows of pixels that a row of patches becomes: where the first one starts, the step from row
// to row in floats, and how many there are.
struct PixelRows {
  float* first;
  int64_t row, count;
};

// Winograd's F(side x side, 3 x 3): patches of (side + 2)² input pixels, with as many points, yield
// side² pixels of output.
struct Filter {
  int side;
  // Of side + 2 rows; those that are null lie outside and read as zeros.
  void (*input_points)(const PatchJob&, const float* const* rows, float* points);
  // `then` is that of the first row.
  void (*output_of_points)(const PatchJob&, const float* points, const PixelRows& to,
                           const Epilogue& then);
  // Of `side` rows of the output's gradient; null ones lie outside.
  void (*gradient_points)(const PatchJob&, const float* const* rows, float* points);
  // [9][values] → [points][values], and the transpose.
  void (*kernel_points)(int64_t values, const float* taps, int64_t point, float* points);
  void (*kernel_of_points)(int64_t values, int64_t point, const float* points, float* taps);

  int reach() const { return side + 2; }
  int points() const { return reach() * reach(); }
};

// A row of sums [pixels][columns], which become pixels through their epilogue. `columns` is a whole
// number of registers; the step is in floats.
struct RowJob {
  int64_t pixels, columns, pixel_step;
};

// The functions for one instruction set. In `by_row` a_step is 1, in `by_step` a_row is 1; both are
// indexed by the number of registers across, less one, and of rows, less one.
struct Tiles {
  int lanes;   // floats per register
  int height;  // rows of a tile, at most
  using Function = void (*)(const TileJob&);
  Function by_row[2][kTallestTile], by_step[2][kTallestTile];
  void (*spread)(const SparseJob&, const float* taps, float* pixels);  // pixels += value * taps
  void (*gather)(const SparseJob&, float* taps, const float* pixels);  // taps += value * pixels
  void (*finish)(const RowJob&, const Epilogue& then, const float* sums, float* pixels);
  Filter small, large;  // patches of 2 x 2 and 4 x 4 pixels
};

extern const Tiles kTilesAvx512, kTilesAvx2, kTilesAnyCpu;
const Tiles& TilesOfThisCpu();

}  // namespace handjax
