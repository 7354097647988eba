// nacelle_dequantise: see dequantise.py.
#include <omp.h>

#include "vector.h"

namespace nacelle {
namespace {

// E4M3 has 4 exponent bits (bias 7) and 3 mantissa bits: put under a float's exponent they read as
// 2^-120 of their value, subnormals included. The one NaN (0x7f) never reaches a checkpoint.
inline float e4m3(uint8_t value) {
  const uint32_t bits = static_cast<uint32_t>(value & 0x80u) << 24 |
                        static_cast<uint32_t>(value & 0x7fu) << 20;
  float scaled;
  std::memcpy(&scaled, &bits, sizeof(scaled));
  return scaled * 0x1p120f;
}

template <class T>
void run(const uint8_t* weight, const float* scale, T* out, int64_t rows, int64_t columns,
         int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < columns; ++i)
      store(out + row * columns + i, e4m3(weight[row * columns + i]) * scale[row]);
}

}  // namespace
}  // namespace nacelle

extern "C" void nacelle_dequantise(const void* weight, const void* scale, void* out, int64_t rows,
                                   int64_t columns, int32_t to_bf16, int32_t threads) {
  using namespace nacelle;
  const auto* from = static_cast<const uint8_t*>(weight);
  const auto* scales = static_cast<const float*>(scale);
  if (to_bf16)
    run(from, scales, static_cast<bf16*>(out), rows, columns, threads);
  else
    run(from, scales, static_cast<float*>(out), rows, columns, threads);
}
