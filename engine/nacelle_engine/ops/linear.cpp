// nacelle::linear: see linear.py.
#include "projection.h"

namespace nacelle {
namespace {

template <class T>
Tensor run(View x, View weight) {
  const int64_t m = x.size(0), n = weight.size(0), k = weight.size(1);
  Tensor out = empty(m, n, DtypeOf<T>::value);
  project<1>(weight.data<T>("weight"), m, n, k, Convert<T>{x.data<T>("x"), k},
             StoreSums<T>{View{out.get()}.data<T>("out"), n});
  return out;
}

Tensor linear(View x, View weight, Tactic tactic) {
  x.expect_size(1, weight.size(1), "x");
  if (tactic.of(x.size(0)) == kAten) return aten_linear(x.handle, weight);
  return weight.is(ScalarType::Float) ? run<float>(x, weight) : run<bf16>(x, weight);
}

Tensor eager(const Tensor& x, const Tensor& weight, std::vector<int64_t> tactic) {
  return linear({x.get()}, {weight.get()}, {tactic.data(), static_cast<int64_t>(tactic.size())});
}

}  // namespace

void register_linear(Library& library) { library.impl("linear", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_linear(AtenTensorHandle x, AtenTensorHandle weight,
                                                const int64_t* tactic, int64_t tactic_count,
                                                AtenTensorHandle* out) {
  using namespace nacelle;
  return guarded("linear",
                 [&] { *out = release(linear({x}, {weight}, {tactic, tactic_count})); });
}
