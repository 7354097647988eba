// x [M, K] times the rows of a weight [N, K], float32 sums, whatever the tile: the FMA kernel.
//
// Each output element is one register of partial sums over k in steps of Vec::width, added up by
// sum4: the same order for any M, so a token's result never depends on its batch.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vector.h"

namespace nacelle {

// Rows of weight for a tile of C tokens: as many as the registers hold (C * R sums, R weights, one x).
#if defined(__AVX512F__)
constexpr int kMaxTokens = 6;
constexpr int kRows[kMaxTokens + 1] = {0, 8, 8, 7, 6, 5, 4};
#else
constexpr int kMaxTokens = 4;
constexpr int kRows[kMaxTokens + 1] = {0, 8, 6, 3, 3};
#endif

// Half of the smallest second-level cache of these levels (512 KiB): a panel of weight rows stays
// there while all tokens pass over it.
constexpr int64_t kPanelBytes = 256 * 1024;
constexpr int64_t kPanelRows = 96;

// sums[c * sums_stride + r] = sum over k of x[c, k] * w[r, k]; up to 3 floats more are written.
template <int R, int C, class T>
inline __attribute__((always_inline)) void dot_tile(const T* w, int64_t w_stride, const float* x,
                                                    int64_t x_stride, int64_t k, float* sums,
                                                    int64_t sums_stride) {
  Vec acc[C][R];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[c][r] = zero();
  const char* ahead = reinterpret_cast<const char*>(w + R * w_stride);
  for (int64_t i = 0; i < k; i += Vec::width) {
    Vec b[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) b[r] = load(w + r * w_stride + i);
    // The next R rows follow these in memory: fetch them at the pace these are used.
#pragma GCC unroll 8
    for (int line = 0; line < R * Vec::width * static_cast<int>(sizeof(T)); line += 64)
      _mm_prefetch(ahead + i * R * static_cast<int64_t>(sizeof(T)) + line, _MM_HINT_T0);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const Vec a = load(x + c * x_stride + i);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[c][r] = fma(a, b[r], acc[c][r]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c)
#pragma GCC unroll 8
    for (int r = 0; r < R; r += 4) {
      const __m128 four = sum4(acc[c][r], r + 1 < R ? acc[c][r + 1] : zero(),
                               r + 2 < R ? acc[c][r + 2] : zero(),
                               r + 3 < R ? acc[c][r + 3] : zero());
      _mm_storeu_ps(sums + c * sums_stride + r, four);
    }
}

// Rows [begin, end), at most kPanelRows, times C tokens; then finish(token, first row, count, sums
// of part 0, sums of the last part) for each token.
// Part p of row n is the weight's row n + p * part_rows (gate and up lie below each other).
template <int PARTS, int C, class T, class Finish>
inline void dot_rows(const T* w, int64_t part_rows, int64_t begin, int64_t end, const float* x,
                     int64_t k, int64_t token, const Finish& finish) {
  constexpr int R = kRows[C];
  constexpr int64_t stride = kPanelRows + 4;
  float sums[PARTS][C * stride];
  for (int p = 0; p < PARTS; ++p) {
    const T* part = w + p * part_rows * k;
    int64_t row = begin;
    for (; row + R <= end; row += R)
      dot_tile<R, C>(part + row * k, k, x, k, k, sums[p] + row - begin, stride);
    for (; row < end; ++row)
      dot_tile<1, C>(part + row * k, k, x, k, k, sums[p] + row - begin, stride);
  }
  for (int c = 0; c < C; ++c)
    finish(token + c, begin, end - begin, sums[0] + c * stride, sums[PARTS - 1] + c * stride);
}

// Calls dot_rows with the tile of `tokens` tokens (at most kMaxTokens).
template <int PARTS, class T, class Finish, int C = kMaxTokens>
inline void dot_tokens(int tokens, const T* w, int64_t part_rows, int64_t begin, int64_t end,
                       const float* x, int64_t k, int64_t token, const Finish& finish) {
  if (tokens == C) {
    dot_rows<PARTS, C>(w, part_rows, begin, end, x, k, token, finish);
  } else if constexpr (C > 1) {
    dot_tokens<PARTS, T, Finish, C - 1>(tokens, w, part_rows, begin, end, x, k, token, finish);
  }
}

// All `m` tokens of x times rows [begin, end), panel by panel; tokens spread evenly over tiles.
template <int PARTS, class T, class Finish>
inline void dot_all(const T* w, int64_t part_rows, int64_t begin, int64_t end, const float* x,
                    int64_t m, int64_t k, const Finish& finish) {
  const int64_t row_bytes = k * static_cast<int64_t>(sizeof(T)) * PARTS;
  const int64_t panel =
      std::clamp<int64_t>(kPanelBytes / row_bytes / 24 * 24, 24, kPanelRows / PARTS / 24 * 24);
  const int64_t tiles = (m + kMaxTokens - 1) / kMaxTokens;
  for (int64_t row = begin; row < end; row += panel) {
    const int64_t last = std::min(end, row + panel);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t token = m * tile / tiles;
      const int tokens = static_cast<int>(m * (tile + 1) / tiles - token);
      dot_tokens<PARTS>(tokens, w, part_rows, row, last, x + token * k, k, token, finish);
    }
  }
}

}  // namespace nacelle
