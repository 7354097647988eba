// nacelle::linear: see linear.py.
#include "projection.h"

namespace nacelle {
namespace {

template <class T>
Tensor run(View x, View weight, View bias) {
  const int64_t m = x.size(0), n = weight.size(0), k = weight.size(1);
  Tensor out = empty(m, n, DtypeOf<T>::value);
  project_rows(weight.data<T>("weight"), bias.data_or_null<T>("bias", n), m, n, k,
               Convert<T>{x.data<T>("x"), k}, View{out.get()}.data<T>("out"));
  return out;
}

Tensor linear(View x, View weight, View bias, Tactic tactic) {
  x.expect_size(1, weight.size(1), "x");
  if (tactic.of(x.size(0)) == kAten) return aten_linear(x, weight, bias);
  return weight.is(ScalarType::Float) ? run<float>(x, weight, bias) : run<bf16>(x, weight, bias);
}

Tensor eager(const Tensor& x, const Tensor& weight, std::optional<Tensor> bias,
             std::vector<int64_t> tactic) {
  return linear({x.get()}, {weight.get()}, view_of(bias),
                {tactic.data(), static_cast<int64_t>(tactic.size())});
}

}  // namespace

void register_linear(Library& library) { library.impl("linear", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_linear(AtenTensorHandle x, AtenTensorHandle weight,
                                                AtenTensorHandle* bias, const int64_t* tactic,
                                                int64_t tactic_count, AtenTensorHandle* out) {
  using namespace nacelle;
  return guarded("linear", [&] {
    *out = release(linear({x}, {weight}, view_of(bias), {tactic, tactic_count}));
  });
}
