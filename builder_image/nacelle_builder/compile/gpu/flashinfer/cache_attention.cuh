// Attention over a cache whose stored values are value / scale: kv_scales[0] for K, [1] for V, read
// on the device, so that the scales of a layer are a tensor and no constant of a call.
#pragma once
#include <flashinfer/attention/variants.cuh>

namespace flashinfer {

template <bool SlidingWindow, bool SoftCap, bool Scaled>
struct CacheAttention : DefaultAttention<false, SlidingWindow, SoftCap, false> {
  using Base = DefaultAttention<false, SlidingWindow, SoftCap, false>;

  template <typename Params>
  __device__ __host__ CacheAttention(const Params& params, uint32_t request, uint8_t* shared)
      : Base(params, request, shared) {
    if constexpr (Scaled && SoftCap) {
      this->soft_cap_pre_tanh_scale *= params.kv_scales[0];
    } else if constexpr (Scaled) {
      this->sm_scale_log2 *= params.kv_scales[0];
    }
  }

  template <typename Params, typename T, typename Maximum>
  __device__ __forceinline__ T OutputTransform(const Params& params, T output, uint32_t request,
                                               uint32_t row, uint32_t head, Maximum& maximum,
                                               float& denominator, float scale) {
    output = Base::template OutputTransform<Params, T, Maximum>(params, output, request, row, head,
                                                                maximum, denominator, scale);
    if constexpr (Scaled) {
      output *= params.kv_scales[1];
    }
    return output;
  }
};

}  // namespace flashinfer
