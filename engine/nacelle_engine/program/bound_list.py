"""A launch list with every argument bound: steps by range, the head by its rows."""

from collections.abc import Sequence
from pathlib import Path

import torch

from nacelle_engine.program.cells import Cells
from nacelle_engine.program.driver import Function
from nacelle_engine.program.launch import LaunchList
from nacelle_engine.program.planned_attention import Attentions
from nacelle_engine.program.plans import Plans
from nacelle_engine.program.replay import Binder, Sizes
from nacelle_engine.program.rope_table import rope_tables
from nacelle_engine.program.scopes import Scopes
from nacelle_engine.program.signature import Signature
from nacelle_engine.program.step_arrays import Arrays
from nacelle_engine.program.step_buffers import StepBuffers
from nacelle_engine.program.workspace import workspace


class BoundList:
    """Every launch of every range, bound once, to be run on one stream.

    room: float32 [max_batch_size, vocab], where the logits of most steps go. It is made once: a
    larger tensor in the midst of steps waits until the device is idle.
    """

    def __init__(
        self,
        rank: Path,
        launches: LaunchList,
        signature: Signature,
        scopes: Scopes,
        kv: Sequence[torch.Tensor],
        cells: Cells,
        stream: torch.cuda.Stream,
        device: torch.device,
        plans: Plans | None = None,
    ) -> None:
        """kv: each layer's cache, which may be made later, and anew; plans: what launches call."""
        self._launches, self._cells = launches, cells
        self.room = torch.empty(signature.max_batch_size, signature.vocab_size, device=device)
        # Another while the head of a step with more rows is launched.
        self._logits = [self.room]
        # Held here: launches know their memory by address alone.
        self._buffers = workspace(launches, signature, device)
        self._state = {
            "rope": [table.to(device) for table in rope_tables(signature)],
            "kv": kv,
            "logits": self._logits,
        }
        libraries = (built.library for built in launches.libraries)
        self._attentions = Attentions(rank, libraries, signature, device)
        binder = Binder(
            {facts.name: Function(rank, facts) for facts in launches.kernels},
            self._buffers,
            self._state,
            cells,
            stream.cuda_stream,
            self._attentions,
            plans,
        )
        self._steps = [binder.step(one, scopes.embed, scopes.layers) for one in launches.steps]
        self._heads = [binder.launches(one.launches, scopes.head) for one in launches.heads]
        with torch.inference_mode(), torch.cuda.stream(stream):
            binder.products.load()

    def plan(self, index: int, arrays: Arrays, sent: StepBuffers) -> None:
        """Plan what libraries attend to in a step of the range `index`, whose arrays were sent."""
        if planned := self._steps[index].planned:
            self._attentions.plan(planned, arrays, sent)

    def run(self, index: int, sizes: Sizes, logits: torch.Tensor) -> None:
        """Launch a step of the range `index`, whose inputs are sent."""
        self._cells.set_sizes(sizes)
        self._steps[index].run(sizes)
        self.run_head(sizes, logits)

    def run_head(self, sizes: Sizes, logits: torch.Tensor) -> None:
        """Launch what makes the logits of a step whose layers were launched."""
        if sizes["L"]:
            self._cells.set_sizes(sizes)
            self._cells.point("logits", logits.data_ptr())
            self._logits[0] = logits
            self._heads[self._launches.head_index(sizes["L"])].run(sizes)
            self._logits[0] = self.room
