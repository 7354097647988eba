// nacelle::norm_logits: see norm_logits.py.
#include "projection.h"

namespace nacelle {
namespace {

template <class T>
Tensor run(const NormInputs& in) {
  const int64_t m = in.tokens(), n = in.rows(), k = in.width();
  Tensor out = empty(m, n, ScalarType::Float);
  project<1>(in.weight.data<T>("weight"), m, n, k, in.prepare<T>(nullptr),
             StoreSums<float>{View{out.get()}.data<float>("out"), n});
  return out;
}

Tensor norm_logits(const NormInputs& in) {
  in.check();
  return in.weight.is(ScalarType::Float) ? run<float>(in) : run<bf16>(in);
}

Tensor eager(const Tensor& hidden, const Tensor& residual, const Tensor& norm,
             const Tensor& weight, double eps) {
  return norm_logits({{hidden.get()}, {residual.get()}, {norm.get()}, {weight.get()},
                      static_cast<float>(eps)});
}

}  // namespace

void register_norm_logits(Library& library) { library.impl("norm_logits", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_norm_logits(AtenTensorHandle hidden,
                                                     AtenTensorHandle residual,
                                                     AtenTensorHandle norm,
                                                     AtenTensorHandle weight, double eps,
                                                     AtenTensorHandle* logits) {
  using namespace nacelle;
  return guarded("norm_logits", [&] {
    *logits = release(
        norm_logits({{hidden}, {residual}, {norm}, {weight}, static_cast<float>(eps)}));
  });
}
