"""The signature of a model's programs: names, shapes, types and the weights each input takes."""

from nacelle_engine.limits import TOKENS_PER_BLOCK
from nacelle_engine.manifest import KvGroup
from nacelle_engine.model.spec import LayerKind, ModelSpec
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
    groups = {kind.name: number for number, kind in enumerate(spec.kinds)}
    return Signature(
        compute_type=recipe.quantization.compute_type,
        vocab_size=spec.vocab_size,
        hidden_size=spec.hidden_size,
        max_num_tokens=limits.max_num_tokens,
        max_batch_size=limits.max_batch_size,
        max_seq_len=limits.max_seq_len,
        tokens_per_block=TOKENS_PER_BLOCK,
        kv_groups=tuple(_group(spec, kind) for kind in spec.kinds),
        inverse_frequencies=tuple(kind.inverse_frequencies for kind in spec.kinds),
        embed=_embed(spec, compute),
        kinds=tuple(_layer(spec, kind, compute) for kind in spec.kinds),
        head=_head(spec, compute),
        layers=tuple(
            LayerSpec(program=f"layer.{name}", group=groups[name]) for name in spec.layer_types
        ),
    )


def _group(spec: ModelSpec, kind: LayerKind) -> KvGroup:
    return KvGroup(
        name=kind.name,
        layers=spec.layer_types.count(kind.name),
        kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim,
        window=kind.window,
    )


def _embed(spec: ModelSpec, compute: DtypeName) -> ProgramSpec:
    rotary = spec.rotary_dim
    return ProgramSpec(
        name="embed",
        file="embed.so",
        step=(
            TensorSpec(name="token_ids", dtype="int64", shape=("T",)),
            TensorSpec(name="positions", dtype="int64", shape=("T",)),
        ),
        weights=(_weight("embedding", compute, (spec.vocab_size, spec.hidden_size), _EMBEDDING),),
        state=tuple(
            TensorSpec(name=f"rope_table_{kind.name}", dtype="float32", shape=("S", rotary))
            for kind in spec.kinds
        ),
        outputs=(*_stream(spec, compute), *(_cos_sin(spec, f"_{k.name}") for k in spec.kinds)),
    )


def _layer(spec: ModelSpec, kind: LayerKind, compute: DtypeName) -> ProgramSpec:
    kv_shape = ("B", 2, spec.num_kv_heads, TOKENS_PER_BLOCK, spec.head_dim)
    return ProgramSpec(
        name=f"layer.{kind.name}",
        file=f"layer.{kind.name}.so",
        step=(
            *_stream(spec, compute),
            _cos_sin(spec),
            TensorSpec(name="slots", dtype="int64", shape=("T",)),
            TensorSpec(name="q_start", dtype="int32", shape=("R1",)),
            TensorSpec(name="block_table", dtype="int32", shape=("R", "MB")),
            TensorSpec(name="seq_lens", dtype="int32", shape=("R",)),
        ),
        weights=_layer_weights(spec, compute),
        state=(TensorSpec(name="kv", dtype=compute, shape=kv_shape),),
        outputs=_stream(spec, compute),
    )


def _layer_weights(spec: ModelSpec, compute: DtypeName) -> tuple[WeightSpec, ...]:
    """A layer's inputs; post_norm is the norm before the MLP, whatever the family calls it."""
    hidden, inner, head = spec.hidden_size, spec.intermediate_size, spec.head_dim
    qkv, norms = spec.q_size + 2 * spec.kv_size, spec.output_norms
    before_mlp = "pre_feedforward_layernorm" if norms else "post_layernorm"
    rows: tuple[tuple[bool, str, tuple[int, ...], tuple[str, ...]], ...] = (
        (True, "input_norm", (hidden,), ("input_layernorm.weight",)),
        (True, "qkv", (qkv, hidden), ("attention.qkv.weight",)),
        (spec.qkv_bias, "qkv_bias", (qkv,), ("attention.qkv.bias",)),
        (spec.qk_norm, "q_norm", (head,), ("attention.q_layernorm.weight",)),
        (spec.qk_norm, "k_norm", (head,), ("attention.k_layernorm.weight",)),
        (True, "dense", (hidden, spec.q_size), ("attention.dense.weight",)),
        (spec.dense_bias, "dense_bias", (hidden,), ("attention.dense.bias",)),
        (norms, "attention_out_norm", (hidden,), ("post_layernorm.weight",)),
        (True, "post_norm", (hidden,), (f"{before_mlp}.weight",)),
        (True, "gate_up", (2 * inner, hidden), ("mlp.fc.weight", "mlp.gate.weight")),
        (True, "down", (hidden, inner), ("mlp.proj.weight",)),
        (norms, "mlp_out_norm", (hidden,), ("post_feedforward_layernorm.weight",)),
    )
    return tuple(
        _weight(name, compute, shape, *(_LAYER + source for source in sources))
        for wanted, name, shape, sources in rows
        if wanted
    )


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


def _cos_sin(spec: ModelSpec, suffix: str = "") -> TensorSpec:
    return TensorSpec(name=f"cos_sin{suffix}", dtype="float32", shape=("T", spec.rotary_dim))


def _weight(name: str, dtype: DtypeName, shape: tuple[int, ...], *sources: str) -> WeightSpec:
    return WeightSpec(name=name, dtype=dtype, shape=shape, sources=sources)
