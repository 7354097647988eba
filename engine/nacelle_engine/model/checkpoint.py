"""The tensors of a TensorRT-LLM-format checkpoint: name, shape, and whether it may be quantised.

Linear weights are [out, in]. A quantised linear's weight is float8_e4m3fn and has scales beside it,
whose names are in scales.py.
"""

from nacelle_engine.frozen import Frozen
from nacelle_engine.model.spec import ModelSpec


class CheckpointTensor(Frozen):
    """One tensor of a checkpoint; `linear` ones are quantised where the recipe says so.

    fields: what of config.json decides its shape.
    """

    name: str
    shape: tuple[int, ...]
    linear: bool
    fields: tuple[str, ...]


def checkpoint_tensors(spec: ModelSpec) -> tuple[CheckpointTensor, ...]:
    """Every tensor of the checkpoint in order; a tied lm_head is left out (it is the embedding)."""
    layer = _layer(spec)
    tensors = [_vocabulary(spec, "transformer.vocab_embedding.weight")]
    for number in range(spec.num_layers):
        prefix = f"transformer.layers.{number}."
        tensors += [one.model_copy(update={"name": prefix + one.name}) for one in layer]
    tensors.append(_norm("transformer.ln_f", spec.hidden_size, "hidden_size"))
    if not spec.tied_embeddings:
        tensors.append(_vocabulary(spec, "lm_head.weight"))
    return tuple(tensors)


def _layer(spec: ModelSpec) -> list[CheckpointTensor]:
    hidden, head = spec.hidden_size, spec.head_dim
    qkv = spec.q_size + 2 * spec.kv_size
    queries = ("num_attention_heads", "head_dim")
    heads = (*queries, "num_key_value_heads")
    width, inner = ("hidden_size",), ("intermediate_size", "hidden_size")
    up, down = (spec.intermediate_size, hidden), (hidden, spec.intermediate_size)
    rows: list[tuple[bool, CheckpointTensor]] = [
        (True, _norm("input_layernorm", hidden, "hidden_size")),
        (True, _linear("attention.qkv", (qkv, hidden), heads + width)),
        (spec.qkv_bias, _bias("attention.qkv", qkv, heads)),
        (spec.qk_norm, _norm("attention.q_layernorm", head, "head_dim")),
        (spec.qk_norm, _norm("attention.k_layernorm", head, "head_dim")),
        (True, _linear("attention.dense", (hidden, spec.q_size), queries + width)),
        (spec.dense_bias, _bias("attention.dense", hidden, width)),
        (True, _norm("post_layernorm", hidden, "hidden_size")),
        (spec.output_norms, _norm("pre_feedforward_layernorm", hidden, "hidden_size")),
        (True, _linear("mlp.fc", up, inner)),
        (True, _linear("mlp.gate", up, inner)),
        (True, _linear("mlp.proj", down, inner)),
        (spec.output_norms, _norm("post_feedforward_layernorm", hidden, "hidden_size")),
    ]
    return [tensor for wanted, tensor in rows if wanted]


def _linear(name: str, shape: tuple[int, int], fields: tuple[str, ...]) -> CheckpointTensor:
    return CheckpointTensor(name=f"{name}.weight", shape=shape, linear=True, fields=fields)


def _bias(name: str, rows: int, fields: tuple[str, ...]) -> CheckpointTensor:
    return CheckpointTensor(name=f"{name}.bias", shape=(rows,), linear=False, fields=fields)


def _norm(name: str, width: int, field: str) -> CheckpointTensor:
    return CheckpointTensor(name=f"{name}.weight", shape=(width,), linear=False, fields=(field,))


def _vocabulary(spec: ModelSpec, name: str) -> CheckpointTensor:
    shape = (spec.vocab_size, spec.hidden_size)
    fields = ("vocab_size", "hidden_size")
    return CheckpointTensor(name=name, shape=shape, linear=False, fields=fields)
