"""The signature of a model's programs: names, shapes, types and the weights each input takes."""

from nacelle_engine.limits import TOKENS_PER_BLOCK
from nacelle_engine.manifest import KvGroup
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.signature import (
    DtypeName,
    LayerSpec,
    ProgramSpec,
    Signature,
    TensorSpec,
    WeightSpec,
)
from nacelle_engine.recipe import Recipe

_LAYER = "transformer.layers.{layer}."
_EMBEDDING = "transformer.vocab_embedding.weight"


def signature_of(spec: ModelSpec, recipe: Recipe) -> Signature:
    """What programs.json will hold for this model and recipe."""
    compute: DtypeName = recipe.quantization.compute_type.value
    limits = recipe.limits
    group = KvGroup(layers=spec.num_layers, kv_heads=spec.num_kv_heads, head_dim=spec.head_dim)
    return Signature(
        compute_type=recipe.quantization.compute_type,
        vocab_size=spec.vocab_size,
        hidden_size=spec.hidden_size,
        max_num_tokens=limits.max_num_tokens,
        max_batch_size=limits.max_batch_size,
        max_seq_len=limits.max_seq_len,
        tokens_per_block=TOKENS_PER_BLOCK,
        kv_groups=(group,),
        inverse_frequencies=spec.inverse_frequencies,
        embed=_embed(spec, compute),
        kinds=(_layer(spec, compute),),
        head=_head(spec, compute),
        layers=(LayerSpec(program="layer.full"),) * spec.num_layers,
    )


def _embed(spec: ModelSpec, compute: DtypeName) -> ProgramSpec:
    return ProgramSpec(
        name="embed",
        file="embed.so",
        step=(
            TensorSpec(name="token_ids", dtype="int64", shape=("T",)),
            TensorSpec(name="positions", dtype="int64", shape=("T",)),
        ),
        weights=(_weight("embedding", compute, (spec.vocab_size, spec.hidden_size), _EMBEDDING),),
        state=(TensorSpec(name="rope_table", dtype="float32", shape=("S", spec.head_dim)),),
        outputs=(*_stream(spec, compute), _cos_sin(spec)),
    )


def _layer(spec: ModelSpec, compute: DtypeName) -> ProgramSpec:
    hidden, inner = spec.hidden_size, spec.intermediate_size
    qkv = spec.q_size + 2 * spec.kv_size
    kv_shape = ("B", 2, spec.num_kv_heads, TOKENS_PER_BLOCK, spec.head_dim)
    return ProgramSpec(
        name="layer.full",
        file="layer.full.so",
        step=(
            *_stream(spec, compute),
            _cos_sin(spec),
            TensorSpec(name="slots", dtype="int64", shape=("T",)),
            TensorSpec(name="q_start", dtype="int32", shape=("R1",)),
            TensorSpec(name="block_table", dtype="int32", shape=("R", "MB")),
            TensorSpec(name="seq_lens", dtype="int32", shape=("R",)),
        ),
        weights=(
            _weight("input_norm", compute, (hidden,), _LAYER + "input_layernorm.weight"),
            _weight("qkv", compute, (qkv, hidden), _LAYER + "attention.qkv.weight"),
            _weight("dense", compute, (hidden, spec.q_size), _LAYER + "attention.dense.weight"),
            _weight("post_norm", compute, (hidden,), _LAYER + "post_layernorm.weight"),
            _weight(
                "gate_up", compute, (2 * inner, hidden),
                _LAYER + "mlp.fc.weight", _LAYER + "mlp.gate.weight",
            ),
            _weight("down", compute, (hidden, inner), _LAYER + "mlp.proj.weight"),
        ),
        state=(TensorSpec(name="kv", dtype=compute, shape=kv_shape),),
        outputs=_stream(spec, compute),
    )  # fmt: skip


def _head(spec: ModelSpec, compute: DtypeName) -> ProgramSpec:
    lm_head = _EMBEDDING if spec.tied_embeddings else "lm_head.weight"
    return ProgramSpec(
        name="head",
        file="head.so",
        step=(
            *_stream(spec, compute),
            TensorSpec(name="logits_rows", dtype="int64", shape=("L",)),
        ),
        weights=(
            _weight("final_norm", compute, (spec.hidden_size,), "transformer.ln_f.weight"),
            _weight("lm_head", compute, (spec.vocab_size, spec.hidden_size), lm_head),
        ),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("L", spec.vocab_size)),),
    )


def _stream(spec: ModelSpec, compute: DtypeName) -> tuple[TensorSpec, TensorSpec]:
    return (
        TensorSpec(name="hidden", dtype=compute, shape=("T", spec.hidden_size)),
        TensorSpec(name="residual", dtype="float32", shape=("T", spec.hidden_size)),
    )


def _cos_sin(spec: ModelSpec) -> TensorSpec:
    return TensorSpec(name="cos_sin", dtype="float32", shape=("T", spec.head_dim))


def _weight(name: str, dtype: DtypeName, shape: tuple[int, ...], *sources: str) -> WeightSpec:
    return WeightSpec(name=name, dtype=dtype, shape=shape, sources=sources)
