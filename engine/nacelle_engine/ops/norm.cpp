// nacelle::norm: see norm.py.
#include "tensor.h"

namespace nacelle {
namespace {

template <class T>
Tensor run(View x, View weight, float eps) {
  const int64_t m = x.size(0), k = x.size(1);
  Tensor out = empty(m, k, DtypeOf<T>::value);
  const T* from = x.data<T>("x");
  const T* scale = weight.data<T>("weight");
  T* to = View{out.get()}.data<T>("out");
#pragma omp parallel for num_threads(static_cast<int>(torch::stable::get_num_threads()))
  for (int64_t token = 0; token < m; ++token) {
    float* const row = scratch(k);
    Vec squares = zero();
    for (int64_t i = 0; i < k; i += Vec::width) {
      const Vec value = load(from + token * k + i);
      squares = fma(value, value, squares);
      store(row + i, value);
    }
    const Vec norm = splat(1.0f / std::sqrt(sum(squares) / static_cast<float>(k) + eps));
    for (int64_t i = 0; i < k; i += Vec::width) {
      store(row + i, load(row + i) * norm * load(scale + i));
      for (int64_t j = i; j < i + Vec::width; ++j) store(to + token * k + j, row[j]);
    }
  }
  return out;
}

Tensor norm(View x, View weight, double eps) {
  weight.expect_size(0, x.size(1), "weight");
  return weight.is(ScalarType::Float) ? run<float>(x, weight, static_cast<float>(eps))
                                      : run<bf16>(x, weight, static_cast<float>(eps));
}

Tensor eager(const Tensor& x, const Tensor& weight, double eps) {
  return norm({x.get()}, {weight.get()}, eps);
}

}  // namespace

void register_norm(Library& library) { library.impl("norm", TORCH_BOX(&eager)); }

}  // namespace nacelle

extern "C" AOTITorchError aoti_torch_cpu_norm(AtenTensorHandle x, AtenTensorHandle weight,
                                              double eps, AtenTensorHandle* out) {
  using namespace nacelle;
  return guarded("norm", [&] { *out = release(norm({x}, {weight}, eps)); });
}
