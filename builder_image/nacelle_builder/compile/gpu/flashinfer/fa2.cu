// FlashAttention 2 over pages: ragged queries, any number of them a request.
#include "batch_prefill.cu"

namespace flashinfer {

// Attention over keys that are not in pages is declared by the file above and never called.
template <uint32_t, uint32_t, uint32_t, PosEncodingMode, bool, MaskMode, typename, typename Params>
cudaError_t BatchPrefillWithRaggedKVCacheDispatched(Params, typename Params::DTypeO*, float*, bool,
                                                    cudaStream_t) {
  return cudaErrorNotSupported;
}

}  // namespace flashinfer

// A pointer has no default arguments, which the macro cannot repeat.
constexpr auto kPlan = &BatchPrefillWithKVCachePlan;

TVM_FFI_DLL_EXPORT_TYPED_FUNC(plan, kPlan);
TVM_FFI_DLL_EXPORT_TYPED_FUNC(run, BatchPrefillWithPagedKVCacheRun);
