"""The launch list made ready: every launch of every layer with its arguments bound, to be run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from nacelle_engine.program.cells import Cells
from nacelle_engine.program.driver import Function, PreparedLaunch
from nacelle_engine.program.flashinfer_call import Layer
from nacelle_engine.program.launch import (
    Binding,
    Grid,
    KernelLaunch,
    Launch,
    Launches,
    LogitsLaunch,
    MatmulLaunch,
    PagedAttentionLaunch,
    PlanLaunch,
    StepRange,
    Symbol,
)
from nacelle_engine.program.planned_attention import Attentions, PlannedAttention
from nacelle_engine.program.plans import Plans
from nacelle_engine.program.products import Products

Sizes = dict[Symbol, int]
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Scope:
    """What names mean for one program: its weights, and the layer and KV group it is run for."""

    weights: Tensors
    layer: int = 0
    group: int = 0


class Sequenced:
    """Launches in their order; grids that many launches share are worked out once a step.

    planned: attention that must be planned before the step is run.
    """

    def __init__(self) -> None:
        self.planned: list[PlannedAttention] = []
        self._grids: dict[Grid, int] = {}
        self._steps: list[Callable[[list[tuple[int, int, int]], Sizes], None]] = []

    def kernel(self, prepared: PreparedLaunch, grid: Grid) -> None:
        """Add a launch of a prebuilt kernel."""
        index = self._grids.setdefault(grid, len(self._grids))

        def step(grids: list[tuple[int, int, int]], _sizes: Sizes) -> None:
            x, y, z = grids[index]
            if x and y and z:
                prepared.launch(x, y, z)

        self._steps.append(step)

    def library(self, call: Callable[[int], None], symbol: Symbol = "T") -> None:
        """Add a call of a library, which is told the number of tokens, or another size."""
        self._steps.append(lambda _grids, sizes: call(sizes[symbol]))

    def attention(self, planned: PlannedAttention, call: Callable[[int], None]) -> None:
        """Add a call of a library that runs by a plan of the step."""
        if planned not in self.planned:
            self.planned.append(planned)
        self.library(call)

    def run(self, sizes: Sizes) -> None:
        """Launch everything for a step of these sizes; the cells are set."""
        grids = [(x.of(sizes), y.of(sizes), z.of(sizes)) for x, y, z in self._grids]
        for step in self._steps:
            step(grids, sizes)


class Binder:
    """Turns launches of the list into prepared ones; `products`: the library's among them."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        buffers: Tensors,
        state: Mapping[str, Sequence[torch.Tensor]],
        cells: Cells,
        stream: int,
        attentions: Attentions,
        plans: Plans | None = None,
    ) -> None:
        """state: what "rope" means for each KV group, "kv" for each layer, and what "logits" is
        whenever launches that give them are run. plans: those that launches name.
        """
        self._functions = functions
        self._buffers = buffers
        self._state = state
        self._cells = cells
        self._stream = stream
        self._attentions = attentions
        self.products = Products()
        self._plans = plans
        self._one: torch.Tensor | None = None

    def step(
        self, chosen: StepRange, embed: Scope, layers: Sequence[tuple[str, Scope]]
    ) -> Sequenced:
        """A step up to the last layer's output; `layers` are (program's name, scope)."""
        made = Sequenced()
        self._add(made, chosen.embed, embed)
        for kind, scope in layers:
            self._add(made, chosen.kinds[kind], scope)
        return made

    def launches(self, launches: Launches, scope: Scope) -> Sequenced:
        """Some launches of one program, such as the head's."""
        made = Sequenced()
        self._add(made, launches, scope)
        return made

    def _add(self, made: Sequenced, launches: Launches, scope: Scope) -> None:
        for launch in launches:
            self._add_one(made, launch, scope)

    def _add_one(self, made: Sequenced, launch: Launch, scope: Scope) -> None:
        if isinstance(launch, KernelLaunch):
            cells = [self._cell(binding, scope) for binding in launch.arguments]
            function = self._functions[launch.kernel]
            made.kernel(PreparedLaunch(function, cells, self._stream), launch.grid)
        elif isinstance(launch, PagedAttentionLaunch):
            made.attention(*self._attention(launch, scope))
        elif isinstance(launch, LogitsLaunch):
            made.library(self._logits(launch, scope), "L")
        elif isinstance(launch, PlanLaunch):
            made.library(self._plan(launch, scope))
        else:
            made.library(self._matmul(launch, scope))

    def _cell(self, binding: Binding, scope: Scope) -> int:
        if binding.source == "size":
            return self._cells.size(cast(Symbol, binding.name))
        if binding.source == "input":
            index = scope.group if binding.name == "block_table" else 0
            return self._cells.named(binding.name, index)
        if binding.source == "output":
            return self._cells.named(binding.name)
        if binding.source == "state" and binding.name == "kv":
            return self._cells.named("kv", scope.layer)
        return self._cells.fixed(self._tensor(binding, scope))

    def _tensor(self, binding: Binding, scope: Scope) -> torch.Tensor:
        if binding.source == "state":
            return self._state[binding.name][scope.group]
        if binding.source == "stream":
            # Even layers read x and write y.
            first = (binding.name == "in") == (scope.layer % 2 == 0)
            return self._buffers["x" if first else "y"]
        places = {"buffer": self._buffers, "weight": scope.weights}
        return places[binding.source][binding.name]

    def _attention(
        self, launch: PagedAttentionLaunch, scope: Scope
    ) -> tuple[PlannedAttention, Callable[[int], None]]:
        attentions = self._attentions
        planned = attentions.at(launch)
        library = planned.library
        # The caches are made later, and may be made anew.
        caches = self._state[launch.kv.name]
        q, out = (
            rows.view(len(rows), -1, library.head_dim)
            for rows in (self._tensor(launch.q, scope), self._tensor(launch.out, scope))
        )
        scales = None if launch.kv_scales is None else self._tensor(launch.kv_scales, scope)
        q_scale = None if library.query_dtype == "bfloat16" else attentions.q_scale

        def call(tokens: int) -> None:
            layer = Layer(
                q=q[:tokens],
                kv=caches[scope.layer],
                block_table=attentions.tables[scope.group],
                out=out[:tokens],
                scale=launch.scale,
                soft_cap=launch.soft_cap,
                kv_scales=scales,
                q_scale=q_scale,
            )
            planned.run(layer)

        return planned, call

    def _plan(self, launch: PlanLaunch, scope: Scope) -> Callable[[int], None]:
        assert self._plans is not None, f"{launch.plan} is no plan of this list"
        return self._plans.call(
            launch,
            {name: self._tensor(binding, scope) for name, binding in launch.inputs.items()},
            {name: self._tensor(binding, scope) for name, binding in launch.weights.items()},
            self._tensor(launch.output, scope),
            self._stream,
        )

    def _matmul(self, launch: MatmulLaunch, scope: Scope) -> Callable[[int], None]:
        x = self._tensor(launch.x, scope)
        return self.products.scaled(
            x,
            self._tensor(launch.weight, scope),
            self._tensor(launch.out, scope),
            self._scale(launch.x_scale, scope, x.device),
            self._scale(launch.weight_scale, scope, x.device),
            None if launch.bias is None else self._tensor(launch.bias, scope),
        )

    def _logits(self, launch: LogitsLaunch, scope: Scope) -> Callable[[int], None]:
        # Every step gives its own place for them.
        logits = self._state[launch.out.name]
        x, weight = self._tensor(launch.x, scope), self._tensor(launch.weight, scope)
        return self.products.logits(x, weight, logits)

    def _scale(self, binding: Binding | None, scope: Scope, device: torch.device) -> torch.Tensor:
        """The scales of a product's side; 1 where it has none."""
        if binding is not None:
            return self._tensor(binding, scope)
        if self._one is None:
            self._one = torch.ones(1, device=device)
        return self._one
