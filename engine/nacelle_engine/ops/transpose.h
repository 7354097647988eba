// The transpose of 16 x 16 words of 32 bits: pairs of bfloat16, or sums.
#pragma once

#include <cstdint>
#include <utility>

#include "tile.h"

namespace nacelle {

using Words = uint32_t __attribute__((vector_size(64)));

// Swaps the off-diagonal quarters of each square of 2 S rows and columns.
template <int S, int... I>
NACELLE_WIDE inline __attribute__((always_inline)) void swap_quarters(
    Words* rows, std::integer_sequence<int, I...>) {
  constexpr Words upper = {((I & S) ? 16 + I - S : I)...};
  constexpr Words lower = {((I & S) ? 16 + I : I + S)...};
#pragma GCC unroll 16
  for (int row = 0; row < 16; ++row) {
    if (row & S) continue;
    const Words a = rows[row], b = rows[row + S];
    rows[row] = __builtin_shuffle(a, b, upper);
    rows[row + S] = __builtin_shuffle(a, b, lower);
  }
}

// to[j * to_stride + i] = from[i * from_stride + j] for i, j below 16; strides in words.
NACELLE_WIDE inline void transpose(const void* from, int64_t from_stride, void* to,
                                   int64_t to_stride) {
  constexpr std::make_integer_sequence<int, 16> lanes;
  Words rows[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    std::memcpy(&rows[i], static_cast<const uint32_t*>(from) + i * from_stride, sizeof(Words));
  swap_quarters<8>(rows, lanes);
  swap_quarters<4>(rows, lanes);
  swap_quarters<2>(rows, lanes);
  swap_quarters<1>(rows, lanes);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    std::memcpy(static_cast<uint32_t*>(to) + i * to_stride, &rows[i], sizeof(Words));
}

}  // namespace nacelle
