"""FlashInfer's attention behind our own plan and run: prebuilt libraries, loaded by path.

Needs torch and the package apache-tvm-ffi; no FlashInfer, no compiler. One `Attention` serves all
layers of a kind: plan once a step, run once a layer, all on one stream.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nacelle_engine.errors import AbiMismatch, CorruptBundle
from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.program.attention_plan import PlanArrays
from nacelle_engine.program.attention_workspace import LargestStep, float_bytes, int_bytes
from nacelle_engine.program.flashinfer_call import (
    Captured,
    Layer,
    Placed,
    check_step,
    plan_arguments,
    run_arguments,
    window_left,
)


@dataclass(frozen=True)
class Plan:
    """Where the planner put what: baked into a captured launch.

    handle: `info` as the library takes it, converted once for all layers.
    """

    info: tuple[int, ...]
    handle: Any
    placed: Placed
    captured: Captured | None = None


class Attention:
    """One opened library with room for its plans.

    A plan is made in pinned memory and copied on the current stream; two sets of pinned memory take
    turns, each reused when its copy is done, so that the plan of step n + 1 can be made while step
    n waits. On the device there is one set: the stream orders its copies and its readers.
    """

    def __init__(
        self,
        library: AttentionLibrary,
        rank: Path,
        largest: LargestStep,
        workspace: torch.Tensor,
        window: int | None = None,
    ) -> None:
        """`workspace`: uint8 [>= float_bytes] on the device, shared by all that use one stream.

        window: a query sees its own and the `window` - 1 tokens before it.
        """
        self.library = library
        self._functions = load_functions(rank / library.file)
        self._largest = largest
        self._left = window_left(library, window)
        needed = float_bytes(library, largest)
        if workspace.nbytes < needed:
            raise ValueError(f"workspace: {workspace.nbytes} bytes; {library.name} needs {needed}")
        self._workspace = workspace
        size = int_bytes(library, largest)
        self._plan = torch.empty(size, dtype=torch.uint8, device=workspace.device)
        room = 3 * (largest.requests + 1)
        self._arrays = torch.zeros(room, dtype=torch.int32, device=workspace.device)
        self._stages = (_Stage(size, room), _Stage(size, room))
        self._turn = 0

    def plan(self, step: PlanArrays, captured: Captured | None = None) -> Plan:
        """Plan a step and send the plan; `captured`: for launches that a graph will repeat.

        Raises ValueError naming the field when the step does not fit.
        """
        self._check(step, captured)
        stage = self._stages[self._turn]
        self._turn ^= 1
        stage.sent.synchronize()
        placed = self._send(stage, step)
        arguments = plan_arguments(self.library, self._largest.heads, step, captured, self._left)
        made = self._functions.plan(self._workspace, self._plan, stage.plan, *arguments)
        stage.sent.record()
        return Plan(tuple(int(number) for number in made), made, placed, captured)

    def replan(self, plan: Plan, step: PlanArrays) -> None:
        """Plan another step for the launches that were captured with `plan`.

        Raises ValueError when they would not fit it: a launch holds the places of its plan.
        """
        if step.requests != len(plan.placed.last_page):
            raise ValueError(
                f"seq_lens: {step.requests} requests in a graph of {len(plan.placed.last_page)}"
            )
        again = self.plan(step, plan.captured)
        if again.info != plan.info:
            raise ValueError(
                f"{self.library.name}: launches captured with {plan.info} cannot run {again.info}"
            )

    def run(self, plan: Plan, layer: Layer, *, dependent: bool = False) -> None:
        """Write `layer.out`; safe inside a capture when the plan was made for one.

        dependent: launched with programmatic stream serialisation (fa3 ignores it).
        """
        arguments = run_arguments(self.library, plan.placed, layer, self._left, dependent)
        self._functions.run(self._workspace, self._plan, plan.handle, *arguments)

    def _send(self, stage: "_Stage", step: PlanArrays) -> Placed:
        room = self._largest.requests + 1
        sent = []
        for place, array in enumerate((step.q_start, step.rows, step.last_page)):
            begin, end = place * room, place * room + len(array)
            stage.numbers[begin:end] = array
            sent.append(self._arrays[begin:end])
        self._arrays.copy_(stage.arrays, non_blocking=True)
        return Placed(*sent)

    def _check(self, step: PlanArrays, captured: Captured | None) -> None:
        check_step(self.library, step, captured)
        largest = self._largest
        if step.requests > largest.requests or step.tokens > largest.tokens:
            raise ValueError(
                f"{step.requests} requests, {step.tokens} tokens; {self.library.name} was opened "
                f"for {largest.requests} and {largest.tokens}"
            )
        if captured and captured.tokens > largest.captured_tokens:
            raise ValueError(
                f"a graph of {captured.tokens} tokens; {self.library.name} was opened for "
                f"{largest.captured_tokens}"
            )


class _Stage:
    """Pinned memory for one plan on its way, and the event that says it has arrived."""

    def __init__(self, plan_bytes: int, room: int) -> None:
        self.plan = torch.empty(plan_bytes, dtype=torch.uint8, pin_memory=True)
        self.arrays = torch.zeros(room, dtype=torch.int32, pin_memory=True)
        self.numbers = self.arrays.numpy()
        self.sent = torch.cuda.Event()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Functions:
    """What a library exports."""

    plan: Callable[..., Any]
    run: Callable[..., Any]


def load_functions(file: Path) -> Functions:
    """Open a library; AbiMismatch names a missing package, CorruptBundle a file that won't open."""
    try:
        import tvm_ffi
    except ImportError as error:
        raise AbiMismatch(
            f"{file.name} needs the package apache-tvm-ffi, which this runtime lacks"
        ) from error
    if not file.is_file():
        raise CorruptBundle(f"{file} is missing")
    try:
        module = tvm_ffi.load_module(file)
        return Functions(module["plan"], module["run"])
    except (RuntimeError, OSError, AttributeError) as error:
        raise CorruptBundle(f"{file} cannot be opened: {error}") from error
