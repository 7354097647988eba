// nacelle::norm_logits: see norm_logits.py.
#include "projection.h"

namespace nacelle {
namespace {

// The sums under a soft cap.
struct StoreCapped {
  float* out;
  int64_t n;
  float cap;
  void operator()(int64_t token, int64_t row, int64_t count, const float* sums,
                  const float*) const {
    float* const to = out + token * n + row;
    for (int64_t i = 0; i < count; i += Vec::width) {
      const int64_t left = std::min<int64_t>(Vec::width, count - i);
      float x[Vec::width] = {};
      std::memcpy(x, sums + i, left * sizeof(float));
      store(x, soft_cap(load(x), cap));
      std::memcpy(to + i, x, left * sizeof(float));
    }
  }
};

template <class T>
Tensor run(const NormInputs& in, float cap) {
  const int64_t m = in.tokens(), n = in.rows(), k = in.width();
  Tensor out = empty(m, n, ScalarType::Float);
  const T* weight = in.weight.data<T>("weight");
  float* to = View{out.get()}.data<float>("out");
  if (cap > 0.0f) {
    project<1>(weight, m, n, k, in.prepare<T>(nullptr), StoreCapped{to, n, cap});
  } else {
    project<1>(weight, m, n, k, in.prepare<T>(nullptr), StoreSums<float>{to, n});
  }
  return out;
}

Tensor norm_logits(const NormInputs& in, float cap) {
  in.check();
  return in.weight.is(ScalarType::Float) ? run<float>(in, cap) : run<bf16>(in, cap);
}

Tensor eager(const Tensor& hidden, const Tensor& residual, const Tensor& norm,
             const Tensor& weight, double eps, double cap) {
  return norm_logits({{hidden.get()}, {residual.get()}, {norm.get()}, {weight.get()},
                      static_cast<float>(eps)},
                     static_cast<float>(cap));
}

}  // namespace

void register_norm_logits(Library& library) { library.impl("norm_logits", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_norm_logits(AtenTensorHandle hidden,
                                                     AtenTensorHandle residual,
                                                     AtenTensorHandle norm,
                                                     AtenTensorHandle weight, double eps,
                                                     double cap, AtenTensorHandle* logits) {
  using namespace nacelle;
  return guarded("norm_logits", [&] {
    *logits = release(
        norm_logits({{hidden}, {residual}, {norm}, {weight}, static_cast<float>(eps)},
                    static_cast<float>(cap)));
  });
}
