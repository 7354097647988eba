// Tile registers, as Intel's AMX has them: eight of 16 rows of 64 bytes, and the dot product of
// bfloat16 pairs, TDPBF16PS (Intel 64 and IA-32 SDM, volume 2).
//
// With NACELLE_EMULATED_TILES the same in plain C++, so that tests run these kernels on any CPU.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "vector.h"

namespace nacelle {

// Whether this process may use tiles: decided once, when the library is loaded (tile.cpp).
extern const bool kTiles;

namespace tile {

constexpr int kRows = 16;
constexpr int64_t kRowBytes = 64;
constexpr int64_t kBytes = kRows * kRowBytes;

#if defined(NACELLE_EMULATED_TILES)

#define NACELLE_WIDE

struct Registers {
  alignas(64) char bytes[8][kBytes];
};
inline thread_local Registers registers;

struct Configured {};

template <int TILE>
inline void zero() {
  std::memset(registers.bytes[TILE], 0, kBytes);
}
template <int TILE>
inline void load(const void* from, int64_t stride) {
  for (int row = 0; row < kRows; ++row)
    std::memcpy(registers.bytes[TILE] + row * kRowBytes,
                static_cast<const char*>(from) + row * stride, kRowBytes);
}
template <int TILE>
inline void store(void* to, int64_t stride) {
  for (int row = 0; row < kRows; ++row)
    std::memcpy(static_cast<char*>(to) + row * stride, registers.bytes[TILE] + row * kRowBytes,
                kRowBytes);
}
// The manual's order: sums of the pairs' first and of their second elements, each from zero by
// fused multiply-adds, then both together are added to the result.
template <int SUMS, int A, int B>
inline void dot() {
  const auto* a = reinterpret_cast<const bf16(*)[32]>(registers.bytes[A]);
  const auto* b = reinterpret_cast<const bf16(*)[32]>(registers.bytes[B]);
  auto* sums = reinterpret_cast<float(*)[16]>(registers.bytes[SUMS]);
  for (int row = 0; row < kRows; ++row) {
    float pairs[32] = {};
    for (int pair = 0; pair < 16; ++pair)
      for (int i = 0; i < 32; ++i)
        pairs[i] = std::fma(to_float(a[row][2 * pair + i % 2]), to_float(b[pair][i]), pairs[i]);
    for (int column = 0; column < 16; ++column)
      sums[row][column] += pairs[2 * column] + pairs[2 * column + 1];
  }
}

#else

// Every CPU with tiles has these; the library's level may not ask for them.
#define NACELLE_WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

// What LDTILECFG reads: palette 1, and the bytes of a row and the rows of each tile.
struct alignas(64) Shapes {
  uint8_t palette = 0, first_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// While it lives, this thread's tiles all have their full size; then they are again what they were
// before (unused, or another library's).
class Configured {
 public:
  Configured() {
    asm volatile("sttilecfg %0" : "=m"(before_));
    Shapes full;
    full.palette = 1;
    for (int i = 0; i < 8; ++i) full.row_bytes[i] = kRowBytes, full.rows[i] = kRows;
    asm volatile("ldtilecfg %0" ::"m"(full));
  }
  ~Configured() { asm volatile("ldtilecfg %0" ::"m"(before_)); }
  Configured(const Configured&) = delete;
  Configured& operator=(const Configured&) = delete;

 private:
  Shapes before_;
};

// In assembler, because the compiler's intrinsics take a tile's number as text only.
template <int TILE>
inline __attribute__((always_inline)) void zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(TILE));
}
template <int TILE>
inline __attribute__((always_inline)) void load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(TILE), "r"(from), "r"(stride) : "memory");
}
template <int TILE>
inline __attribute__((always_inline)) void store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(TILE), "r"(to), "r"(stride) : "memory");
}
// SUMS[row][column] += sum over pairs of A[row][pair] . B[pair][column], float32 sums.
template <int SUMS, int A, int B>
inline __attribute__((always_inline)) void dot() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUMS), "i"(A), "i"(B));
}

#endif

}  // namespace tile
}  // namespace nacelle
