"""The tensors of a TensorRT-LLM-format checkpoint: name, shape, and whether it may be quantised.

Linear weights are [out, in]. A quantised linear's weight is float8_e4m3fn and has scales beside it,
whose names are in scales.py.
"""

from nacelle_engine.frozen import Frozen
from nacelle_engine.model.spec import ModelSpec


class CheckpointTensor(Frozen):
    """One tensor of a checkpoint; `linear` ones are quantised where the recipe says so."""

    name: str
    shape: tuple[int, ...]
    linear: bool


def checkpoint_tensors(spec: ModelSpec) -> tuple[CheckpointTensor, ...]:
    """Every tensor of the checkpoint in order; a tied lm_head is left out (it is the embedding)."""
    hidden, inner = spec.hidden_size, spec.intermediate_size
    layer = (
        ("input_layernorm.weight", (hidden,), False),
        ("attention.qkv.weight", (spec.q_size + 2 * spec.kv_size, hidden), True),
        ("attention.dense.weight", (hidden, spec.q_size), True),
        ("post_layernorm.weight", (hidden,), False),
        ("mlp.fc.weight", (inner, hidden), True),
        ("mlp.gate.weight", (inner, hidden), True),
        ("mlp.proj.weight", (hidden, inner), True),
    )
    embedding = (spec.vocab_size, hidden)
    tensors: list[tuple[str, tuple[int, ...], bool]] = [
        ("transformer.vocab_embedding.weight", embedding, False)
    ]
    for number in range(spec.num_layers):
        tensors += [(f"transformer.layers.{number}.{n}", s, q) for n, s, q in layer]
    tensors.append(("transformer.ln_f.weight", (hidden,), False))
    if not spec.tied_embeddings:
        tensors.append(("lm_head.weight", embedding, False))
    return tuple(CheckpointTensor(name=n, shape=s, linear=q) for n, s, q in tensors)
