// One SIMD register of floats at the pinned level (x86-64-v3: 8 lanes, x86-64-v4: 16 lanes).
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace nacelle {

// A bfloat16 as it lies in memory: the upper half of a float.
struct bf16 {
  uint16_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

// The bits of the nearest bfloat16, ties to even; a NaN stays one.
inline uint16_t rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t nearest = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>((nan ? bits | 0x400000u : nearest) >> 16);
}

inline void store(float* to, float value) { *to = value; }
inline void store(bf16* to, float value) { to->bits = rounded(value); }

#if defined(__AVX512F__)
struct Vec {
  static constexpr int width = 16;
  __m512 v;
};
inline Vec zero() { return {_mm512_setzero_ps()}; }
inline Vec splat(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec load(const bf16* p) {
  const __m512i wide =
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x.v); }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec round_to_even(Vec x) { return {_mm512_roundscale_ps(x.v, 0)}; }
// 2^n for whole n in [-126, 127].
inline Vec power_of_two(Vec n) {
  const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))};
}
inline __m256 halves(Vec x) {
  return _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
}
#else
struct Vec {
  static constexpr int width = 8;
  __m256 v;
};
inline Vec zero() { return {_mm256_setzero_ps()}; }
inline Vec splat(float x) { return {_mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline Vec load(const bf16* p) {
  const __m256i wide =
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x.v); }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec round_to_even(Vec x) { return {_mm256_round_ps(x.v, 0)}; }
// 2^n for whole n in [-126, 127].
inline Vec power_of_two(Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}
inline __m256 halves(Vec x) { return x.v; }
#endif

// The lanes' sums of four registers. Every sum in these kernels ends here, so that an element's
// order of addition never depends on the tile it was computed in.
inline __m128 sum4(Vec a, Vec b, Vec c, Vec d) {
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(halves(a), halves(b)),
                                      _mm256_hadd_ps(halves(c), halves(d)));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}
inline float sum(Vec a) { return _mm_cvtss_f32(sum4(a, a, a, a)); }

inline float largest(Vec a) {
  alignas(64) float lanes[Vec::width];
  store(lanes, a);
  float result = lanes[0];
  for (int i = 1; i < Vec::width; ++i) result = lanes[i] > result ? lanes[i] : result;
  return result;
}

// e^x = 2^n (1 + r p), with n = round(x / ln 2), |r| <= ln 2 / 2 and 1 + r p the Taylor polynomial of
// e^r (degree 7: the next term is at most r^8 / 8! = 5e-9).
struct Exponent {
  Vec n, r, p;
};
inline Exponent reduce(Vec x) {
  const Vec n = round_to_even(x * splat(1.44269504088896341f));
  // ln 2 in two parts, so that n * ln 2 loses nothing.
  Vec r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  Vec p = splat(1.0f / 5040);
  p = fma(p, r, splat(1.0f / 720));
  p = fma(p, r, splat(1.0f / 120));
  p = fma(p, r, splat(1.0f / 24));
  p = fma(p, r, splat(1.0f / 6));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  return {n, r, p};
}

// e^x, relative error below 2e-7; x is held to [-87, 88], so e^-inf is about 1.6e-38, not 0.
inline Vec exp(Vec x) {
  const Exponent e = reduce(min(max(x, splat(-87.0f)), splat(88.0f)));
  return fma(e.p, e.r, splat(1.0f)) * power_of_two(e.n);
}

// tanh x = m / (m + 2) with m = e^2x - 1 = 2^n r p + (2^n - 1), which keeps the digits of a small x:
// relative error below 3e-7. Beyond |x| = 10 it is 1 in float.
inline Vec tanh(Vec x) {
  const Vec limit = splat(20.0f);
  const Exponent e = reduce(min(max(x + x, zero() - limit), limit));
  const Vec power = power_of_two(e.n);
  const Vec m = fma(e.r * e.p, power, power - splat(1.0f));
  return m / (m + splat(2.0f));
}

// cap * tanh(x / cap).
inline Vec soft_cap(Vec x, float cap) { return splat(cap) * tanh(x / splat(cap)); }

}  // namespace nacelle
