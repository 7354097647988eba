// What attention starts with: each token's heads normed, rotated and placed, keys and values in the
// paged cache. See attention.py.
#pragma once

#include <cmath>
#include <cstring>

#include "tensor.h"

namespace nacelle {

constexpr int kBlock = 32;     // tokens of a cache block

template <class T>
struct Args {
  const T* qkv;            // [tokens, (heads + 2 kv_heads) * dim]
  const T* q_norm;         // [dim], or null: queries are not normed
  const T* k_norm;         // [dim], or null
  const float* cos_sin;    // [tokens, rotary]: rotary / 2 cosines, then as many sines
  T* kv;                   // [blocks, 2, kv_heads, kBlock, dim]
  const int64_t* slots;    // [tokens]
  const int32_t* q_start;  // [requests + 1]
  const int32_t* tables;   // [requests, width]
  const int32_t* seq_lens; // [requests]
  float* q;                // [tokens, heads * dim], rotated and scaled
  T* out;                  // [tokens, heads * dim]
  int64_t tokens, requests, width, heads, kv_heads, dim, rotary, window;
  float scale, cap, eps;

  T* block(int64_t number, int64_t part, int64_t head) const {
    return kv + ((number * 2 + part) * kv_heads + head) * kBlock * dim;
  }
};

// out[j] = x[j] cos - x[j + half] sin; out[j + half] = x[j + half] cos + x[j] sin, all times scale;
// what lies beyond the rotated dimensions is only scaled.
template <class T, class Out>
inline void rotate(const T* x, const float* cos_sin, int64_t rotary, int64_t dim, float scale,
                   Out* out) {
  const int64_t half = rotary / 2;
  for (int64_t j = 0; j < half; ++j) {
    const float a = to_float(x[j]), b = to_float(x[j + half]);
    const float cosine = cos_sin[j], sine = cos_sin[j + half];
    store(out + j, (a * cosine - b * sine) * scale);
    store(out + j + half, (b * cosine + a * sine) * scale);
  }
  for (int64_t j = rotary; j < dim; ++j) store(out + j, to_float(x[j]) * scale);
}

// out = x / sqrt(mean(x^2) + eps) * norm.
template <class T>
inline void normed(const T* x, const T* norm, int64_t dim, float eps, float* out) {
  Vec squares = zero();
  for (int64_t i = 0; i < dim; i += Vec::width) {
    const Vec value = load(x + i);
    squares = fma(value, value, squares);
  }
  const Vec scale = splat(1.0f / std::sqrt(sum(squares) / static_cast<float>(dim) + eps));
  for (int64_t i = 0; i < dim; i += Vec::width)
    store(out + i, load(x + i) * scale * load(norm + i));
}

// One head, normed where there is a norm, and rotated.
template <class T, class Out>
inline void place(const Args<T>& a, const T* x, const T* norm, const float* cos_sin, float scale,
                  Out* out) {
  if (norm == nullptr) {
    rotate(x, cos_sin, a.rotary, a.dim, scale, out);
  } else {
    float* const row = scratch(a.dim);
    normed(x, norm, a.dim, a.eps, row);
    rotate(row, cos_sin, a.rotary, a.dim, scale, out);
  }
}

// Places one token's queries in q, its keys in the cache, and copies its values there.
template <class T>
inline void append(const Args<T>& a, int64_t token, float scale) {
  const T* row = a.qkv + token * (a.heads + 2 * a.kv_heads) * a.dim;
  const float* cos_sin = a.cos_sin + token * a.rotary;
  for (int64_t h = 0; h < a.heads; ++h)
    place(a, row + h * a.dim, a.q_norm, cos_sin, scale, a.q + (token * a.heads + h) * a.dim);
  const int64_t number = a.slots[token] / kBlock, offset = a.slots[token] % kBlock;
  for (int64_t h = 0; h < a.kv_heads; ++h) {
    place(a, row + (a.heads + h) * a.dim, a.k_norm, cos_sin, 1.0f,
          a.block(number, 0, h) + offset * a.dim);
    std::memcpy(a.block(number, 1, h) + offset * a.dim,
                row + (a.heads + a.kv_heads + h) * a.dim, a.dim * sizeof(T));
  }
}

}  // namespace nacelle
