// nacelle::norm_gate_up: see norm_gate_up.py.
#include "projection.h"

namespace nacelle {
namespace {

// The numbers are part of the op's schema.
enum Activation : int64_t { kSilu = 0, kGeluTanh = 1 };

// Both activations are x / (1 + e^-y): y = x gives SiLU, and y = 2 sqrt(2 / pi) (x + 0.044715 x^3)
// gives GELU's tanh form, since (1 + tanh(y / 2)) / 2 = 1 / (1 + e^-y).
template <Activation A>
inline Vec exponent(Vec x) {
  if constexpr (A == kSilu) return x;
  constexpr float kScale = 1.5957691216057308f;
  return x * fma(x * x, splat(kScale * 0.044715f), splat(kScale));
}

// out = act(gate) * up; the last register is filled up with zeros.
template <Activation A, class T>
inline void gated(T* out, int64_t count, const float* gate, const float* up) {
  for (int64_t i = 0; i < count; i += Vec::width) {
    const int64_t left = std::min<int64_t>(Vec::width, count - i);
    float g[Vec::width] = {}, u[Vec::width] = {};
    std::memcpy(g, gate + i, left * sizeof(float));
    std::memcpy(u, up + i, left * sizeof(float));
    const Vec x = load(g);
    store(g, x / (splat(1.0f) + exp(zero() - exponent<A>(x))) * load(u));
    for (int64_t j = 0; j < left; ++j) store(out + i + j, g[j]);
  }
}

// The same over ATen's output [m, 2 n].
template <Activation A, class T>
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
      gated<A>(out + token * n + i, count, gate, up);
    }
}

template <Activation A, class T>
std::tuple<Tensor, Tensor> run(const NormInputs& in, Candidate candidate) {
  const int64_t m = in.tokens(), n = in.rows() / 2, k = in.width();
  Tensor sum = empty(m, k, ScalarType::Float);
  Tensor out = empty(m, n, DtypeOf<T>::value);
  const AddRmsNorm<T> prepare = in.prepare<T>(View{sum.get()}.data<float>("sum"));
  T* to = View{out.get()}.data<T>("out");
  if (candidate == kAten) {
    const Tensor both = aten_linear({prepared_rows<T>(m, k, prepare).get()}, in.weight, {nullptr});
    gated_rows<A>(View{both.get()}.data<T>("both"), to, m, n);
    return {out, sum};
  }
  project<2>(in.weight.data<T>("weight"), m, n, k, prepare,
             [=](int64_t token, int64_t row, int64_t count, const float* gate, const float* up) {
               gated<A>(to + token * n + row, count, gate, up);
             });
  return {out, sum};
}

template <Activation A>
std::tuple<Tensor, Tensor> run_typed(const NormInputs& in, Candidate candidate) {
  return in.weight.is(ScalarType::Float) ? run<A, float>(in, candidate)
                                         : run<A, bf16>(in, candidate);
}

std::tuple<Tensor, Tensor> norm_gate_up(const NormInputs& in, int64_t activation, Tactic tactic) {
  in.check();
  STD_TORCH_CHECK(activation == kSilu || activation == kGeluTanh, "activation ", activation,
                  " is not known");
  const Candidate candidate = tactic.of(in.tokens());
  return activation == kSilu ? run_typed<kSilu>(in, candidate)
                             : run_typed<kGeluTanh>(in, candidate);
}

std::tuple<Tensor, Tensor> eager(const Tensor& hidden, const Tensor& residual, const Tensor& norm,
                                 const Tensor& weight, double eps, int64_t activation,
                                 std::vector<int64_t> tactic) {
  return norm_gate_up({{hidden.get()}, {residual.get()}, {norm.get()}, {weight.get()},
                       static_cast<float>(eps)},
                      activation, {tactic.data(), static_cast<int64_t>(tactic.size())});
}

}  // namespace

void register_norm_gate_up(Library& library) { library.impl("norm_gate_up", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_norm_gate_up(
    AtenTensorHandle hidden, AtenTensorHandle residual, AtenTensorHandle norm,
    AtenTensorHandle weight, double eps, int64_t activation, const int64_t* tactic,
    int64_t tactic_count, AtenTensorHandle* out, AtenTensorHandle* sum) {
  using namespace nacelle;
  return guarded("norm_gate_up", [&] {
    const auto [first, second] =
        norm_gate_up({{hidden}, {residual}, {norm}, {weight}, static_cast<float>(eps)},
                     activation, {tactic, tactic_count});
    *out = release(first);
    *sum = release(second);
  });
}
