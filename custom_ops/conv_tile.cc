// Compiled once for each kind of CPU, with HANDJAX_TILES the name and HANDJAX_LANES the floats of its registers.

#include "conv_tile.h"

#include <cstring>
#include <utility>

namespace handjax {
namespace {

constexpr int kLanes = HANDJAX_LANES;
constexpr int kHeight = kLanes == 16 ? 14 : 6;
typedef float Register __attribute__((vector_size(kLanes * sizeof(float))));

inline __attribute__((always_inline)) Register Load(const float* from) {
  Register x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

template <int kRows, int kAcross, bool kByRow>
void Tile(const TileJob& job) {
  Register sum[kRows][kAcross];
  const int64_t a_row = kByRow ? job.a_row : 1, a_step = kByRow ? 1 : job.a_step, b_step = job.b_step;
  const bool whole = job.columns == kAcross * kLanes;
  float edge[kRows][kAcross * kLanes];  // the tile, where it is wider than what is left of the output
  float* out = whole ? job.out : edge[0];
  const int64_t out_row = whole ? job.out_row : kAcross * kLanes;
  if (!whole) {
    std::memset(edge, 0, sizeof edge);
    if (job.add)
      for (int i = 0; i < kRows; ++i) std::memcpy(edge[i], job.out + i * job.out_row, job.columns * sizeof(float));
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kAcross; ++v)
      sum[i][v] = job.add ? Load(out + i * out_row + v * kLanes) : job.start ? Load(job.start + v * kLanes) : Register{};

  for (int64_t s = 0; s < job.count; ++s) {
    // Every third row has a pointer: the two between are reached by what an address can be made of, so all pointers stay in registers.
    const float* a[(kRows + 2) / 3];
#pragma GCC unroll 16
    for (int i = 0; i < (kRows + 2) / 3; ++i) a[i] = job.a[s] + job.a_offset + 3 * i * a_row;
    const float* b = job.b[s] + job.b_offset;
#pragma GCC unroll 4
    for (int64_t k = 0; k < job.depth; ++k) {
      Register factor[kAcross];
#pragma GCC unroll 2
      for (int v = 0; v < kAcross; ++v) factor[v] = Load(b + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const float x = a[i / 3][(i % 3) * a_row];
#pragma GCC unroll 2
        for (int v = 0; v < kAcross; ++v) sum[i][v] += x * factor[v];
      }
#pragma GCC unroll 16
      for (int i = 0; i < (kRows + 2) / 3; ++i) {
        a[i] += a_step;
        asm("" : "+r"(a[i]));
      }
      b += b_step;
    }
  }

#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kAcross; ++v) std::memcpy(out + i * out_row + v * kLanes, &sum[i][v], sizeof(Register));
  if (!whole)
    for (int i = 0; i < kRows; ++i) std::memcpy(job.out + i * job.out_row, edge[i], job.columns * sizeof(float));
}

template <typename Work>
inline __attribute__((always_inline)) void EachPair(const SparseJob& job, const Work& work) {
  for (int64_t n = 0; n < job.row.count; ++n) {
    const int64_t at = job.row.at[n], first = at < job.pixels ? 0 : at - job.pixels + 1, end = at < job.taps ? at + 1 : job.taps;
    for (int64_t tap = first; tap < end; ++tap)
      for (int64_t v = 0; v < job.columns; v += kLanes) work(job.row.value[n], tap * job.tap_step + v, (at - tap) * job.pixel_step + v);
  }
}

inline __attribute__((always_inline)) void Add(float* to, float x, const float* from) {
  const Register sum = Load(to) + x * Load(from);
  std::memcpy(to, &sum, sizeof sum);
}

void Spread(const SparseJob& job, const float* taps, float* pixels) {
  EachPair(job, [&](float x, int64_t tap, int64_t pixel) __attribute__((always_inline)) { Add(pixels + pixel, x, taps + tap); });
}

void Gather(const SparseJob& job, float* taps, const float* pixels) {
  EachPair(job, [&](float x, int64_t tap, int64_t pixel) __attribute__((always_inline)) { Add(taps + tap, x, pixels + pixel); });
}

template <int... kRows>
constexpr Tiles All(std::integer_sequence<int, kRows...>) {
  return {kLanes,
          kHeight,
          {{Tile<kRows + 1, 1, true>...}, {Tile<kRows + 1, 2, true>...}},
          {{Tile<kRows + 1, 1, false>...}, {Tile<kRows + 1, 2, false>...}},
          Spread,
          Gather};
}

}  // namespace

extern const Tiles HANDJAX_TILES = All(std::make_integer_sequence<int, kHeight>());

}  // namespace handjax
