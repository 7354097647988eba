"""TensorRT's plans as launches of a step, around our own rope, KV cache and attention."""

from collections.abc import Sequence
from dataclasses import dataclass

from nacelle_builder.compile.gpu.bindings import buffer, weight
from nacelle_builder.compile.gpu.layer_launches import attention_of
from nacelle_builder.compile.gpu.plan import Plan
from nacelle_builder.compile.tensorrt.network import Network
from nacelle_builder.compile.tensorrt.profiles import Profile
from nacelle_engine.program.launch import (
    Binding,
    KernelLaunch,
    Launches,
    NumericsClass,
    PlanLaunch,
)

_STREAM_IN = Binding(source="stream", name="in")
_STREAM_OUT = Binding(source="stream", name="out")


@dataclass(frozen=True)
class PlanLinears:
    """Everything of a layer but attention, by two plans.

    entry, exit  their networks
    layers       how many there are: after an odd number the stream is in the other buffer
    """

    plan: Plan
    entry: Network
    exit: Network
    profiles: Sequence[Profile]
    layers: int

    @property
    def ends(self) -> list[int]:
        """The profiles' last sizes."""
        return [profile.last for profile in self.profiles]

    def embed(self, size: int, numerics: NumericsClass) -> Launches:
        """The embedding's rows."""
        return (self.plan.launch("embed", size),)

    def layer(
        self, plan: Plan, size: int, numerics: NumericsClass, *, decode: bool, prompts: bool
    ) -> Launches:
        """Entry, attention, exit."""
        attention = attention_of(plan, size, decode=decode, prompts=prompts)
        return (
            self._call(self.entry, size, buffer("qkv")),
            *attention(plan, size),
            self._call(self.exit, size, _STREAM_OUT),
        )

    def head(self, launches: Launches) -> Launches:
        """The head's, reading the buffer that the last layer wrote."""
        if self.layers % 2 == 0:
            return launches
        return tuple(
            one.model_copy(update={"arguments": tuple(map(_other, one.arguments))})
            if isinstance(one, KernelLaunch)
            else one
            for one in launches
        )

    def _call(self, network: Network, size: int, output: Binding) -> PlanLaunch:
        number = next(n for n, one in enumerate(self.profiles) if size <= one.last)
        steps = {"x": _STREAM_IN, "attention": buffer("attention")}
        return PlanLaunch(
            plan=network.name,
            profile=number,
            inputs={tensor.name: steps[tensor.name] for tensor in network.inputs},
            weights={tensor.name: weight(tensor.name) for tensor in network.weights},
            output=output,
        )


def _other(binding: Binding) -> Binding:
    return buffer("y") if binding == buffer("x") else binding
