// x [M, K] times the rows of a weight [N, K], both bfloat16, float32 sums: the kernel of tiles.
//
// A weight's tile is 16 of its rows as they lie in memory, 32 columns wide; a tile of x holds 16
// tokens, a pair of columns a row. Sums start at zero and take 32 columns after the other, the same
// for any M and in any place of a tile, so a token's result never depends on its batch.
#pragma once

#include <algorithm>

#include "matmul.h"
#include "tile.h"
#include "transpose.h"

namespace nacelle {

constexpr int64_t kTileTokens = 16;    // columns of sums
constexpr int64_t kTileColumns = 32;   // of x and the weight
constexpr int64_t kBlockRows = 32;     // two tiles of weight, multiplied together

inline int64_t tiles_of(int64_t columns) { return (columns + kTileColumns - 1) / kTileColumns; }
inline int64_t groups_of(int64_t tokens) { return (tokens + kTileTokens - 1) / kTileTokens; }

// Floats that the tiles of x take, and those that pack_tokens works in.
inline int64_t packed_size(int64_t tokens, int64_t k) {
  return groups_of(tokens) * tiles_of(k) * tile::kBytes / static_cast<int64_t>(sizeof(float));
}
inline int64_t packing_size(int64_t k) { return k + packed_size(kTileTokens, k); }

// The tiles of up to 16 tokens from `first` on, each prepared and rounded to bfloat16; what is
// beyond the last token or column is zero. `work` has packing_size(k) floats.
template <class Prepare>
NACELLE_WIDE void pack_tokens(const Prepare& prepare, int64_t first, int64_t m, int64_t k,
                              bool publish, float* work, float* packed) {
  const int64_t tiles = tiles_of(k), width = tiles * kTileColumns;
  bf16* const rows = reinterpret_cast<bf16*>(work);
  float* const row = work + packed_size(kTileTokens, k);
  const int64_t tokens = std::min(kTileTokens, m - first);
  std::memset(rows, 0, kTileTokens * width * sizeof(bf16));
  for (int64_t token = 0; token < tokens; ++token) {
    prepare(first + token, row, publish);
    for (int64_t i = 0; i < k; ++i) rows[token * width + i] = {rounded(row[i])};
  }
  for (int64_t tile = 0; tile < tiles; ++tile)
    transpose(rows + tile * kTileColumns, width / 2, packed + tile * kTileTokens * 16, 16);
}

// Where a tile of weight is to be loaded from.
struct Source {
  const void* from;
  int64_t stride;
};

// `rows` rows of weight from `column` on: in their place, or, where rows or columns end inside the
// tile, a copy filled up with zeros.
inline Source weight_tile(const bf16* weight, int64_t k, int64_t column, int64_t rows, char* copy) {
  const int64_t columns = std::min(kTileColumns, k - column);
  if (rows >= tile::kRows && columns == kTileColumns)
    return {weight + column, k * static_cast<int64_t>(sizeof(bf16))};
  std::memset(copy, 0, tile::kBytes);
  for (int64_t row = 0; row < std::min<int64_t>(rows, tile::kRows); ++row)
    std::memcpy(copy + row * tile::kRowBytes, weight + row * k + column, columns * sizeof(bf16));
  return {copy, tile::kRowBytes};
}

inline __attribute__((always_inline)) void prefetch_tile(const bf16* ahead, int64_t tile) {
  const char* from = reinterpret_cast<const char*>(ahead) + tile * tile::kBytes;
#pragma GCC unroll 16
  for (int64_t line = 0; line < tile::kBytes; line += 64) _mm_prefetch(from + line, _MM_HINT_T1);
}

// Two tiles of weight rows times GROUPS groups of tokens; sums[token][row], 32 rows a token.
// count: rows of each tile that there are. The next block's rows lie `next` elements further on.
template <int GROUPS>
NACELLE_WIDE inline void dot_block(const bf16* const (&weight)[2], const int64_t (&count)[2],
                                   int64_t next, const float* packed, int64_t k, float* sums) {
  const int64_t tiles = tiles_of(k), group = packed_size(kTileTokens, k);
  alignas(64) char copies[2][tile::kBytes];
  tile::zero<0>(), tile::zero<1>();
  if constexpr (GROUPS == 2) tile::zero<2>(), tile::zero<3>();
  for (int64_t i = 0; i < tiles; ++i) {
    const Source first = weight_tile(weight[0], k, i * kTileColumns, count[0], copies[0]);
    const Source second = weight_tile(weight[1], k, i * kTileColumns, count[1], copies[1]);
    tile::load<6>(packed + i * kTileTokens * 16, tile::kRowBytes);
    tile::load<4>(first.from, first.stride);
    tile::dot<0, 4, 6>();
    tile::load<5>(second.from, second.stride);
    tile::dot<1, 5, 6>();
    if constexpr (GROUPS == 2) {
      tile::load<7>(packed + group + i * kTileTokens * 16, tile::kRowBytes);
      tile::dot<2, 4, 7>();
      tile::dot<3, 5, 7>();
    }
    prefetch_tile(weight[0] + next, i);
    prefetch_tile(weight[1] + next, i);
  }
  alignas(64) char made[4][tile::kBytes];
  tile::store<0>(made[0], tile::kRowBytes), tile::store<1>(made[1], tile::kRowBytes);
  if constexpr (GROUPS == 2)
    tile::store<2>(made[2], tile::kRowBytes), tile::store<3>(made[3], tile::kRowBytes);
#pragma GCC unroll 4
  for (int i = 0; i < 2 * GROUPS; ++i)
    transpose(made[i], 16, sums + i / 2 * kTileTokens * kBlockRows + i % 2 * 16, kBlockRows);
}

// Rows [begin, end) times the tokens [token, token + 16 GROUPS) that there are, block by block;
// finish and the parts as in dot_rows.
template <int PARTS, int GROUPS, class Finish>
NACELLE_WIDE void dot_blocks(const bf16* w, int64_t part_rows, int64_t begin, int64_t end,
                             const float* packed, int64_t token, int64_t m, int64_t k,
                             const Finish& finish) {
  constexpr int64_t step = kBlockRows / PARTS;
  alignas(64) float sums[GROUPS * kTileTokens * kBlockRows];
  const int64_t tokens = std::min(GROUPS * kTileTokens, m - token);
  const float* const x = packed + token / kTileTokens * packed_size(kTileTokens, k);
  for (int64_t row = begin; row < end; row += step) {
    const int64_t second = PARTS == 2 ? part_rows + row : row + 16;
    const bf16* const weight[2] = {w + row * k, w + second * k};
    const int64_t count = std::min(step, end - row);
    const int64_t counts[2] = {count, PARTS == 2 ? count : count - 16};
    dot_block<GROUPS>(weight, counts, step * k, x, k, sums);
    for (int64_t i = 0; i < tokens; ++i) {
      const float* const found = sums + i * kBlockRows;
      finish(token + i, row, count, found, found + (PARTS == 2 ? 16 : 0));
    }
  }
}

// All `m` tokens times rows [begin, end), panel by panel, two groups of tokens at a time.
template <int PARTS, class Finish>
void dot_all_tiles(const bf16* w, int64_t part_rows, int64_t begin, int64_t end,
                   const float* packed, int64_t m, int64_t k, const Finish& finish) {
  [[maybe_unused]] const tile::Configured configured{};
  constexpr int64_t step = kBlockRows / PARTS;
  const int64_t row_bytes = k * static_cast<int64_t>(sizeof(bf16)) * PARTS;
  const int64_t panel = std::max(kPanelBytes / row_bytes / step, int64_t{1}) * step;
  for (int64_t row = begin; row < end; row += panel) {
    const int64_t last = std::min(end, row + panel);
    for (int64_t token = 0; token < m; token += 2 * kTileTokens) {
      if (m - token > kTileTokens) {
        dot_blocks<PARTS, 2>(w, part_rows, row, last, packed, token, m, k, finish);
      } else {
        dot_blocks<PARTS, 1>(w, part_rows, row, last, packed, token, m, k, finish);
      }
    }
  }
}

}  // namespace nacelle
