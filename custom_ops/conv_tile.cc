// Compiled once per instruction set: HANDJAX_TILES is the name of the table defined here,
// HANDJAX_LANES the number of floats per register.

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

inline __attribute__((always_inline)) void Store(float* to, Register x) {
  std::memcpy(to, &x, sizeof x);
}

// NaN stays NaN.
inline __attribute__((always_inline)) Register Relu(Register x) {
  return x < Register{} ? Register{} : x;
}

// `sum` through an epilogue, of which `scale` and `shift` are loaded and whose residual is at
// `beside`, or null.
inline __attribute__((always_inline)) Register Finished(Register sum, Register scale,
                                                        Register shift, const float* beside,
                                                        bool relu) {
  sum = sum * scale + shift;
  if (beside) sum += Load(beside);
  return relu ? Relu(sum) : sum;
}

template <int kRows, int kAcross, bool kByRow>
void Tile(const TileJob& job) {
  Register sum[kRows][kAcross];
  const int64_t a_row = kByRow ? job.a_row : 1, a_step = kByRow ? 1 : job.a_step,
                b_step = job.b_step;
  const bool whole = job.columns == kAcross * kLanes;
  float edge[kRows][kAcross * kLanes];  // the tile, if it is wider than the rest of the output
  float* out = whole ? job.out : edge[0];
  const int64_t out_row = whole ? job.out_row : kAcross * kLanes;
  if (!whole) {
    std::memset(edge, 0, sizeof edge);
    if (job.add)
      for (int i = 0; i < kRows; ++i)
        std::memcpy(edge[i], job.out + i * job.out_row, job.columns * sizeof(float));
    if (job.then.residual)
      for (int i = 0; i < kRows; ++i)
        std::memcpy(edge[i], job.then.residual + i * job.out_row, job.columns * sizeof(float));
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kAcross; ++v)
      sum[i][v] = job.add     ? Load(out + i * out_row + v * kLanes)
                  : job.start ? Load(job.start + v * kLanes)
                              : Register{};

  // Asked for now, what the end of the tile needs comes while sums are made.
  if (!job.add)
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < kAcross; ++v) {
        __builtin_prefetch(out + i * out_row + v * kLanes, 1);
        if (job.then.residual) __builtin_prefetch(job.then.residual + i * job.out_row + v * kLanes);
      }

  for (int64_t s = 0; s < job.count; ++s) {
    // Only every third row has a pointer: the two in between are reached by addressing modes (base,
    // and base plus scaled index), so that all pointers stay in registers.
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

  if (job.then.scale) {
    // Of the edge, residuals lie where the output will: each is read before it is replaced.
    const float* beside = job.then.residual ? (whole ? job.then.residual : edge[0]) : nullptr;
#pragma GCC unroll 2
    for (int v = 0; v < kAcross; ++v) {
      const Register scale = Load(job.then.scale + v * kLanes),
                     shift = Load(job.then.shift + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) sum[i][v] = sum[i][v] * scale + shift;
    }
    if (beside)
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < kAcross; ++v) sum[i][v] += Load(beside + i * out_row + v * kLanes);
    if (job.then.relu)
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
        for (int v = 0; v < kAcross; ++v) sum[i][v] = Relu(sum[i][v]);
  }

#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kAcross; ++v)
      std::memcpy(out + i * out_row + v * kLanes, &sum[i][v], sizeof(Register));
  if (!whole)
    for (int i = 0; i < kRows; ++i)
      std::memcpy(job.out + i * job.out_row, edge[i], job.columns * sizeof(float));
}

template <typename Work>
inline __attribute__((always_inline)) void EachPair(const SparseJob& job, const Work& work) {
  for (int64_t n = 0; n < job.row.count; ++n) {
    const int64_t at = job.row.at[n], first = at < job.pixels ? 0 : at - job.pixels + 1,
                  end = at < job.taps ? at + 1 : job.taps;
    for (int64_t tap = first; tap < end; ++tap)
      for (int64_t v = 0; v < job.columns; v += kLanes)
        work(job.row.value[n], tap * job.tap_step + v, (at - tap) * job.pixel_step + v);
  }
}

inline __attribute__((always_inline)) void Add(float* to, float x, const float* from) {
  Store(to, Load(to) + x * Load(from));
}

void Spread(const SparseJob& job, const float* taps, float* pixels) {
  EachPair(job, [&](float x, int64_t tap, int64_t pixel)
                    __attribute__((always_inline)) { Add(pixels + pixel, x, taps + tap); });
}

void Gather(const SparseJob& job, float* taps, const float* pixels) {
  EachPair(job, [&](float x, int64_t tap, int64_t pixel)
                    __attribute__((always_inline)) { Add(taps + tap, x, pixels + pixel); });
}

void Finish(const RowJob& job, const Epilogue& then, const float* sums, float* pixels) {
  for (int64_t x = 0; x < job.pixels; ++x)
    for (int64_t v = 0; v < job.columns; v += kLanes) {
      const float* beside = then.residual ? then.residual + x * job.pixel_step + v : nullptr;
      Store(pixels + x * job.pixel_step + v,
            Finished(Load(sums + x * job.columns + v), Load(then.scale + v), Load(then.shift + v),
                     beside, then.relu));
    }
}

// ---- Winograd's points: the matrices, first down, then across ----------------------------------
//
// F(2 x 2, 3 x 3) interpolates at 0, 1, -1 and infinity; F(4 x 4, 3 x 3) at 0, ±√½, ±√2 and
// infinity, which has less than half the rounding error of the usual 0, ±1, ±2 (measured).

constexpr float kNear = 0.70710678f, kFar = 1.41421356f;

template <int kCount>
struct Run {
  Register at[kCount];
};

// Row i of columns that stand side by side.
template <int kColumns, int kRows>
inline __attribute__((always_inline)) Run<kColumns> Across(const Run<kRows> (&columns)[kColumns],
                                                           int i) {
  Run<kColumns> row;
#pragma GCC unroll 6
  for (int j = 0; j < kColumns; ++j) row.at[j] = columns[j].at[i];
  return row;
}

template <int kCount>
inline __attribute__((always_inline)) void StorePoints(const Run<kCount>& run, int64_t point,
                                                       float* points) {
#pragma GCC unroll 6
  for (int j = 0; j < kCount; ++j) Store(points + j * point, run.at[j]);
}

// Bt d
inline __attribute__((always_inline)) Run<4> OfInput(const Run<4>& d) {
  return {{d.at[0] - d.at[2], d.at[1] + d.at[2], d.at[2] - d.at[1], d.at[1] - d.at[3]}};
}

inline __attribute__((always_inline)) Run<6> OfInput(const Run<6>& d) {
  const Register even1 = d.at[4] - 2.0f * d.at[2], odd1 = kNear * (d.at[3] - 2.0f * d.at[1]),
                 even2 = d.at[4] - 0.5f * d.at[2], odd2 = kFar * (d.at[3] - 0.5f * d.at[1]);
  return {{d.at[0] - 2.5f * d.at[2] + d.at[4], even1 + odd1, even1 - odd1, even2 + odd2,
           even2 - odd2, d.at[1] - 2.5f * d.at[3] + d.at[5]}};
}

// At m
inline __attribute__((always_inline)) Run<2> OfPoints(const Run<4>& m) {
  return {{m.at[0] + m.at[1] + m.at[2], m.at[1] - m.at[2] - m.at[3]}};
}

inline __attribute__((always_inline)) Run<4> OfPoints(const Run<6>& m) {
  const Register even1 = m.at[1] + m.at[2], odd1 = kNear * (m.at[1] - m.at[2]),
                 even2 = m.at[3] + m.at[4], odd2 = kFar * (m.at[3] - m.at[4]);
  return {{m.at[0] + even1 + even2, odd1 + odd2, 0.5f * even1 + 2.0f * even2,
           0.5f * odd1 + 2.0f * odd2 + m.at[5]}};
}

// G g
template <int kCount>
inline __attribute__((always_inline)) Run<kCount> OfTaps(Register a, Register b, Register c);

template <>
inline __attribute__((always_inline)) Run<4> OfTaps<4>(Register a, Register b, Register c) {
  return {{a, 0.5f * (a + b + c), 0.5f * (a - b + c), c}};
}

template <>
inline __attribute__((always_inline)) Run<6> OfTaps<6>(Register a, Register b, Register c) {
  const Register even1 = (-2.0f / 3) * (a + 0.5f * c), odd1 = (-2.0f / 3 * kNear) * b,
                 even2 = (1.0f / 6) * (a + 2.0f * c), odd2 = (1.0f / 6 * kFar) * b;
  return {{a, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, c}};
}

// A y
inline __attribute__((always_inline)) Run<4> OfGradient(const Run<2>& y) {
  return {{y.at[0], y.at[0] + y.at[1], y.at[0] - y.at[1], -y.at[1]}};
}

inline __attribute__((always_inline)) Run<6> OfGradient(const Run<4>& y) {
  const Register even1 = y.at[0] + 0.5f * y.at[2], odd1 = kNear * (y.at[1] + 0.5f * y.at[3]),
                 even2 = y.at[0] + 2.0f * y.at[2], odd2 = kFar * (y.at[1] + 2.0f * y.at[3]);
  return {{y.at[0], even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, y.at[3]}};
}

// Gt q
inline __attribute__((always_inline)) Run<3> ToTaps(const Run<4>& q) {
  return {{q.at[0] + 0.5f * (q.at[1] + q.at[2]), 0.5f * (q.at[1] - q.at[2]),
           0.5f * (q.at[1] + q.at[2]) + q.at[3]}};
}

inline __attribute__((always_inline)) Run<3> ToTaps(const Run<6>& q) {
  const Register even1 = (-2.0f / 3) * (q.at[1] + q.at[2]),
                 even2 = (1.0f / 6) * (q.at[3] + q.at[4]);
  return {{q.at[0] + even1 + even2,
           (-2.0f / 3 * kNear) * (q.at[1] - q.at[2]) + (1.0f / 6 * kFar) * (q.at[3] - q.at[4]),
           0.5f * even1 + 2.0f * even2 + q.at[5]}};
}

constexpr float kZeros[kLanes] = {};

template <int kSide>
void InputPoints(const PatchJob& job, const float* const* rows, float* points) {
  constexpr int kReach = kSide + 2;
  for (int64_t v = 0; v < job.values; v += kLanes) {
    const float* from[kReach];
    int64_t step[kReach];
    for (int i = 0; i < kReach; ++i)
      from[i] = rows[i] ? rows[i] + v : kZeros, step[i] = rows[i] ? job.pixel : 0;
    const auto down = [&](int64_t x) __attribute__((always_inline)) {
      Run<kReach> column = {};
      if (x < 0 || x >= job.pixels) return column;
#pragma GCC unroll 6
      for (int i = 0; i < kReach; ++i) column.at[i] = Load(from[i] + x * step[i]);
      return OfInput(column);
    };
    // Neighbouring patches share two columns.
    Run<kReach> columns[kReach];
    columns[0] = down(job.first), columns[1] = down(job.first + 1);
    for (int64_t n = 0; n < job.patches; ++n) {
#pragma GCC unroll 4
      for (int j = 2; j < kReach; ++j) columns[j] = down(job.first + kSide * n + j);
#pragma GCC unroll 6
      for (int i = 0; i < kReach; ++i)
        StorePoints(OfInput(Across(columns, i)), job.point,
                    points + kReach * i * job.point + n * job.patch + v);
      columns[0] = columns[kSide], columns[1] = columns[kSide + 1];
    }
  }
}

template <int kSide>
void GradientPoints(const PatchJob& job, const float* const* rows, float* points) {
  constexpr int kReach = kSide + 2;
  for (int64_t v = 0; v < job.values; v += kLanes)
    for (int64_t n = 0; n < job.patches; ++n) {
      Run<kReach> columns[kSide];
#pragma GCC unroll 4
      for (int j = 0; j < kSide; ++j) {
        const int64_t x = kSide * n + j;
        Run<kSide> column = {};
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i)
          if (rows[i] && x < job.pixels) column.at[i] = Load(rows[i] + x * job.pixel + v);
        columns[j] = OfGradient(column);
      }
#pragma GCC unroll 6
      for (int i = 0; i < kReach; ++i)
        StorePoints(OfGradient(Across(columns, i)), job.point,
                    points + kReach * i * job.point + n * job.patch + v);
    }
}

template <int kSide>
void OutputOfPoints(const PatchJob& job, const float* points, const PixelRows& to,
                    const Epilogue& then) {
  constexpr int kReach = kSide + 2;
  for (int64_t n = 0; n < job.patches; ++n)
    for (int64_t v = 0; v < job.values; v += kLanes) {
      const float* from = points + n * job.patch + v;
      Run<kSide> down[kReach];
#pragma GCC unroll 6
      for (int j = 0; j < kReach; ++j) {
        Run<kReach> column;
#pragma GCC unroll 6
        for (int i = 0; i < kReach; ++i) column.at[i] = Load(from + (kReach * i + j) * job.point);
        down[j] = OfPoints(column);
      }
      const int64_t here = job.pixels - kSide * n;  // pixels from this patch on
#pragma GCC unroll 4
      for (int i = 0; i < kSide; ++i) {
        if (i >= to.count) break;
        const Run<kSide> y = OfPoints(Across(down, i));
        const int64_t at = i * to.row + kSide * n * job.pixel + v;
#pragma GCC unroll 4
        for (int j = 0; j < kSide; ++j) {
          if (j >= here) break;
          const int64_t pixel = at + j * job.pixel;
          Store(to.first + pixel,
                then.scale ? Finished(y.at[j], Load(then.scale + v), Load(then.shift + v),
                                      then.residual ? then.residual + pixel : nullptr, then.relu)
                           : y.at[j]);
        }
      }
    }
}

template <int kSide>
void KernelPoints(int64_t values, const float* taps, int64_t point, float* points) {
  constexpr int kReach = kSide + 2;
  for (int64_t v = 0; v < values; v += kLanes) {
    Run<kReach> down[3];
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j)
      down[j] = OfTaps<kReach>(Load(taps + j * values + v), Load(taps + (3 + j) * values + v),
                               Load(taps + (6 + j) * values + v));
#pragma GCC unroll 6
    for (int i = 0; i < kReach; ++i)
      StorePoints(OfTaps<kReach>(down[0].at[i], down[1].at[i], down[2].at[i]), point,
                  points + kReach * i * point + v);
  }
}

template <int kSide>
void KernelOfPoints(int64_t values, int64_t point, const float* points, float* taps) {
  constexpr int kReach = kSide + 2;
  for (int64_t v = 0; v < values; v += kLanes) {
    Run<3> down[kReach];
#pragma GCC unroll 6
    for (int j = 0; j < kReach; ++j) {
      Run<kReach> column;
#pragma GCC unroll 6
      for (int i = 0; i < kReach; ++i) column.at[i] = Load(points + (kReach * i + j) * point + v);
      down[j] = ToTaps(column);
    }
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) {
      const Run<3> row = ToTaps(Across(down, i));
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) Store(taps + (3 * i + j) * values + v, row.at[j]);
    }
  }
}

template <int kSide>
constexpr Filter Of() {
  return {kSide,
          InputPoints<kSide>,
          OutputOfPoints<kSide>,
          GradientPoints<kSide>,
          KernelPoints<kSide>,
          KernelOfPoints<kSide>};
}

template <int... kRows>
constexpr Tiles All(std::integer_sequence<int, kRows...>) {
  return {kLanes,
          kHeight,
          {{Tile<kRows + 1, 1, true>...}, {Tile<kRows + 1, 2, true>...}},
          {{Tile<kRows + 1, 1, false>...}, {Tile<kRows + 1, 2, false>...}},
          Spread,
          Gather,
          Finish,
          Of<2>(),
          Of<4>()};
}

}  // namespace

extern const Tiles HANDJAX_TILES = All(std::make_integer_sequence<int, kHeight>());

}  // namespace handjax
