// nacelle::norm_gate_up: see norm_gate_up.py.
#include "projection.h"

namespace nacelle {
namespace {

// out = silu(gate) * up; the last register is filled up with zeros.
template <class T>
inline void gated(T* out, int64_t count, const float* gate, const float* up) {
  for (int64_t i = 0; i < count; i += Vec::width) {
    const int64_t left = std::min<int64_t>(Vec::width, count - i);
    float g[Vec::width] = {}, u[Vec::width] = {};
    std::memcpy(g, gate + i, left * sizeof(float));
    std::memcpy(u, up + i, left * sizeof(float));
    const Vec x = load(g);
    store(g, x / (splat(1.0f) + exp(zero() - x)) * load(u));
    for (int64_t j = 0; j < left; ++j) store(out + i + j, g[j]);
  }
}

// The same over ATen's output [m, 2 n].
template <class T>
void gated_rows(const T* both, T* out, int64_t m, int64_t n) {
#pragma omp parallel for num_threads(static_cast<int>(torch::stable::get_num_threads()))
  for (int64_t token = 0; token < m; ++token)
    for (int64_t i = 0; i < n; i += Vec::width) {
      float gate[Vec::width], up[Vec::width];
      const int64_t count = std::min<int64_t>(Vec::width, n - i);
      for (int64_t j = 0; j < count; ++j) {
        gate[j] = to_float(both[token * 2 * n + i + j]);
        up[j] = to_float(both[token * 2 * n + n + i + j]);
      }
      gated(out + token * n + i, count, gate, up);
    }
}

template <class T>
std::tuple<Tensor, Tensor> run(const NormInputs& in, Candidate candidate) {
  const int64_t m = in.tokens(), n = in.rows() / 2, k = in.width();
  Tensor sum = empty(m, k, ScalarType::Float);
  Tensor out = empty(m, n, DtypeOf<T>::value);
  const AddRmsNorm<T> prepare = in.prepare<T>(View{sum.get()}.data<float>("sum"));
  T* to = View{out.get()}.data<T>("out");
  if (candidate == kAten) {
    const Tensor both = aten_linear(prepared_rows<T>(m, k, prepare).get(), in.weight);
    gated_rows(View{both.get()}.data<T>("both"), to, m, n);
    return {out, sum};
  }
  project<2>(in.weight.data<T>("weight"), m, n, k, prepare,
             [=](int64_t token, int64_t row, int64_t count, const float* gate, const float* up) {
               gated(to + token * n + row, count, gate, up);
             });
  return {out, sum};
}

std::tuple<Tensor, Tensor> norm_gate_up(const NormInputs& in, Tactic tactic) {
  in.check();
  const Candidate candidate = tactic.of(in.tokens());
  return in.weight.is(ScalarType::Float) ? run<float>(in, candidate) : run<bf16>(in, candidate);
}

std::tuple<Tensor, Tensor> eager(const Tensor& hidden, const Tensor& residual, const Tensor& norm,
                                 const Tensor& weight, double eps, std::vector<int64_t> tactic) {
  return norm_gate_up({{hidden.get()}, {residual.get()}, {norm.get()}, {weight.get()},
                       static_cast<float>(eps)},
                      {tactic.data(), static_cast<int64_t>(tactic.size())});
}

}  // namespace

void register_norm_gate_up(Library& library) { library.impl("norm_gate_up", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_norm_gate_up(
    AtenTensorHandle hidden, AtenTensorHandle residual, AtenTensorHandle norm,
    AtenTensorHandle weight, double eps, const int64_t* tactic, int64_t tactic_count,
    AtenTensorHandle* out, AtenTensorHandle* sum) {
  using namespace nacelle;
  return guarded("norm_gate_up", [&] {
    const auto [first, second] = norm_gate_up(
        {{hidden}, {residual}, {norm}, {weight}, static_cast<float>(eps)}, {tactic, tactic_count});
    *out = release(first);
    *sum = release(second);
  });
}
