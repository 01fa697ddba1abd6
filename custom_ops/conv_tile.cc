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

// ---- Winograd's points: the matrices of F(2 x 2, 3 x 3), first down, then across ---------------

struct Four {
  Register at[4];
};

// Bt d
inline __attribute__((always_inline)) Four OfInput(Register a, Register b, Register c, Register d) {
  return {{a - c, b + c, c - b, b - d}};
}

// A y
inline __attribute__((always_inline)) Four OfGradient(Register a, Register b) {
  return {{a, a + b, a - b, -b}};
}

// G g
inline __attribute__((always_inline)) Four OfTaps(Register a, Register b, Register c) {
  return {{a, 0.5f * (a + b + c), 0.5f * (a - b + c), c}};
}

inline __attribute__((always_inline)) void StorePoints(const Four (&across)[4], int64_t point,
                                                       float* points) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) Store(points + (4 * i + j) * point, across[i].at[j]);
}

constexpr float kZeros[kLanes] = {};

void InputPoints(const PatchJob& job, const float* const rows[4], float* points) {
  for (int64_t v = 0; v < job.values; v += kLanes) {
    const float* from[4];
    int64_t step[4];
    for (int i = 0; i < 4; ++i)
      from[i] = rows[i] ? rows[i] + v : kZeros, step[i] = rows[i] ? job.pixel : 0;
    const auto down = [&](int64_t x) __attribute__((always_inline)) {
      if (x < 0 || x >= job.pixels) return Four{};
      return OfInput(Load(from[0] + x * step[0]), Load(from[1] + x * step[1]),
                     Load(from[2] + x * step[2]), Load(from[3] + x * step[3]));
    };
    Four a = down(job.first), b = down(job.first + 1);
    for (int64_t n = 0; n < job.patches; ++n) {
      const Four c = down(job.first + 2 * n + 2), d = down(job.first + 2 * n + 3);
      Four across[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) across[i] = OfInput(a.at[i], b.at[i], c.at[i], d.at[i]);
      StorePoints(across, job.point, points + n * job.patch + v);
      a = c, b = d;
    }
  }
}

void GradientPoints(const PatchJob& job, const float* const rows[2], float* points) {
  for (int64_t v = 0; v < job.values; v += kLanes)
    for (int64_t n = 0; n < job.patches; ++n) {
      const auto down = [&](int64_t x) __attribute__((always_inline)) {
        const auto at = [&](const float* row) __attribute__((always_inline)) {
          return row ? Load(row + x * job.pixel + v) : Register{};
        };
        return x < job.pixels ? OfGradient(at(rows[0]), at(rows[1])) : Four{};
      };
      const Four a = down(2 * n), b = down(2 * n + 1);
      Four across[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) across[i] = OfGradient(a.at[i], b.at[i]);
      StorePoints(across, job.point, points + n * job.patch + v);
    }
}

void OutputOfPoints(const PatchJob& job, const float* points, float* const rows[2],
                    const Epilogue& then, const float* second) {
  const float* const beside[2] = {then.residual, second};
  for (int64_t n = 0; n < job.patches; ++n)
    for (int64_t v = 0; v < job.values; v += kLanes) {
      const float* from = points + n * job.patch + v;
      Register down[2][4];  // At m
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const Register a = Load(from + j * job.point), b = Load(from + (4 + j) * job.point),
                       c = Load(from + (8 + j) * job.point), d = Load(from + (12 + j) * job.point);
        down[0][j] = a + b + c, down[1][j] = b - c - d;
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        if (!rows[i]) continue;
        const int64_t at = 2 * n * job.pixel + v;
        Register left = down[i][0] + down[i][1] + down[i][2],
                 right = down[i][1] - down[i][2] - down[i][3];
        const bool both = 2 * n + 1 < job.pixels;
        if (then.scale) {
          const Register scale = Load(then.scale + v), shift = Load(then.shift + v);
          const float* residual = beside[i] ? beside[i] + at : nullptr;
          left = Finished(left, scale, shift, residual, then.relu);
          if (both)
            right = Finished(right, scale, shift, residual ? residual + job.pixel : nullptr,
                             then.relu);
        }
        Store(rows[i] + at, left);
        if (both) Store(rows[i] + at + job.pixel, right);
      }
    }
}

void KernelPoints(int64_t values, const float* taps, int64_t point, float* points) {
  for (int64_t v = 0; v < values; v += kLanes) {
    Four down[3], across[4];
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j)
      down[j] = OfTaps(Load(taps + j * values + v), Load(taps + (3 + j) * values + v),
                       Load(taps + (6 + j) * values + v));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) across[i] = OfTaps(down[0].at[i], down[1].at[i], down[2].at[i]);
    StorePoints(across, point, points + v);
  }
}

void KernelOfPoints(int64_t values, int64_t point, const float* points, float* taps) {
  const auto to_taps = [](Register a, Register b, Register c, Register d,
                          Register(&to)[3]) __attribute__((always_inline)) {
    to[0] = a + 0.5f * (b + c), to[1] = 0.5f * (b - c), to[2] = 0.5f * (b + c) + d;
  };
  for (int64_t v = 0; v < values; v += kLanes) {
    Register down[4][3], across[3];
    const auto at = [&](int i, int j) __attribute__((always_inline)) {
      return Load(points + (4 * i + j) * point + v);
    };
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) to_taps(at(0, j), at(1, j), at(2, j), at(3, j), down[j]);
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) {
      to_taps(down[0][i], down[1][i], down[2][i], down[3][i], across);
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) Store(taps + (3 * i + j) * values + v, across[j]);
    }
  }
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
          InputPoints,
          GradientPoints,
          OutputOfPoints,
          KernelPoints,
          KernelOfPoints};
}

}  // namespace

extern const Tiles HANDJAX_TILES = All(std::make_integer_sequence<int, kHeight>());

}  // namespace handjax
