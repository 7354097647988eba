// As cache_attention.cuh, for the Hopper kernels: with an FP8 cache the queries are FP8 too, stored
// as value / q_scale[0]. The sliding window is a parameter of the kernel, not of the variant.
#pragma once
#include <flashinfer/attention/hopper/variants.cuh>

namespace flashinfer {

template <bool SoftCap>
using CacheAttention = DefaultAttention<SoftCap>;

struct Fp8CacheAttention : StandardFP8Attention {
  template <typename MainloopParams, typename BlockCoord>
  __device__ Fp8CacheAttention(const MainloopParams& params, const BlockCoord& block)
      : StandardFP8Attention(params, block) {
    const auto& scales = params.additional_params;
    sm_scale_with_qk_log2 *= scales.q_scale[0] * scales.kv_scales[0];
    scale_pv *= scales.kv_scales[1];
  }
};

}  // namespace flashinfer
