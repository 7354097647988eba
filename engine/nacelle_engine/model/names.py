"""Hugging Face names of the tensors that make each checkpoint tensor, by naming scheme."""

from collections.abc import Mapping

from nacelle_engine.model.source import Source


def _joined(projections: str, kind: str) -> Source:
    return Source(tuple(f"self_attn.{letter}_proj.{kind}" for letter in projections))


LLAMA_LAYER: Mapping[str, Source] = {
    "input_layernorm.weight": Source(("input_layernorm.weight",)),
    "attention.qkv.weight": _joined("qkv", "weight"),
    "attention.qkv.bias": _joined("qkv", "bias"),
    "attention.q_layernorm.weight": Source(("self_attn.q_norm.weight",)),
    "attention.k_layernorm.weight": Source(("self_attn.k_norm.weight",)),
    "attention.dense.weight": _joined("o", "weight"),
    "attention.dense.bias": _joined("o", "bias"),
    "post_layernorm.weight": Source(("post_attention_layernorm.weight",)),
    # TensorRT-LLM's names: fc is the gate, gate is the up projection.
    "mlp.fc.weight": Source(("mlp.gate_proj.weight",)),
    "mlp.gate.weight": Source(("mlp.up_proj.weight",)),
    "mlp.proj.weight": Source(("mlp.down_proj.weight",)),
}
PHI3_LAYER: Mapping[str, Source] = {
    **LLAMA_LAYER,
    "attention.qkv.weight": Source(("self_attn.qkv_proj.weight",)),
    # The upper half is the gate, the lower half the up projection.
    "mlp.fc.weight": Source(("mlp.gate_up_proj.weight",), part=0, parts=2),
    "mlp.gate.weight": Source(("mlp.gate_up_proj.weight",), part=1, parts=2),
}
GEMMA_LAYER: Mapping[str, Source] = {
    **LLAMA_LAYER,
    "pre_feedforward_layernorm.weight": Source(("pre_feedforward_layernorm.weight",)),
    "post_feedforward_layernorm.weight": Source(("post_feedforward_layernorm.weight",)),
}
MODEL: Mapping[str, Source] = {
    "transformer.vocab_embedding.weight": Source(("model.embed_tokens.weight",)),
    "transformer.ln_f.weight": Source(("model.norm.weight",)),
    "lm_head.weight": Source(("lm_head.weight",)),
}
