"""The launches that one layer consists of, by the numerics of a step and what it attends to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nacelle_builder.compile.gpu.place import LibraryCall
from nacelle_builder.compile.gpu.plan import Plan
from nacelle_engine.program.launch import Launches, NumericsClass

_Attention = Callable[[Plan, int], Launches]


class Linears(Protocol):
    """What steps consist of beside attention: our own kernels, or another compiler's plans."""

    @property
    def ends(self) -> list[int]:
        """The last sizes of steps before it changes, ascending."""
        ...

    def embed(self, size: int, numerics: NumericsClass) -> Launches:
        """What leads to the first layer, in steps of up to `size` tokens."""
        ...

    def layer(
        self, plan: Plan, size: int, numerics: NumericsClass, *, decode: bool, prompts: bool
    ) -> Launches:
        """One layer of the kind whose part of the plan this is."""
        ...

    def head(self, launches: Launches) -> Launches:
        """The head's launches, reading what the last layer has left."""
        ...


@dataclass(frozen=True)
class OwnLinears:
    """Our own kernels and the library's products, as they were chosen."""

    plan: Plan

    @property
    def ends(self) -> list[int]:
        """Where the choice changes."""
        return self.plan.ends("qkv", "act_quantise")

    def embed(self, size: int, numerics: NumericsClass) -> Launches:
        """The embedding, and what the first layer multiplies of it."""
        first = {"block": "block_input", "quantised": "first_quantise"}.get(numerics)
        after = (self.plan.launch(first, size),) if first else ()
        return (self.plan.launch("embed", size), *after)

    def layer(
        self, plan: Plan, size: int, numerics: NumericsClass, *, decode: bool, prompts: bool
    ) -> Launches:
        """As the numerics of the step ask for."""
        return layer(plan, size, numerics, decode=decode, prompts=prompts)

    def head(self, launches: Launches) -> Launches:
        """As they are."""
        return launches


def own_linears(plan: Plan) -> Linears:
    """Our own kernels."""
    return OwnLinears(plan)


def layer(
    plan: Plan, size: int, numerics: NumericsClass, *, decode: bool, prompts: bool
) -> Launches:
    """One layer's launches in steps of up to `size` tokens.

    decode   one token a request
    prompts  long stretches of few requests, in steps that no graph holds
    """
    if numerics == "block":
        return _block_layer(plan, size)
    if decode and numerics == "quantised" and plan.static:
        return _static_layer(plan, size)
    whole = _fused_layer if numerics == "fused" else _quantised_layer
    return whole(plan, size, attention_of(plan, size, decode=decode, prompts=prompts))


def attention_of(plan: Plan, size: int, *, decode: bool, prompts: bool) -> _Attention:
    """What attends, from qkv to attention."""
    if prompts and plan.maybe("prompt_attention", size):
        return _prompt_attention
    return _decode_attention if decode else _ragged_attention


def _decode_attention(plan: Plan, size: int) -> Launches:
    return (plan.launch("decode_attention", size),)


def _ragged_attention(plan: Plan, size: int) -> Launches:
    return plan.launch("rope_append", size), plan.launch("prefill_attention", size)


def _prompt_attention(plan: Plan, size: int) -> Launches:
    call = plan.at("prompt_attention", size).kernel
    quantised = isinstance(call, LibraryCall) and call.fp8_queries
    append = "rope_quantise" if quantised else "rope_append"
    return plan.launch(append, size), plan.launch("prompt_attention", size)


def _fused_layer(plan: Plan, size: int, attention: _Attention) -> Launches:
    return (
        plan.launch("qkv", size),
        *attention(plan, size),
        plan.launch("dense", size),
        *plan.maybe("attention_residual", size),
        plan.launch("gate_up", size),
        plan.launch("down", size),
        *plan.maybe("mlp_residual", size),
    )


def _block_layer(plan: Plan, size: int) -> Launches:
    names = ("block_qkv", "block_attention", "block_dense", "block_gate_up", "block_down")
    return tuple(plan.launch(name, size) for name in names)


def _quantised_layer(plan: Plan, size: int, attention: _Attention) -> Launches:
    return (
        plan.matmul("hidden_codes", "qkv", "qkv"),
        *attention(plan, size),
        plan.launch("attention_quantise", size),
        plan.matmul("attention_codes", "dense", "delta", size),
        *plan.maybe("attention_residual", size),
        plan.launch("post_quantise", size),
        plan.matmul("hidden_codes", "gate_up", "gate_up", size),
        plan.launch("act_quantise", size),
        plan.matmul("inner_codes", "down", "delta", size),
        *plan.maybe("mlp_residual", size),
        plan.launch("next_quantise", size),
    )


def _static_layer(plan: Plan, size: int) -> Launches:
    """A decode step with static scales: what makes a linear's input writes its codes itself."""
    return (
        plan.matmul("hidden_codes", "qkv", "qkv"),
        *_decode_attention(plan, size),
        plan.matmul("attention_codes", "dense", "delta"),
        *plan.maybe("attention_residual", size),
        plan.launch("post_quantise", size),
        *_static_gate_up(plan, size),
        plan.matmul("inner_codes", "down", "delta"),
        *plan.maybe("mlp_residual", size),
        plan.launch("next_quantise", size),
    )


def _static_gate_up(plan: Plan, size: int) -> Launches:
    """One launch; two where the hidden size suits no kernel of ours."""
    return plan.maybe("static_gate_up", size) or (
        plan.matmul("hidden_codes", "gate_up", "gate_up"),
        plan.launch("act_quantise", size),
    )
