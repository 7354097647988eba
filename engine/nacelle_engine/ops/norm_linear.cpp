// nacelle::norm_linear: see norm_linear.py.
#include "projection.h"

namespace nacelle {
namespace {

template <class T>
std::tuple<Tensor, Tensor> run(const NormInputs& in, View bias, Candidate candidate) {
  const int64_t m = in.tokens(), n = in.rows(), k = in.width();
  Tensor sum = empty(m, k, ScalarType::Float);
  const AddRmsNorm<T> prepare = in.prepare<T>(View{sum.get()}.data<float>("sum"));
  if (candidate == kAten)
    return {aten_linear({prepared_rows<T>(m, k, prepare).get()}, in.weight, bias), sum};
  Tensor out = empty(m, n, DtypeOf<T>::value);
  project_rows(in.weight.data<T>("weight"), bias.data_or_null<T>("bias", n), m, n, k, prepare,
               View{out.get()}.data<T>("out"));
  return {out, sum};
}

std::tuple<Tensor, Tensor> norm_linear(const NormInputs& in, View bias, Tactic tactic) {
  in.check();
  const Candidate candidate = tactic.of(in.tokens());
  return in.weight.is(ScalarType::Float) ? run<float>(in, bias, candidate)
                                         : run<bf16>(in, bias, candidate);
}

std::tuple<Tensor, Tensor> eager(const Tensor& hidden, const Tensor& residual, const Tensor& norm,
                                 const Tensor& weight, std::optional<Tensor> bias, double eps,
                                 std::vector<int64_t> tactic) {
  return norm_linear({{hidden.get()}, {residual.get()}, {norm.get()}, {weight.get()},
                      static_cast<float>(eps)},
                     view_of(bias), {tactic.data(), static_cast<int64_t>(tactic.size())});
}

}  // namespace

void register_norm_linear(Library& library) { library.impl("norm_linear", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_norm_linear(
    AtenTensorHandle hidden, AtenTensorHandle residual, AtenTensorHandle norm,
    AtenTensorHandle weight, AtenTensorHandle* bias, double eps, const int64_t* tactic,
    int64_t tactic_count, AtenTensorHandle* out, AtenTensorHandle* sum) {
  using namespace nacelle;
  return guarded("norm_linear", [&] {
    const auto [first, second] =
        norm_linear({{hidden}, {residual}, {norm}, {weight}, static_cast<float>(eps)},
                    view_of(bias), {tactic, tactic_count});
    *out = release(first);
    *sum = release(second);
  });
}
