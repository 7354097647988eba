"""What each op's arguments are bound to where it stands in the program."""

from collections.abc import Mapping
from typing import Final

from nacelle_builder.compile.gpu.place import HeadProduct, LibraryCall
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.program.launch import (
    Binding,
    KernelLaunch,
    Launch,
    Launches,
    LogitsLaunch,
    MatmulLaunch,
    PagedAttentionLaunch,
)

Names = Mapping[str, Binding]


def buffer(name: str) -> Binding:
    """A tensor of the workspace."""
    return Binding(source="buffer", name=name)


def weight(name: str) -> Binding:
    """A weight of the program."""
    return Binding(source="weight", name=name)


def _same(source: str, *names: str) -> dict[str, Binding]:
    return {name: Binding.model_validate({"source": source, "name": name}) for name in names}


def _static(name: str) -> dict[str, Binding]:
    """The scale of what goes into that linear, where it is a static one."""
    return {"static_scale": weight(f"{name}_input_scale")}


def _stream(norm: str, linear: str) -> dict[str, Binding]:
    """What the residual stream becomes before that linear."""
    return {"norm": weight(norm), "out": buffer("hidden_codes"), **_static(linear)}


def _linear(name: str) -> dict[str, Binding]:
    return {
        "weight": weight(name),
        "scale": weight(f"{name}_scale"),
        "bias": weight(f"{name}_bias"),
    }


# Arguments that mean the same in every op.
_COMMON: Final[Names] = {
    **_same("size", "T", "R", "L", "W"),
    **_same("input", "token_ids", "positions", "slots", "q_start", "seq_lens", "block_table"),
    **_same("input", "logits_rows", "tile_request", "tile_first"),
    **_same("state", "rope", "kv"),
    **_same("weight", "kv_scales", "q_norm", "k_norm"),
    **_same("buffer", "x", "qkv", "delta", "row_scale", "partial", "counters"),
    **_same("buffer", "x_scales", "x_squares", "inner_codes", "inner_scales"),
    **_same("buffer", "normed_rows"),
    "x_codes": buffer("hidden_codes"),
    **_same("output", "logits"),
    # Launches run one after the other, so all that share sums use the same space.
    "workspace": buffer("partial"),
    "arrived": buffer("counters"),
}
_ATTENTION_BLOCKS: Final[Names] = {
    "a_codes": buffer("attention_codes"),
    "a_scales": buffer("attention_scales"),
}
_PROMPTS: Final[Names] = {"q": buffer("q"), "out": buffer("attention")}
# The op at each place of a step, and the arguments that are particular to the place.
_PLACES: Final[Mapping[str, Names]] = {
    "embed": {"table": weight("embedding")},
    "qkv": {"norm": weight("input_norm"), "out": buffer("qkv"), **_linear("qkv")},
    "decode_attention": {
        "out": buffer("attention"),
        "a_codes": buffer("attention_codes"),
        **_static("dense"),
    },
    "dense": {"a": buffer("attention"), "out": buffer("delta"), **_linear("dense")},
    "attention_residual": {"norm": weight("attention_out_norm")},
    "gate_up": {"norm": weight("post_norm"), "out": buffer("inner"), **_linear("gate_up")},
    "down": {"a": buffer("inner"), "out": buffer("delta"), **_linear("down")},
    "mlp_residual": {"norm": weight("mlp_out_norm")},
    "block_input": {"norm": weight("first_norm")},
    "block_qkv": {"out": buffer("qkv"), **_linear("qkv")},
    "block_attention": _ATTENTION_BLOCKS,
    "block_dense": {"norm": weight("post_norm"), **_ATTENTION_BLOCKS, **_linear("dense")},
    "block_gate_up": _linear("gate_up"),
    "block_down": {
        "norm": weight("next_norm"),
        "a_codes": buffer("inner_codes"),
        "a_scales": buffer("inner_scales"),
        **_linear("down"),
    },
    "rope_append": {"q_out": buffer("q")},
    "rope_quantise": {"q_out": buffer("q_codes")},
    "prefill_attention": _PROMPTS,
    "prompt_attention": _PROMPTS,
    "first_quantise": _stream("first_norm", "first_qkv"),
    "attention_quantise": {
        "x": buffer("attention"),
        "out": buffer("attention_codes"),
        **_static("dense"),
    },
    "post_quantise": {"delta_scale": weight("dense_scale"), **_stream("post_norm", "gate_up")},
    "next_quantise": {"delta_scale": weight("down_scale"), **_stream("next_norm", "next_qkv")},
    "act_quantise": {
        "gate_up": buffer("gate_up"),
        "gate_up_scale": weight("gate_up_scale"),
        "out": buffer("inner_codes"),
        **_static("down"),
    },
    "static_gate_up": {
        "input_scale": weight("gate_up_input_scale"),
        **_static("down"),
        **_linear("gate_up"),
    },
    "logits": {"norm": weight("final_norm"), **_linear("lm_head")},
}


def launches_of(place: str, kernel: Kernel | LibraryCall | HeadProduct) -> Launches:
    """What is launched at a place: a kernel, a library, or one after the other."""
    if isinstance(kernel, LibraryCall):
        return (_attention(kernel),)
    if isinstance(kernel, HeadProduct):
        product = LogitsLaunch(
            x=buffer("normed_rows"), weight=weight("lm_head"), out=_COMMON["logits"]
        )
        return _kernel(place, kernel.rows), product
    return (_kernel(place, kernel),)


def _kernel(place: str, kernel: Kernel) -> Launch:
    """The launch of a kernel at a place, where every argument must be known."""
    known = {**_COMMON, **_PLACES[place]}
    missing = [name for name in kernel.arguments if name not in known]
    assert not missing, f"{kernel.name} takes {missing}, which {place} does not have"
    arguments = tuple(known[name] for name in kernel.arguments)
    return KernelLaunch(kernel=kernel.name, grid=kernel.grid, arguments=arguments)


def _attention(call: LibraryCall) -> PagedAttentionLaunch:
    shape = call.shape
    return PagedAttentionLaunch(
        library=call.library.name,
        q=buffer("q_codes" if call.fp8_queries else "q"),
        kv=_COMMON["kv"],
        block_table=_COMMON["block_table"],
        out=buffer("attention"),
        kv_scales=_COMMON["kv_scales"] if shape.fp8 else None,
        scale=shape.softmax_scale,
        soft_cap=shape.soft_cap,
        window=shape.window,
    )


def matmul(codes: str, name: str, out: str, *, static: bool, raw: bool, bias: bool) -> MatmulLaunch:
    """The library's product of quantised activations with the weight of that name.

    static: one scale for the input and one for the weight, else one a token and one an output.
    raw: whoever reads the product scales it. bias: the linear has one.
    """
    product = MatmulLaunch(x=buffer(codes), weight=weight(name), out=buffer(out))
    if raw:
        return product
    scales = {
        "x_scale": weight(f"{name}_input_scale") if static else buffer("row_scale"),
        "weight_scale": weight(f"{name}_factor" if static else f"{name}_scale"),
        "bias": weight(f"{name}_bias") if bias else None,
    }
    return product.model_copy(update=scales)
