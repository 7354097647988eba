"""Bytes that the launches of a layer move, from what they are bound to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from nacelle_engine.program.launch import (
    Binding,
    Buffer,
    KernelLaunch,
    Launch,
    LogitsLaunch,
    MatmulLaunch,
    PagedAttentionLaunch,
    Symbol,
)
from nacelle_engine.program.signature import ITEM_BYTES

# Sums of products that are split among programs: as many as a tiling makes, and never left in
# memory for long.
_SCRATCH = ("partial", "counters")


@dataclass(frozen=True)
class LaunchBytes:
    """What bindings stand for in one step.

    sizes     the step's sizes
    buffers   the launch list's, by name
    weights   bytes of a layer's weights, by name
    inputs    bytes of the step's arrays, by name
    cached    tokens of all requests together that are in the cache after the step
    kv_token  bytes of one token's K and V in one layer
    rotary    numbers in a row of the rotary table
    """

    sizes: Mapping[Symbol, int]
    buffers: Mapping[str, Buffer]
    weights: Mapping[str, int]
    inputs: Mapping[str, int]
    cached: int
    kv_token: int
    rotary: int

    def of(self, launch: Launch) -> int:
        """Each tensor once, and once more where the launch adds to it in place.

        The cache counts by the tokens read, the step's own written among them.
        """
        bindings = list(_bindings(launch))
        total = sum(self._binding(one) for one in bindings if one.name != "kv")
        if any(one.name == "kv" for one in bindings):
            total += self.kv_token * (self.sizes["T"] if _appends(launch) else self.cached)
        if (stream := _added_to(launch, bindings)) is not None:
            total += self._binding(stream)
        return total

    def _binding(self, binding: Binding) -> int:
        name = binding.name
        match binding.source:
            case "buffer":
                return self._buffer(self.buffers[name])
            case "weight":
                return self.weights[name]
            case "input":
                return self.inputs[name]
            case "state":  # "rope": the cache is counted by itself
                return 4 * self.rotary * self.sizes["T"]
            case _:
                return 0

    def _buffer(self, buffer: Buffer) -> int:
        if buffer.name in _SCRATCH:
            return 0
        shape = [size.of(dict(self.sizes)) for size in buffer.shape]
        if all(size.symbol is None for size in buffer.shape):
            # Made for the most tokens of its class: the last size of scales, else the first.
            shape[-1 if buffer.dtype == "float32" else 0] = self.sizes["T"]
        return prod(shape) * ITEM_BYTES[buffer.dtype]


def _bindings(launch: Launch) -> Iterator[Binding]:
    if isinstance(launch, KernelLaunch):
        yield from launch.arguments
        return
    every: tuple[Binding | None, ...]
    match launch:
        case MatmulLaunch():
            scales = (launch.x_scale, launch.weight_scale, launch.bias)
            every = (launch.x, launch.weight, launch.out, *scales)
        case LogitsLaunch():
            every = (launch.x, launch.weight, launch.out)
        case PagedAttentionLaunch():
            every = (launch.q, launch.kv, launch.block_table, launch.out, launch.kv_scales)
    yield from (one for one in every if one is not None)


def _appends(launch: Launch) -> bool:
    """Whether it only writes to the cache; others read it."""
    return not isinstance(launch, PagedAttentionLaunch) and any(
        one.name == "slots" for one in _bindings(launch)
    )


def _added_to(launch: Launch, bindings: list[Binding]) -> Binding | None:
    """The residual stream, where the launch adds to it: a product's sum, or a delta."""
    if not isinstance(launch, KernelLaunch):
        return None
    stream = next((one for one in bindings if (one.source, one.name) == ("buffer", "x")), None)
    adds = "residual" in launch.kernel or any(one.name == "delta" for one in bindings)
    return stream if adds else None
