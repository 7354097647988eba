// nacelle::attention: see attention.py.
#include <omp.h>

#include "matmul.h"
#include "tensor.h"

namespace nacelle {
namespace {

constexpr int kBlock = 32;     // tokens of a cache block
constexpr int kTileRows = 32;  // (token, head) rows that share the reading of a block

template <class T>
struct Args {
  const T* qkv;            // [tokens, (heads + 2 kv_heads) * dim]
  const float* cos_sin;    // [tokens, dim]: dim / 2 cosines, then as many sines
  T* kv;                   // [blocks, 2, kv_heads, kBlock, dim]
  const int64_t* slots;    // [tokens]
  const int32_t* q_start;  // [requests + 1]
  const int32_t* tables;   // [requests, width]
  const int32_t* seq_lens; // [requests]
  float* q;                // [tokens, heads * dim], rotated and scaled
  T* out;                  // [tokens, heads * dim]
  int64_t tokens, requests, width, heads, kv_heads, dim;

  T* block(int64_t number, int64_t part, int64_t head) const {
    return kv + ((number * 2 + part) * kv_heads + head) * kBlock * dim;
  }
};

// out[j] = x[j] cos - x[j + half] sin; out[j + half] = x[j + half] cos + x[j] sin.
template <class T, class Out>
inline void rotate(const T* x, const float* cos_sin, int64_t dim, float scale, Out* out) {
  const int64_t half = dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    const float a = to_float(x[j]), b = to_float(x[j + half]);
    const float cosine = cos_sin[j], sine = cos_sin[j + half];
    store(out + j, (a * cosine - b * sine) * scale);
    store(out + j + half, (b * cosine + a * sine) * scale);
  }
}

// Rotates one token's queries into q, its keys into the cache, and copies its values there.
template <class T>
inline void append(const Args<T>& a, int64_t token, float scale) {
  const T* row = a.qkv + token * (a.heads + 2 * a.kv_heads) * a.dim;
  const float* cos_sin = a.cos_sin + token * a.dim;
  for (int64_t h = 0; h < a.heads; ++h)
    rotate(row + h * a.dim, cos_sin, a.dim, scale, a.q + (token * a.heads + h) * a.dim);
  const int64_t number = a.slots[token] / kBlock, place = a.slots[token] % kBlock;
  for (int64_t h = 0; h < a.kv_heads; ++h) {
    rotate(row + (a.heads + h) * a.dim, cos_sin, a.dim, 1.0f,
           a.block(number, 0, h) + place * a.dim);
    std::memcpy(a.block(number, 1, h) + place * a.dim,
                row + (a.heads + a.kv_heads + h) * a.dim, a.dim * sizeof(T));
  }
}

// Running softmax of one row: acc = sum of weight * value, under the largest score so far.
struct State {
  float largest, total;
};

// scores[row][key] for `rows` rows against the block's first `keys` keys.
template <class T>
inline void score(const T* keys, const float* q, int rows, int count, int64_t dim,
                  float (*scores)[kBlock]) {
  dot_all<1>(keys, 0, 0, count, q, rows, dim,
             [=](int64_t row, int64_t key, int64_t n, const float* sums, const float*) {
               std::memcpy(scores[row] + key, sums, n * sizeof(float));
             });
}

// Turns a row's scores into weights; gives what the row's older sums are to be multiplied by.
inline float soften(float* scores, int visible, State& state) {
  for (int i = visible; i < kBlock; ++i) scores[i] = -INFINITY;
  Vec top = load(scores);
  for (int i = Vec::width; i < kBlock; i += Vec::width) top = max(top, load(scores + i));
  const float before = state.largest;
  state.largest = std::max(before, largest(top));
  Vec total = zero();
  for (int i = 0; i < kBlock; i += Vec::width) {
    const Vec weight = exp(load(scores + i) - splat(state.largest));
    store(scores + i, weight);
    total = total + weight;
  }
  float correction[Vec::width];
  store(correction, exp(splat(before - state.largest)));
  for (int i = visible; i < kBlock; ++i) scores[i] = 0.0f;
  state.total = state.total * correction[0] + sum(total);
  return correction[0];
}

// acc[R][columns of C registers] = acc * correction + scores [R, keys] x values [keys, dim].
template <int R, int C, class T>
inline __attribute__((always_inline)) void weigh(const T* values, const float (*scores)[kBlock],
                                                 const float* correction, int keys, int64_t dim,
                                                 float* acc) {
  Vec sums[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
      sums[r][c] = load(acc + r * dim + c * Vec::width) * splat(correction[r]);
  for (int key = 0; key < keys; ++key) {
    Vec v[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) v[c] = load(values + key * dim + c * Vec::width);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec weight = splat(scores[r][key]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sums[r][c] = fma(weight, v[c], sums[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) store(acc + r * dim + c * Vec::width, sums[r][c]);
}

template <class T>
inline void weigh_all(const T* values, const float (*scores)[kBlock], const float* correction,
                      int rows, int keys, int64_t dim, float* acc) {
  for (int64_t column = 0; column < dim; column += 2 * Vec::width) {
    const bool pair = column + 2 * Vec::width <= dim;
    for (int row = 0; row < rows;) {
      const T* v = values + column;
      float* to = acc + row * dim + column;
      const int left = rows - row;
      if (left >= 4 && pair) {
        weigh<4, 2>(v, scores + row, correction + row, keys, dim, to), row += 4;
      } else if (left >= 3 && pair) {
        weigh<3, 2>(v, scores + row, correction + row, keys, dim, to), row += 3;
      } else if (pair) {
        weigh<1, 2>(v, scores + row, correction + row, keys, dim, to), row += 1;
      } else {
        weigh<1, 1>(v, scores + row, correction + row, keys, dim, to), row += 1;
      }
    }
  }
}

// One piece of work: queries [first, last) of one request, for `group` heads of one KV head.
struct Piece {
  int32_t request, first, last, kv_head, head, group;
};

template <class T>
void attend(const Args<T>& a, const Piece& piece) {
  const auto [request, first, last, kv_head, head, group] = piece;
  const int64_t dim = a.dim, tokens = last - first;
  const int rows = static_cast<int>(tokens) * group;
  float* const q = scratch(2 * rows * dim);
  float* const acc = q + rows * dim;
  State state[kTileRows];
  float scores[kTileRows][kBlock], correction[kTileRows];
  for (int row = 0; row < rows; ++row) {
    std::memcpy(q + row * dim, a.q + ((first + row / group) * a.heads + head + row % group) * dim,
                dim * sizeof(float));
    state[row] = {-INFINITY, 0.0f};
  }
  std::memset(acc, 0, rows * dim * sizeof(float));
  // Token t of the step stands at position t + shift of its sequence.
  const int64_t shift = a.seq_lens[request] - a.q_start[request + 1];
  const int64_t visible = last + shift;
  for (int64_t start = 0; start < visible; start += kBlock) {
    const int64_t number = a.tables[request * a.width + start / kBlock];
    const int keys = static_cast<int>(std::min<int64_t>(kBlock, visible - start));
    score(a.block(number, 0, kv_head), q, rows, keys, dim, scores);
    for (int row = 0; row < rows; ++row) {
      const int64_t seen = first + row / group + shift + 1 - start;
      correction[row] =
          soften(scores[row], static_cast<int>(std::clamp<int64_t>(seen, 0, kBlock)), state[row]);
    }
    weigh_all(a.block(number, 1, kv_head), scores, correction, rows, keys, dim, acc);
  }
  for (int row = 0; row < rows; ++row) {
    T* to = a.out + ((first + row / group) * a.heads + head + row % group) * dim;
    const float scale = 1.0f / state[row].total;
    for (int64_t i = 0; i < dim; ++i) store(to + i, acc[row * dim + i] * scale);
  }
}

template <class T>
std::vector<Piece> pieces(const Args<T>& a, int threads) {
  const int64_t group = a.heads / a.kv_heads;
  const bool split_heads = a.requests * a.kv_heads < 4 * threads || group > kTileRows;
  const int32_t step = static_cast<int32_t>(split_heads ? 1 : group);
  const int32_t tile = kTileRows / step;
  std::vector<Piece> all;
  for (int32_t r = 0; r < a.requests; ++r)
    for (int32_t first = a.q_start[r]; first < a.q_start[r + 1]; first += tile)
      for (int32_t head = 0; head < a.heads; head += step)
        all.push_back({r, first, std::min(first + tile, a.q_start[r + 1]),
                       static_cast<int32_t>(head / group), head, step});
  return all;
}

// The op's inputs, in its schema's order.
struct Inputs {
  View qkv, cos_sin, kv, slots, q_start, block_table, seq_lens;
  int64_t heads;

  void check() const {
    const int64_t kv_heads = kv.size(2), dim = kv.size(4);
    qkv.expect_size(1, (heads + 2 * kv_heads) * dim, "qkv");
    cos_sin.expect_size(0, qkv.size(0), "cos_sin");
    cos_sin.expect_size(1, dim, "cos_sin");
    slots.expect_size(0, qkv.size(0), "slots");
    kv.expect_size(3, kBlock, "kv");
    q_start.expect_size(0, seq_lens.size(0) + 1, "q_start");
    block_table.expect_size(0, seq_lens.size(0), "block_table");
  }
};

template <class T>
Tensor run(const Inputs& in) {
  const int64_t tokens = in.qkv.size(0), dim = in.kv.size(4);
  Tensor rotated = empty(tokens, in.heads * dim, ScalarType::Float);
  Tensor out = empty(tokens, in.heads * dim, DtypeOf<T>::value);
  const Args<T> a{in.qkv.data<T>("qkv"),
                  in.cos_sin.data<float>("cos_sin"),
                  in.kv.data<T>("kv"),
                  in.slots.data<int64_t>("slots"),
                  in.q_start.data<int32_t>("q_start"),
                  in.block_table.data<int32_t>("block_table"),
                  in.seq_lens.data<int32_t>("seq_lens"),
                  View{rotated.get()}.data<float>("rotated"),
                  View{out.get()}.data<T>("out"),
                  tokens,
                  in.seq_lens.size(0),
                  in.block_table.size(1),
                  in.heads,
                  in.kv.size(2),
                  dim};
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const std::vector<Piece> work = pieces(a, threads);
  const int64_t count = static_cast<int64_t>(work.size());
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (int64_t token = 0; token < tokens; ++token) append(a, token, scale);
    // Later pieces of a prefill see more keys, so they are handed out one by one.
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < count; ++i) attend(a, work[i]);
  }
  return out;
}

Tensor attention(const Inputs& in) {
  in.check();
  return in.kv.is(ScalarType::Float) ? run<float>(in) : run<bf16>(in);
}

Tensor eager(const Tensor& qkv, const Tensor& cos_sin, const Tensor& kv, const Tensor& slots,
             const Tensor& q_start, const Tensor& block_table, const Tensor& seq_lens,
             int64_t heads) {
  return attention({{qkv.get()}, {cos_sin.get()}, {kv.get()}, {slots.get()}, {q_start.get()},
                    {block_table.get()}, {seq_lens.get()}, heads});
}

}  // namespace

void register_attention(Library& library) { library.impl("attention", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_attention(
    AtenTensorHandle qkv, AtenTensorHandle cos_sin, AtenTensorHandle kv, AtenTensorHandle slots,
    AtenTensorHandle q_start, AtenTensorHandle block_table, AtenTensorHandle seq_lens,
    int64_t heads, AtenTensorHandle* out) {
  using namespace nacelle;
  return guarded("attention", [&] {
    *out = release(attention(
        {{qkv}, {cos_sin}, {kv}, {slots}, {q_start}, {block_table}, {seq_lens}, heads}));
  });
}
