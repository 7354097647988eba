// nacelle::attention: see attention.py.
#include <omp.h>

#include <limits>

#include "append.h"
#include "matmul.h"

namespace nacelle {
namespace {

constexpr int kTileRows = 32;  // (token, head) rows that share the reading of a block

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

// Turns a row's scores into weights, of the keys [from, to) that it sees (at least one); gives what
// the row's older sums are to be multiplied by.
template <bool CAPPED>
inline float soften(float* scores, int from, int to, float cap, State& state) {
  if constexpr (CAPPED) {
    for (int i = 0; i < kBlock; i += Vec::width)
      store(scores + i, splat(cap) * tanh(load(scores + i)));
  }
  for (int i = 0; i < from; ++i) scores[i] = -INFINITY;
  for (int i = to; i < kBlock; ++i) scores[i] = -INFINITY;
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
  for (int i = 0; i < from; ++i) scores[i] = 0.0f;
  for (int i = to; i < kBlock; ++i) scores[i] = 0.0f;
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

template <bool CAPPED, class T>
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
  // Token t of the step stands at position t + shift of its sequence; position p sees the keys
  // (p - window, p].
  const int64_t shift = a.seq_lens[request] - a.q_start[request + 1];
  const int64_t visible = last + shift;
  const int64_t oldest = std::max<int64_t>(0, first + shift + 1 - a.window) / kBlock * kBlock;
  for (int64_t start = oldest; start < visible; start += kBlock) {
    const int64_t number = a.tables[request * a.width + start / kBlock];
    const int keys = static_cast<int>(std::min<int64_t>(kBlock, visible - start));
    score(a.block(number, 0, kv_head), q, rows, keys, dim, scores);
    for (int row = 0; row < rows; ++row) {
      const int64_t end = first + row / group + shift + 1 - start;
      const int to = static_cast<int>(std::clamp<int64_t>(end, 0, kBlock));
      const int from = static_cast<int>(std::clamp<int64_t>(end - a.window, 0, kBlock));
      if (from < to) {
        correction[row] = soften<CAPPED>(scores[row], from, to, a.cap, state[row]);
      } else {
        std::memset(scores[row], 0, sizeof(scores[row]));
        correction[row] = 1.0f;
      }
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
  View qkv, cos_sin, kv, slots, q_start, block_table, seq_lens, q_norm, k_norm;
  int64_t heads, window;
  double scale, soft_cap, eps;

  void check() const {
    const int64_t kv_heads = kv.size(2), dim = kv.size(4);
    qkv.expect_size(1, (heads + 2 * kv_heads) * dim, "qkv");
    cos_sin.expect_size(0, qkv.size(0), "cos_sin");
    STD_TORCH_CHECK(cos_sin.size(1) % 2 == 0 && cos_sin.size(1) <= dim, "cos_sin has ",
                    cos_sin.size(1), " columns for heads of ", dim);
    slots.expect_size(0, qkv.size(0), "slots");
    kv.expect_size(3, kBlock, "kv");
    q_start.expect_size(0, seq_lens.size(0) + 1, "q_start");
    block_table.expect_size(0, seq_lens.size(0), "block_table");
  }
};

template <class T>
Args<T> arguments(const Inputs& in, const Tensor& rotated, const Tensor& out) {
  const int64_t dim = in.kv.size(4);
  return {in.qkv.data<T>("qkv"),
          in.q_norm.data_or_null<T>("q_norm", dim),
          in.k_norm.data_or_null<T>("k_norm", dim),
          in.cos_sin.data<float>("cos_sin"),
          in.kv.data<T>("kv"),
          in.slots.data<int64_t>("slots"),
          in.q_start.data<int32_t>("q_start"),
          in.block_table.data<int32_t>("block_table"),
          in.seq_lens.data<int32_t>("seq_lens"),
          View{rotated.get()}.data<float>("rotated"),
          View{out.get()}.data<T>("out"),
          in.qkv.size(0),
          in.seq_lens.size(0),
          in.block_table.size(1),
          in.heads,
          in.kv.size(2),
          dim,
          in.cos_sin.size(1),
          in.window > 0 ? in.window : std::numeric_limits<int32_t>::max(),
          static_cast<float>(in.scale),
          static_cast<float>(in.soft_cap),
          static_cast<float>(in.eps)};
}

template <class T>
Tensor run(const Inputs& in) {
  const int64_t tokens = in.qkv.size(0), dim = in.kv.size(4);
  const Tensor rotated = empty(tokens, in.heads * dim, ScalarType::Float);
  const Tensor out = empty(tokens, in.heads * dim, DtypeOf<T>::value);
  const Args<T> a = arguments<T>(in, rotated, out);
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const std::vector<Piece> work = pieces(a, threads);
  const int64_t count = static_cast<int64_t>(work.size());
  const bool capped = a.cap > 0.0f;
  // Under a cap the scores are needed as parts of it: cap * tanh(score / cap).
  const float scale = capped ? a.scale / a.cap : a.scale;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (int64_t token = 0; token < tokens; ++token) append(a, token, scale);
    // Later pieces of a prefill see more keys, so they are handed out one by one.
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < count; ++i) {
      if (capped) {
        attend<true>(a, work[i]);
      } else {
        attend<false>(a, work[i]);
      }
    }
  }
  return out;
}

Tensor attention(const Inputs& in) {
  in.check();
  return in.kv.is(ScalarType::Float) ? run<float>(in) : run<bf16>(in);
}

Tensor eager(const Tensor& qkv, const Tensor& cos_sin, const Tensor& kv, const Tensor& slots,
             const Tensor& q_start, const Tensor& block_table, const Tensor& seq_lens,
             std::optional<Tensor> q_norm, std::optional<Tensor> k_norm, int64_t heads,
             int64_t window, double scale, double soft_cap, double eps) {
  return attention({{qkv.get()}, {cos_sin.get()}, {kv.get()}, {slots.get()}, {q_start.get()},
                    {block_table.get()}, {seq_lens.get()}, view_of(q_norm), view_of(k_norm),
                    heads, window, scale, soft_cap, eps});
}

}  // namespace

void register_attention(Library& library) { library.impl("attention", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_attention(
    AtenTensorHandle qkv, AtenTensorHandle cos_sin, AtenTensorHandle kv, AtenTensorHandle slots,
    AtenTensorHandle q_start, AtenTensorHandle block_table, AtenTensorHandle seq_lens,
    AtenTensorHandle* q_norm, AtenTensorHandle* k_norm, int64_t heads, int64_t window,
    double scale, double soft_cap, double eps, AtenTensorHandle* out) {
  using namespace nacelle;
  return guarded("attention", [&] {
    *out = release(attention({{qkv}, {cos_sin}, {kv}, {slots}, {q_start}, {block_table},
                              {seq_lens}, view_of(q_norm), view_of(k_norm), heads, window, scale,
                              soft_cap, eps}));
  });
}
