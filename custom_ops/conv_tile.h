// The inner loops of all convolutions: a small tile of the output stays in registers while products are added up; what is 0 is passed over;
// patches become points and back.

#pragma once

#include <cstdint>

namespace handjax {

constexpr int kTallestTile = 14;  // rows of a tile at most; 14 x 2 registers of 16 leave four of AVX-512's for factors

// out[i, v] += sum over s, k of a[s][i * a_row + k * a_step] * b[s][k * b_step + v], for the rows i and `columns` values v of a
// tile. With `add` it starts from what is in `out`, else from `start`[v] (0 where there is none). All steps are in floats.
struct TileJob {
  int64_t count;          // of pairs (a[s], b[s])
  const float* const* a;  // moved on by `a_offset`
  const float* const* b;  // moved on by `b_offset`
  int64_t a_offset, b_offset, depth, a_row, a_step, b_step;
  float* out;
  int64_t out_row;
  int columns;
  bool add;
  const float* start;
};

// The numbers of a row of the input that are not 0, where a convolution has one channel: value[n] at position at[n].
struct SparseRow {
  int64_t count;
  const int32_t* at;
  const float* value;
};

// A sparse row and one row of taps [taps][..] of a kernel, at the pixels [pixels][..] that they meet, at - tap. All `columns` are whole
// registers; the steps from tap to tap and from pixel to pixel are in floats.
struct SparseJob {
  SparseRow row;
  int64_t taps, pixels, columns, tap_step, pixel_step;
};

// A row of patches of 4 x 4 pixels of the input, each two pixels right of the one before, that give 2 x 2 pixels of the output, and
// their 16 points each (winograd.cc). All `values` are whole registers; steps are in floats.
struct PatchJob {
  int64_t patches, values;
  int64_t first, pixels, pixel;  // the first patch's first pixel, pixels of a row, step from pixel to pixel
  int64_t point, patch;          // steps from point to point and from patch to patch
};

// One set of tiles for each kind of CPU. `by_row`: a_step is 1; else a_row is 1. First index: registers across, less one.
struct Tiles {
  int lanes;   // floats a register
  int height;  // rows at most
  using Function = void (*)(const TileJob&);
  Function by_row[2][kTallestTile], by_step[2][kTallestTile];
  void (*spread)(const SparseJob&, const float* taps, float* pixels);  // pixels += value * taps
  void (*gather)(const SparseJob&, float* taps, const float* pixels);  // taps += value * pixels
  // Rows that are null lie outside: zeros, or nowhere to write to.
  void (*input_points)(const PatchJob&, const float* const rows[4], float* points);
  void (*gradient_points)(const PatchJob&, const float* const rows[2], float* points);
  void (*output_of_points)(const PatchJob&, const float* points, float* const rows[2]);
  void (*kernel_points)(int64_t values, const float* taps, int64_t point, float* points);     // [9][values] → [16][values]
  void (*kernel_of_points)(int64_t values, int64_t point, const float* points, float* taps);  // its transpose
};

extern const Tiles kTilesAvx512, kTilesAvx2, kTilesAnyCpu;
const Tiles& TilesOfThisCpu();

}  // namespace handjax
