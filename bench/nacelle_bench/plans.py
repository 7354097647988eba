"""TensorRT's plans of a layer alone: with the weights as inputs, and with the weights inside.

A bundle's plans take weights as inputs, so that one plan serves all layers. What that costs is the
difference to a plan that knows its weights, for which TensorRT may choose other kernels.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from nacelle_bench.attention_libraries import architecture_of
from nacelle_bench.gpu_machine import machine_facts
from nacelle_bench.gpu_time import microseconds
from nacelle_bench.memory import gpu_read_bandwidth
from nacelle_bench.model_shapes import SHAPES
from nacelle_bench.table import Row, Table
from nacelle_builder.compile.tensorrt.definition import Definition, add_profiles, as_input
from nacelle_builder.compile.tensorrt.layer_networks import layer_networks
from nacelle_builder.compile.tensorrt.network import Network, Tensor
from nacelle_builder.compile.tensorrt.plan_job import WORKSPACE_BYTES
from nacelle_builder.compile.tensorrt.profiles import Profile, profiles
from nacelle_engine.abi import TENSORRT_VERSION
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.machine import first_gpu
from nacelle_engine.model.family import read_spec
from nacelle_engine.precision import Quantization, QuantizationAlgorithm
from nacelle_engine.program.launch import Binding, PlanFile, PlanLaunch
from nacelle_engine.program.plans import open_plans
from nacelle_engine.program.tensorrt_api import tensorrt
from nacelle_engine.program.tensorrt_failure import failure
from nacelle_engine.program.tensorrt_log import log_to
from nacelle_engine.recipe import Recipe

# Calls in one CUDA graph: the host's time for a call may be longer than the plan's own.
_CALLS: Final = 20
_DECIMALS: Final = {"build_s": 1, "plan_mb": 1, "us": 1, "floor_us": 1}


def bench_plans(shape: str, algorithm: QuantizationAlgorithm, max_num_tokens: int) -> Table:
    """A row a network, way to bring weights, and profile; floor_us: its weights read once.

    AbiMismatch where TensorRT is missing, InvalidRequest where the GPU is, or is not known.
    """
    tensorrt()
    gpu = first_gpu()
    if gpu is None:
        raise InvalidRequest("plans are timed on a GPU, and this machine has none")
    spec = read_spec(SHAPES[shape])
    recipe = Recipe(
        architecture=architecture_of(gpu),
        backend="tensorrt",
        quantization=Quantization(algorithm=algorithm),
        limits=Limits(max_batch_size=1, max_num_tokens=max_num_tokens),
    )
    device = torch.device("cuda")
    rate = gpu_read_bandwidth(device)
    networks = layer_networks(spec, recipe)
    ranges = profiles(networks, max_num_tokens)
    rows = [
        row
        for network in networks
        for inside in (False, True)
        for row in _rows(network, ranges, inside, rate)
    ]
    facts = {
        "kind": "plans",
        "shape": shape,
        "quantization": str(algorithm),
        "tensorrt": TENSORRT_VERSION,
        **machine_facts(device),
        "read_gb_s": round(rate / 1e9, 1),
    }
    return Table(facts, rows, _DECIMALS)


def drawn(tensor: Tensor, rows: int = 1) -> torch.Tensor:
    """Values of real scale for a tensor, on the CPU; `rows` for those that steps bring."""
    size = (rows if tensor.shape[0] == "T" else tensor.shape[0], tensor.shape[1])
    values = torch.randn(size, generator=torch.Generator().manual_seed(0))
    if tensor.dtype == "float8_e4m3fn":
        return (100 * values).clamp(-448, 448).to(torch.float8_e4m3fn)
    if tensor.dtype == "float32":
        return (0.5 + values.abs()) / 6400
    # A matrix keeps the scale of what it is multiplied with.
    return (
        values if size[0] == 1 or tensor.shape[0] == "T" else values / size[1] ** 0.5
    ).bfloat16()


def _rows(network: Network, ranges: Sequence[Profile], inside: bool, rate: float) -> Iterator[Row]:
    weights = {tensor.name: drawn(tensor) for tensor in network.weights}
    with tempfile.TemporaryDirectory(prefix="nacelle-plans-") as folder:
        began = time.perf_counter()
        file = _compiled(network, ranges, weights if inside else {}, Path(folder))
        built = time.perf_counter() - began
        given = {} if inside else {name: value.cuda() for name, value in weights.items()}
        opened = open_plans(Path(folder), [file])
        assert opened is not None
        for number, one in enumerate(ranges):
            launch = PlanLaunch(
                plan=file.name,
                profile=number,
                inputs={},
                weights={},
                output=Binding(source="buffer", name="out"),
            )
            inputs = {tensor.name: drawn(tensor, one.best).cuda() for tensor in network.inputs}
            result = torch.empty(
                one.best,
                network.result.shape[1],
                dtype=getattr(torch, network.result.dtype),
                device="cuda",
            )
            yield {
                "network": network.name,
                "weights": "inside" if inside else "inputs",
                "tokens": one.best,
                "us": round(_timed(opened, launch, inputs, given, result, one.best), 2),
                "floor_us": round(1e6 * sum(w.nbytes for w in weights.values()) / rate, 2),
                "build_s": round(built, 2),
                "plan_mb": round((Path(folder) / file.file).stat().st_size / 1e6, 2),
            }


def _timed(
    opened: Any,
    launch: PlanLaunch,
    inputs: dict[str, torch.Tensor],
    weights: dict[str, torch.Tensor],
    result: torch.Tensor,
    tokens: int,
) -> float:
    """Microseconds of a call, by CUDA graphs of many."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        run = opened.call(launch, inputs, weights, result, stream.cuda_stream)
        run(tokens)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(_CALLS):
                run(tokens)
        return microseconds(graph.replay) / _CALLS


def _compiled(
    network: Network, ranges: Sequence[Profile], inside: dict[str, torch.Tensor], folder: Path
) -> PlanFile:
    """The plan's file in the folder; `inside`: the weights that become constants of it."""
    trt, lines = tensorrt(), list[str]()
    log = log_to(lines.append)
    builder, runtime = trt.Builder(log), trt.Runtime(log)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    add_profiles(builder, config, network, ranges)

    def weight(definition: Definition, tensor: Tensor) -> Any:
        # Scales and norms are few bytes: as inputs in both.
        if tensor.name not in inside or tensor.shape[0] == 1:
            return as_input(definition, tensor)
        value = inside[tensor.name]
        constant = trt.Weights(definition.dtype(tensor), value.data_ptr(), value.numel())
        return definition.definition.add_constant(tensor.shape, constant).get_output(0)

    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    definition = Definition(trt, builder.create_network(flags), network, weight)
    plan = builder.build_serialized_network(definition.definition, config)
    if plan is None:
        raise failure(f"compiling {network.name}", lines)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise failure(f"opening {network.name}", lines)
    (folder / f"{network.name}.plan").write_bytes(plan)
    return PlanFile(
        name=network.name,
        file=f"{network.name}.plan",
        workspace_bytes=engine.device_memory_size_v2,
    )
