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

// A row of patches of 4 x 4 input pixels, each two pixels to the right of the one before, that
// yield 2 x 2 output pixels each, and their 16 points each (winograd.cc). `values` is a whole
// number of registers; steps are in floats.
struct PatchJob {
  int64_t patches, values;
  int64_t first, pixels, pixel;  // first pixel of the first patch, pixels per row, pixel step
  int64_t point, patch;          // point step, patch step
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
  // Null rows lie outside: they read as zeros and are not written.
  void (*input_points)(const PatchJob&, const float* const rows[4], float* points);
  void (*gradient_points)(const PatchJob&, const float* const rows[2], float* points);
  // `then` is that of rows[0], `second` its residual for rows[1].
  void (*output_of_points)(const PatchJob&, const float* points, float* const rows[2],
                           const Epilogue& then, const float* second);
  // [9][values] → [16][values], and the transpose.
  void (*kernel_points)(int64_t values, const float* taps, int64_t point, float* points);
  void (*kernel_of_points)(int64_t values, int64_t point, const float* points, float* taps);
};

extern const Tiles kTilesAvx512, kTilesAvx2, kTilesAnyCpu;
const Tiles& TilesOfThisCpu();

}  // namespace handjax
