// Coverage and depth of a triangle: the arithmetic shared by the CPU and the CUDA kernel. The
// reference implementation in JAX and the rule in words are in handjax/ops/rasterize.py; change
// them together.
//
// Every product is rounded before it is added to another (-ffp-contract=off, --fmad=false). Only
// then is an edge traversed in the other direction its exact negative, so that neighbouring
// triangles leave no gap and share no pixel.

#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define HANDJAX_INLINE __host__ __device__ __forceinline__
#else
#define HANDJAX_INLINE inline __attribute__((always_inline))
#endif

namespace handjax {

constexpr int kLargestImage = 16384;  // pixels a side, as in rasterize.py

// Corners on the screen, (u/w, v/w) px with depth d mm. `side`, for each edge: the side to which a
// pixel center exactly on the edge counts.
struct Triangle {
  float u[3], v[3], w[3], d[3], side[3];
};

// Pixels that may be covered, bounds included; empty if x0 > x1 or y0 > y1.
struct Box {
  int x0, y0, x1, y1;
};

HANDJAX_INLINE float Cross(const float* a, const float* b, int i) {
  const int j = (i + 1) % 3, k = (i + 2) % 3;
  return a[j] * b[k] - a[k] * b[j];
}

HANDJAX_INLINE float Min3(float a, float b, float c) {
  const float d = a < b ? a : b;
  return d < c ? d : c;
}

HANDJAX_INLINE float Max3(float a, float b, float c) {
  const float d = a > b ? a : b;
  return d > c ? d : c;
}

// Loads the face's corners. Returns false if the face is not to be drawn: an index is out of range
// or a corner is not finite.
HANDJAX_INLINE bool Load(const float* screen, int64_t vertices, const int32_t* face, Triangle& t) {
  float sum = 0;
  for (int i = 0; i < 3; ++i) {
    if (face[i] < 0 || face[i] >= vertices) return false;
    const float* at = screen + 4 * static_cast<int64_t>(face[i]);
    t.u[i] = at[0], t.v[i] = at[1], t.w[i] = at[2], t.d[i] = at[3];
    sum += 0 * at[0] + 0 * at[1] + 0 * at[2] + 0 * at[3];  // NaN if any is not finite
  }
  return sum == 0;
}

// Separate from `Load`: many faces of a fine mesh fall between pixel centers and need no sides.
HANDJAX_INLINE void FindSides(Triangle& t) {
  for (int i = 0; i < 3; ++i) {
    const float right = Cross(t.v, t.w, i);
    t.side[i] = right != 0 ? right : Cross(t.w, t.u, i);
  }
}

// The integer in [low, high] closest to x.
HANDJAX_INLINE int Clamp(float x, int low, int high) {
  const float l = static_cast<float>(low), h = static_cast<float>(high);
  return static_cast<int>(!(x > l) ? l : x < h ? x : h);
}

// A box that contains every pixel for which `Fragment` returns true. The margin of a hundredth of a
// pixel exceeds the rounding error of u/w in images of up to kLargestImage pixels. A triangle that
// reaches behind the camera may be anywhere.
HANDJAX_INLINE Box Bounds(const Triangle& t, int height, int width) {
  if (!((t.w[0] > 0) & (t.w[1] > 0) & (t.w[2] > 0))) return {0, 0, width - 1, height - 1};
  const float u0 = t.u[0] / t.w[0], u1 = t.u[1] / t.w[1], u2 = t.u[2] / t.w[2];
  const float v0 = t.v[0] / t.w[0], v1 = t.v[1] / t.w[1], v2 = t.v[2] / t.w[2];
  const float left = Min3(u0, u1, u2) - 0.01f, right = Max3(u0, u1, u2) + 0.01f;
  const float top = Min3(v0, v1, v2) - 0.01f, bottom = Max3(v0, v1, v2) + 0.01f;
  return {Clamp(ceilf(left), 0, width), Clamp(ceilf(top), 0, height),
          Clamp(floorf(right), -1, width - 1), Clamp(floorf(bottom), -1, height - 1)};
}

// Whether the triangle is drawn at pixel (x, y), and its depth there. `culled` is the sign of the
// sum of edge functions for which nothing is drawn, or 0. Free of branches, so that the pixels of a
// row are vectorized.
HANDJAX_INLINE bool Fragment(const Triangle& t, float x, float y, int culled, float near,
                             float& depth) {
  float du[3], dv[3];
  for (int i = 0; i < 3; ++i) {
    du[i] = t.u[i] - x * t.w[i];
    dv[i] = t.v[i] - y * t.w[i];
  }
  const float e0 = Cross(du, dv, 0), e1 = Cross(du, dv, 1), e2 = Cross(du, dv, 2);
  const float total = (e0 + e1) + e2;
  const float scale = (e0 * t.w[0] + e1 * t.w[1]) + e2 * t.w[2];
  depth = ((e0 * t.d[0] + e1 * t.d[1]) + e2 * t.d[2]) / total;

  // On an edge, its side decides.
  const float s0 = e0 == 0 ? t.side[0] : e0, s1 = e1 == 0 ? t.side[1] : e1,
              s2 = e2 == 0 ? t.side[2] : e2;
  const bool positive = (Min3(s0, s1, s2) > 0) & (total > 0) & (scale > 0) & (culled != 1);
  const bool negative = (Max3(s0, s1, s2) < 0) & (total < 0) & (scale < 0) & (culled != -1);
  // Always true for points inside, except for rounding errors along degenerate triangles.
  const bool near_by = (Min3(du[0], du[1], du[2]) <= 0) & (Max3(du[0], du[1], du[2]) >= 0) &
                       (Min3(dv[0], dv[1], dv[2]) <= 0) & (Max3(dv[0], dv[1], dv[2]) >= 0);
  return (positive | negative) & near_by & (depth > near);
}

}  // namespace handjax
