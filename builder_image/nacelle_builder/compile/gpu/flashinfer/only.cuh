// Included before everything else: of FlashInfer's cases only the one that this library is made for.
#pragma once
#include <flashinfer/attention/mask.cuh>
#include <flashinfer/utils.cuh>

// Queries are always the last tokens of their sequence, so decode is causal attention of one row.
#undef DISPATCH_MASK_MODE
#define DISPATCH_MASK_MODE(mask_mode, MASK_MODE, ...)         \
  {                                                           \
    if (mask_mode != flashinfer::MaskMode::kCausal) {         \
      FLASHINFER_ERROR("only causal attention was compiled"); \
    }                                                         \
    constexpr auto MASK_MODE = flashinfer::MaskMode::kCausal; \
    __VA_ARGS__                                               \
  }

// The planner chooses 16, 64 or 128 packed query rows a program for heads of up to 256.
#undef DISPATCH_CTA_TILE_Q
#define DISPATCH_CTA_TILE_Q(cta_tile_q, CTA_TILE_Q, ...)   \
  if (cta_tile_q == 16) {                                  \
    constexpr uint32_t CTA_TILE_Q = 16;                    \
    __VA_ARGS__                                            \
  } else if (cta_tile_q == 64) {                           \
    constexpr uint32_t CTA_TILE_Q = 64;                    \
    __VA_ARGS__                                            \
  } else if (cta_tile_q == 128) {                          \
    constexpr uint32_t CTA_TILE_Q = 128;                   \
    __VA_ARGS__                                            \
  } else {                                                 \
    FLASHINFER_ERROR("no such tile of queries was compiled"); \
  }

#ifdef NACELLE_GROUP_SIZE
#undef DISPATCH_GQA_GROUP_SIZE
#define DISPATCH_GQA_GROUP_SIZE(group_size, GROUP_SIZE, ...)                      \
  {                                                                               \
    if (group_size != NACELLE_GROUP_SIZE) {                                       \
      FLASHINFER_ERROR("another number of query heads a KV head was compiled");   \
    }                                                                             \
    constexpr size_t GROUP_SIZE = NACELLE_GROUP_SIZE;                             \
    __VA_ARGS__                                                                   \
  }
#endif
