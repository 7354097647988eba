"""Plans of TensorRT inside a launch list: opened once, called once a layer.

A plan has its weights as inputs, so one serves all layers. Each of its profiles has an execution
context; contexts work in one piece of memory, since a stream runs them one after the other.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nacelle_engine.errors import CompileFailed, CorruptBundle
from nacelle_engine.program.driver import DriverError
from nacelle_engine.program.launch import PLAN_OUTPUT, PlanFile, PlanLaunch
from nacelle_engine.program.tensorrt_api import tensorrt
from nacelle_engine.program.tensorrt_failure import failure
from nacelle_engine.program.tensorrt_log import log_to

_LINES = 50
Tensors = Mapping[str, torch.Tensor]


def open_plans(rank: Path, files: Sequence[PlanFile]) -> "Plans | None":
    """The plans of a rank; None where there are none, and TensorRT is not asked for.

    AbiMismatch where TensorRT is missing or of another version, CorruptBundle names a missing file.
    """
    if not files:
        return None
    trt = tensorrt()
    for plan in files:
        if not (rank / plan.file).is_file():
            raise CorruptBundle(f"{rank / plan.file} is missing")
    return Plans(trt, rank, files)


class Plans:
    """The plans of a launch list; they are read when the first call is bound."""

    def __init__(self, trt: Any, rank: Path, files: Sequence[PlanFile]) -> None:
        self._trt, self._rank = trt, rank
        self._files = {plan.name: plan for plan in files}
        self._lines: deque[str] = deque(maxlen=_LINES)
        # TensorRT keeps no hold of its own on these.
        self._log = log_to(self._lines.append)
        self._runtime: Any = None
        self._engines: dict[str, Any] = {}
        self._contexts: dict[tuple[str, int], _Context] = {}
        self._memory: torch.Tensor | None = None

    def call(
        self,
        launch: PlanLaunch,
        inputs: Tensors,
        weights: Tensors,
        output: torch.Tensor,
        stream: int,
    ) -> Callable[[int], None]:
        """What runs the launch for a number of tokens.

        CorruptBundle where the plan is no plan, or takes other tensors.
        """
        context = self._context(launch, output.device, stream)
        tensors = {**inputs, **weights, PLAN_OUTPUT: output}
        addresses = tuple((name, tensor.data_ptr()) for name, tensor in tensors.items())
        self._check(launch, tensors)
        widths = tuple((name, tensor.shape[1]) for name, tensor in inputs.items())

        def run(tokens: int) -> None:
            if not context.run(tokens, widths, addresses, stream):
                raise DriverError(f"plan {launch.plan}: {' | '.join(self._lines)}")

        return run

    def _engine(self, name: str) -> Any:
        if name not in self._engines:
            path = self._rank / self._files[name].file
            if self._runtime is None:
                self._runtime = self._trt.Runtime(self._log)
            self._lines.clear()
            engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if engine is None:
                error = failure(f"opening {path}", list(self._lines))
                if isinstance(error, CompileFailed):
                    raise CorruptBundle(str(error)) from error
                raise error
            self._engines[name] = engine
        return self._engines[name]

    def _context(self, launch: PlanLaunch, device: torch.device, stream: int) -> "_Context":
        key = launch.plan, launch.profile
        if key not in self._contexts:
            engine = self._engine(launch.plan)
            strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = engine.create_execution_context(strategy)
            context.set_optimization_profile_async(launch.profile, stream)
            memory = self._shared_memory(device)
            context.set_device_memory(memory.data_ptr(), memory.nbytes)
            self._contexts[key] = _Context(context)
        return self._contexts[key]

    def _shared_memory(self, device: torch.device) -> torch.Tensor:
        """What all contexts work in; TensorRT wants it at a multiple of 256, as torch gives it."""
        if self._memory is None:
            most = max(plan.workspace_bytes for plan in self._files.values())
            self._memory = torch.empty(max(most, 1), dtype=torch.uint8, device=device)
        return self._memory

    def _check(self, launch: PlanLaunch, tensors: Tensors) -> None:
        engine = self._engines[launch.plan]
        names = {engine.get_tensor_name(n) for n in range(engine.num_io_tensors)}
        if names != tensors.keys():
            raise CorruptBundle(
                f"{self._rank / self._files[launch.plan].file} takes {sorted(names)}, the launch "
                f"list gives {sorted(tensors)}"
            )


class _Context:
    """An execution context of one profile; what it was told last is not told again."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._tokens = 0
        self._addresses: dict[str, int] = {}

    def run(
        self,
        tokens: int,
        widths: tuple[tuple[str, int], ...],
        addresses: tuple[tuple[str, int], ...],
        stream: int,
    ) -> bool:
        """Launch on the stream; False where TensorRT refuses."""
        context = self._context
        if tokens != self._tokens:
            for name, width in widths:
                context.set_input_shape(name, (tokens, width))
            self._tokens = tokens
        for name, address in addresses:
            if self._addresses.get(name) != address:
                context.set_tensor_address(name, address)
                self._addresses[name] = address
        done: bool = context.execute_async_v3(stream)
        return done
