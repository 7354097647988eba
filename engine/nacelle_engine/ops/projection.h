// Rows made ready (converted, or normed), times a weight, with a finish on the sums: the shape that
// every linear op shares, as our kernel or as ATen's linear. Ours is that of tiles for bfloat16 where
// this process may use them, for any number of tokens; else the FMA kernel.
#pragma once

#include <omp.h>

#include "matmul.h"
#include "tensor.h"
#include "tile_matmul.h"

namespace nacelle {

// The kernels a tactic chooses from; the numbers are part of the ops' schema.
enum Candidate : int64_t { kFused = 0, kAten = 1 };

// tactic = {first M, candidate, next first M, candidate, ...}, ascending from M = 1.
struct Tactic {
  const int64_t* values;
  int64_t count;

  Candidate of(int64_t tokens) const {
    int64_t chosen = kFused;
    for (int64_t i = 0; i + 1 < count && values[i] <= tokens; i += 2) chosen = values[i + 1];
    return static_cast<Candidate>(chosen);
  }
};

// Below this many elements every thread makes all rows ready by itself: cheaper than a barrier.
constexpr int64_t kOwnRows = 16 * 1024;

// prepare(token, row, publish) fills a float row [k]; publish is true in exactly one thread.
// finish(token, first row, count, sums of part 0, sums of the last part).
template <int PARTS, class T, class Prepare, class Finish>
void project_fma(const T* weight, int64_t m, int64_t n, int64_t k, const Prepare& prepare,
                 const Finish& finish) {
  const bool own = m * k <= kOwnRows;
  float* const shared = own ? nullptr : scratch(m * k);
#pragma omp parallel num_threads(static_cast<int>(torch::stable::get_num_threads()))
  {
    const int64_t id = omp_get_thread_num(), threads = omp_get_num_threads();
    float* x = shared;
    if (own) {
      x = scratch(m * k);
      for (int64_t token = 0; token < m; ++token) prepare(token, x + token * k, id == 0);
    } else {
#pragma omp for schedule(static)
      for (int64_t token = 0; token < m; ++token) prepare(token, x + token * k, true);
    }
    // Whole tiles to each thread: 24 is a multiple of most tiles' rows.
    const int64_t units = (n + 23) / 24;
    const int64_t begin = units * id / threads * 24;
    const int64_t end = std::min(n, units * (id + 1) / threads * 24);
    dot_all<PARTS>(weight, n, begin, end, x, m, k, finish);
  }
}

// The same with tiles, whose rows are rounded to bfloat16; one group of tokens every thread packs by
// itself.
template <int PARTS, class Prepare, class Finish>
void project_tiles(const bf16* weight, int64_t m, int64_t n, int64_t k, const Prepare& prepare,
                   const Finish& finish) {
  const int64_t groups = groups_of(m);
  float* const shared = groups == 1 ? nullptr : scratch(packed_size(m, k));
#pragma omp parallel num_threads(static_cast<int>(torch::stable::get_num_threads()))
  {
    const int64_t id = omp_get_thread_num(), threads = omp_get_num_threads();
    float* const work = scratch<1>(packing_size(k));
    float* x = shared;
    if (groups == 1) {
      x = scratch(packed_size(m, k));
      pack_tokens(prepare, 0, m, k, id == 0, work, x);
    } else {
#pragma omp for schedule(static)
      for (int64_t group = 0; group < groups; ++group)
        pack_tokens(prepare, group * kTileTokens, m, k, true, work,
                    x + packed_size(group * kTileTokens, k));
    }
    constexpr int64_t step = kBlockRows / PARTS;
    const int64_t units = (n + step - 1) / step;
    const int64_t begin = units * id / threads * step;
    const int64_t end = std::min(n, units * (id + 1) / threads * step);
    dot_all_tiles<PARTS>(weight, n, begin, end, x, m, k, finish);
  }
}

template <int PARTS, class T, class Prepare, class Finish>
void project(const T* weight, int64_t m, int64_t n, int64_t k, const Prepare& prepare,
             const Finish& finish) {
  if constexpr (std::is_same_v<T, bf16>) {
    if (kTiles) return project_tiles<PARTS>(weight, m, n, k, prepare, finish);
  }
  project_fma<PARTS>(weight, m, n, k, prepare, finish);
}

// The same rows in the compute type, for ATen.
template <class T, class Prepare>
Tensor prepared_rows(int64_t m, int64_t k, const Prepare& prepare) {
  Tensor rows = empty(m, k, DtypeOf<T>::value);
  T* out = View{rows.get()}.data<T>("rows");
#pragma omp parallel for num_threads(static_cast<int>(torch::stable::get_num_threads()))
  for (int64_t token = 0; token < m; ++token) {
    float* row = scratch(k);
    prepare(token, row, true);
    for (int64_t i = 0; i < k; ++i) store(out + token * k + i, row[i]);
  }
  return rows;
}

// A second owner of the caller's tensor.
inline Tensor shared(View view) {
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_new_tensor_handle(view.handle, &handle));
  return Tensor(handle);
}

// x * weight^T + bias by ATen; the bias may be absent.
inline Tensor aten_linear(View x, View weight, View bias) {
  std::optional<Tensor> added;
  if (bias.handle != nullptr) added = shared(bias);
  std::array<StableIValue, 3> stack{torch::stable::detail::from(shared(x)),
                                    torch::stable::detail::from(shared(weight)),
                                    torch::stable::detail::from(added)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::linear", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

// The sums as they are, in the type of the output [tokens, n].
template <class T>
struct StoreSums {
  T* out;
  int64_t n;
  void operator()(int64_t token, int64_t row, int64_t count, const float* sums,
                  const float*) const {
    T* const to = out + token * n + row;
    for (int64_t i = 0; i < count; ++i) store(to + i, sums[i]);
  }
};

// The sums with the rows' bias added.
template <class T>
struct StoreBiased {
  T* out;
  const T* bias;  // [n]
  int64_t n;
  void operator()(int64_t token, int64_t row, int64_t count, const float* sums,
                  const float*) const {
    T* const to = out + token * n + row;
    for (int64_t i = 0; i < count; ++i) store(to + i, sums[i] + to_float(bias[row + i]));
  }
};

// All of x * weight^T into out [m, n], with a bias where there is one.
template <class T, class Prepare>
void project_rows(const T* weight, const T* bias, int64_t m, int64_t n, int64_t k,
                  const Prepare& prepare, T* out) {
  if (bias == nullptr) {
    project<1>(weight, m, n, k, prepare, StoreSums<T>{out, n});
  } else {
    project<1>(weight, m, n, k, prepare, StoreBiased<T>{out, bias, n});
  }
}

// Converts a token of x to floats.
template <class T>
struct Convert {
  const T* x;
  int64_t k;
  void operator()(int64_t token, float* row, bool) const {
    for (int64_t i = 0; i < k; i += Vec::width) store(row + i, load(x + token * k + i));
  }
};

// sum = hidden + residual (published); row = sum / sqrt(mean(sum^2) + eps) * norm.
template <class T>
struct AddRmsNorm {
  const T* hidden;
  const float* residual;
  const T* norm;
  float* sum_out;  // null when nobody needs it
  int64_t k;
  float eps;
  void operator()(int64_t token, float* row, bool publish) const {
    Vec squares = zero();
    for (int64_t i = 0; i < k; i += Vec::width) {
      const Vec x = load(hidden + token * k + i) + load(residual + token * k + i);
      squares = fma(x, x, squares);
      store(row + i, x);
      if (publish && sum_out) store(sum_out + token * k + i, x);
    }
    const Vec scale = splat(1.0f / std::sqrt(sum(squares) / static_cast<float>(k) + eps));
    for (int64_t i = 0; i < k; i += Vec::width)
      store(row + i, load(row + i) * scale * load(norm + i));
  }
};

// The inputs that the norm_* ops share.
struct NormInputs {
  View hidden, residual, norm, weight;
  float eps;

  int64_t tokens() const { return hidden.size(0); }
  int64_t rows() const { return weight.size(0); }
  int64_t width() const { return weight.size(1); }
  void check() const {
    hidden.expect_size(1, width(), "hidden");
    residual.expect_size(0, tokens(), "residual");
    residual.expect_size(1, width(), "residual");
    norm.expect_size(0, width(), "norm");
  }
  template <class T>
  AddRmsNorm<T> prepare(float* sum_out) const {
    return {hidden.data<T>("hidden"), residual.data<float>("residual"), norm.data<T>("norm"),
            sum_out, width(), eps};
  }
};

}  // namespace nacelle
