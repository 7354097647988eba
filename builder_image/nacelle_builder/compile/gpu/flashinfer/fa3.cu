// FlashAttention 3 over pages (sm_90a): ragged queries, any number of them a request.
#ifdef NACELLE_FP8
#include "batch_prefill_fp8_sm90.cu"
#else
#include "batch_prefill_sm90.cu"
#endif

namespace flashinfer {

// Attention over keys that are not in pages is declared by the file above and never called.
#ifdef NACELLE_FP8
template <uint32_t, MaskMode, bool, bool, typename, typename Params>
cudaError_t BatchFP8PrefillWithRaggedKVCacheDispatched(Params&, bool, cudaStream_t) {
#else
template <uint32_t, uint32_t, MaskMode, bool, bool, typename, typename Params>
cudaError_t BatchPrefillWithRaggedKVCacheDispatched(Params&, bool, cudaStream_t) {
#endif
  return cudaErrorNotSupported;
}

}  // namespace flashinfer

TVM_FFI_DLL_EXPORT_TYPED_FUNC(plan, BatchPrefillWithKVCacheSM90Plan);
TVM_FFI_DLL_EXPORT_TYPED_FUNC(run, BatchPrefillWithPagedKVCacheSM90Run);
