"""A layer's launches, bytes and time: the bundle's fused launches beside eager torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch._C._autograd import DeviceType

from nacelle_bench.fusion_case import Case
from nacelle_bench.fusion_eager import (
    EagerLayer,
    EagerStep,
    Geometry,
    Weights,
    check_layer,
    eager_step,
)
from nacelle_bench.fusion_ours import FusedStep, Layers
from nacelle_bench.gpu_machine import machine_facts
from nacelle_bench.gpu_time import captured, microseconds
from nacelle_bench.memory import gpu_read_bandwidth
from nacelle_bench.moved_bytes import moved_bytes
from nacelle_bench.table import Table
from nacelle_engine.bundle import Bundle
from nacelle_engine.errors import FidelityFailed, InvalidRequest
from nacelle_engine.program.signature import Signature, read_signature

# How far layer 0's share of the residual stream may be from that of eager bfloat16: by rounded
# activations; "fused", with nothing quantised on the way, by an FP8 cache's values that are rounded
# to either side.
TOLERANCES: Final = {"fused": 0.06, "block": 0.2, "quantised": 0.2}
_EAGER: Final[dict[str, Weights]] = {"eager FP8": "float8_e4m3fn", "eager bf16": "bfloat16"}


@dataclass(frozen=True)
class Way:
    """How all layers are run; graph: as a CUDA graph, None where none may hold them."""

    name: str
    run: Callable[[], None]
    graph: Callable[[], None] | None
    bytes: int
    error: float


def bench_fusion(bundle: Bundle, cases: tuple[Case, ...], eps: float) -> Table:
    """A row a case and way; FidelityFailed where two ways' results differ too much."""
    signature = read_signature(bundle.rank())
    check_signature(signature, max(case.context for case in cases))
    layers = Layers(bundle.rank(), signature)
    facts = {
        "kind": "fusion",
        "bundle": bundle.manifest.key,
        **machine_facts(layers.device),
        "read_gb_s": round(gpu_read_bandwidth(layers.device) / 1e9, 1),
        "layers": len(layers.layers),
    }
    rows = [row for case in cases for row in case_rows(layers, case, eps)]
    return Table(facts, rows, {"mb": 2, "error": 4})


def check_signature(signature: Signature, context: int) -> None:
    """Refuse layers that the eager one is not."""
    for kind in signature.kinds:
        check_layer(kind)
    group, *others = signature.kv_groups
    if others:
        raise InvalidRequest(
            f"the bundle has KV groups {group.name} and {others[0].name}; fusion is measured of "
            "layers that are all of one"
        )
    if group.window is not None and group.window < context:
        raise InvalidRequest(
            f"--context, --prefill: {context} tokens are beyond the layers' window of "
            f"{group.window}; the eager layer sees all tokens"
        )


@torch.no_grad()
def case_rows(layers: Layers, case: Case, eps: float) -> list[dict[str, Any]]:
    """The rows of one case, all ways over one step and the same cache."""
    layers.stream.wait_stream(torch.cuda.current_stream(layers.device))
    with torch.cuda.stream(layers.stream):
        return [_row(case, way, len(layers.layers)) for way in _ways(layers, case, eps)]


def _ways(layers: Layers, case: Case, eps: float) -> list[Way]:
    signature = layers.signature
    size = signature.tokens_per_block
    layers.fill_kv(case.blocks(size))
    step = case.step(size, signature.vocab_size, len(signature.kv_groups))
    fused = FusedStep(layers, case, step)
    fused.send()
    before, after = fused.first()
    inputs = eager_step(step, layers.rope[0], size)
    made: dict[str, tuple[Callable[[], None], int, torch.Tensor]] = {}
    for name, kept in _EAGER.items():
        if kept == "float8_e4m3fn" and "qkv_scale" not in layers.layers[0][1].weights:
            continue
        eager = [
            EagerLayer(scope.weights, layers.kv[n], geometry_of(layers, n, eps), kept)
            for n, (_, scope) in enumerate(layers.layers)
        ]
        moved = moved_bytes(partial(eager[0].run, before, inputs))
        found = eager[0].run(before, inputs)
        made[name] = (partial(_run_eager, eager, before, inputs), moved, found)
    wanted = made["eager bf16"][2] - before
    graph = fused.replay if fused.capture() else None
    error = _error(after - before, wanted, "ours", TOLERANCES[fused.range.numerics])
    ways = [Way("ours", fused.run, graph, fused.bytes_of_layer(), error)]
    for name, (run, moved, found) in made.items():
        error = _error(found - before, wanted, name, TOLERANCES["quantised"])
        ways.append(Way(name, run, captured(run), moved, error))
    return ways


def _run_eager(layers: list[EagerLayer], x: torch.Tensor, inputs: EagerStep) -> None:
    for layer in layers:
        x = layer.run(x, inputs)


def geometry_of(layers: Layers, number: int, eps: float) -> Geometry:
    """Sizes of a layer's heads, from its weights and its KV group."""
    _, scope = layers.layers[number]
    group = layers.signature.kv_groups[scope.group]
    heads = scope.weights["dense"].shape[1] // group.head_dim
    return Geometry(heads, group.kv_heads, group.head_dim, eps)


def _row(case: Case, way: Way, layers: int) -> dict[str, Any]:
    launched = microseconds(way.run) / layers
    graph = None if way.graph is None else microseconds(way.graph) / layers
    # A kernel that reads all of it takes the time of the graph, where there is one.
    rate = way.bytes / (launched if graph is None else graph) / 1e3
    return {
        "step": "decode" if case.decode else "prefill",
        "tokens": case.tokens,
        "context": case.context,
        "layer": way.name,
        "launches": round(kernels(way.run) / layers, 2),
        "mb": round(way.bytes / 1e6, 3),
        "us": round(launched, 2),
        "graph_us": None if graph is None else round(graph, 2),
        "gb_s": round(rate, 1),
        "error": round(way.error, 5),
    }


def kernels(run: Callable[[], None]) -> int:
    """Kernels, copies and fills on the device in one run, counted by torch's profiler."""
    torch.cuda.synchronize()
    cuda = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=cuda, acc_events=True) as found:
        run()
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in found.events() or ())


def _error(found: torch.Tensor, wanted: torch.Tensor, name: str, most: float) -> float:
    """The distance as a share of what is wanted; FidelityFailed above `most`."""
    distance = found.float() - wanted.float()
    error = float(distance.norm() / wanted.float().norm())
    # Not "error > most": NaN is wrong too.
    if not error <= most:
        raise FidelityFailed(
            f"{name}: layer 0 differs from eager bfloat16 by {error:.4f} of its norm, {most} at "
            "most; its times would mean nothing (is --norm-eps the model's?)"
        )
    return error
