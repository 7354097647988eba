"""The tensors of the three Triton models: TensorRT-LLM's names, as data.

A tensor's dims leave out the batch dimension, which is always 1: the core forms the batches.
"""

from dataclasses import dataclass
from typing import Any, Final

TEXT_MODEL: Final = "tensorrt_llm_bls"
TOKEN_MODEL: Final = "tensorrt_llm"
ENSEMBLE: Final = "ensemble"
MODEL_VERSION: Final = 1


@dataclass(frozen=True)
class Tensor:
    """One input or output: Triton's type without its TYPE_, -1 for a free size."""

    name: str
    type: str
    dims: tuple[int, ...] = (1,)
    optional: bool = True

    @property
    def scalar(self) -> bool:
        """True when it holds one value."""
        return self.dims == (1,)


# Inputs of both models.
_COMMON: Final = (
    Tensor("end_id", "INT32"),
    Tensor("pad_id", "INT32"),
    Tensor("temperature", "FP32"),
    Tensor("min_p", "FP32"),
    Tensor("repetition_penalty", "FP32"),
    Tensor("presence_penalty", "FP32"),
    Tensor("frequency_penalty", "FP32"),
    Tensor("min_tokens", "INT32"),
    Tensor("min_length", "INT32"),
    Tensor("seed", "UINT64"),
    Tensor("random_seed", "UINT64"),
    Tensor("return_log_probs", "BOOL"),
    Tensor("exclude_input_in_output", "BOOL"),
    Tensor("priority", "INT32"),
    Tensor("beam_width", "INT32"),
    Tensor("num_return_sequences", "INT32"),
    Tensor("return_context_logits", "BOOL"),
    Tensor("return_generation_logits", "BOOL"),
    Tensor("return_perf_metrics", "BOOL"),
)
TEXT_INPUTS: Final = (
    Tensor("text_input", "STRING", optional=False),
    Tensor("max_tokens", "INT32", optional=False),
    Tensor("stream", "BOOL"),
    Tensor("stop_words", "STRING", (-1,)),
    Tensor("bad_words", "STRING", (-1,)),
    Tensor("embedding_bias_words", "STRING", (-1,)),
    Tensor("embedding_bias_weights", "FP32", (-1,)),
    Tensor("top_k", "INT32"),
    Tensor("top_p", "FP32"),
    Tensor("length_penalty", "FP32"),
    *_COMMON,
)
TOKEN_INPUTS: Final = (
    Tensor("input_ids", "INT32", (-1,), optional=False),
    Tensor("input_lengths", "INT32", optional=False),
    Tensor("request_output_len", "INT32", optional=False),
    Tensor("streaming", "BOOL"),
    Tensor("stop", "BOOL"),
    Tensor("stop_words_list", "INT32", (2, -1)),
    Tensor("bad_words_list", "INT32", (2, -1)),
    Tensor("embedding_bias", "FP32", (-1,)),
    Tensor("runtime_top_k", "INT32"),
    Tensor("runtime_top_p", "FP32"),
    Tensor("runtime_top_p_min", "FP32"),
    Tensor("runtime_top_p_decay", "FP32"),
    Tensor("runtime_top_p_reset_ids", "INT32"),
    Tensor("len_penalty", "FP32"),
    Tensor("early_stopping", "BOOL"),
    Tensor("beam_search_diversity_rate", "FP32"),
    *_COMMON,
)
_LOG_PROBS: Final = (
    Tensor("cum_log_probs", "FP32", (-1,)),
    Tensor("output_log_probs", "FP32", (-1, -1)),
    Tensor("batch_index", "INT32"),
    Tensor("sequence_index", "INT32"),
)
TEXT_OUTPUTS: Final = (Tensor("text_output", "STRING", (-1,)), *_LOG_PROBS)
TOKEN_OUTPUTS: Final = (
    Tensor("output_ids", "INT32", (-1, -1)),
    Tensor("sequence_length", "INT32", (-1,)),
    *_LOG_PROBS,
)

# What TensorRT-LLM's clients send and is not built; the values listed ask for nothing. Inputs that
# do not stand above Triton itself refuses by name.
NOT_BUILT: Final[dict[str, tuple[Any, ...]]] = {
    "beam_width": (1,),
    "num_return_sequences": (1,),
    "length_penalty": (0.0, 1.0),
    "len_penalty": (0.0, 1.0),
    "early_stopping": (False,),
    "beam_search_diversity_rate": (0.0,),
    "return_context_logits": (False,),
    "return_generation_logits": (False,),
    "return_perf_metrics": (False,),
    "runtime_top_p_min": (0.0,),
    "runtime_top_p_decay": (0.0, 1.0),
    "runtime_top_p_reset_ids": (-1,),
}
