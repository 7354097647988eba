"""A mixed step (decode beside a chunk of a prompt): as a CUDA graph, and launch by launch."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from nacelle_bench.decode import wait
from nacelle_bench.settings import Mixed
from nacelle_engine.program.gpu import GpuProgram
from nacelle_engine.program.step import StepInput

_STEPS = 20


def mixed_row(program: GpuProgram, mixed: Mixed, context: int, rounds: int) -> dict[str, Any]:
    """ms a step of steps one after the other without waiting, and of one alone until its logits."""
    step = mixed_step(program, mixed, context)
    ways = {"graph": program.run, "launches": program.run_launches}
    found = {
        name: [_milliseconds(run, step, program) for _ in range(rounds)]
        for name, run in ways.items()
    }
    logits = {name: run(step).clone() for name, run in ways.items()}
    distance = (logits["graph"] - logits["launches"]).norm() / logits["launches"].norm()
    same = logits["graph"].argmax(-1) == logits["launches"].argmax(-1)
    return {
        "decodes": mixed.decodes,
        "prompt_tokens": mixed.tokens,
        "context": context,
        **{
            f"{name}_{kind}_ms": round(statistics.median(one[place] for one in taken), 4)
            for name, taken in found.items()
            for place, kind in enumerate(("step", "alone"))
        },
        "same_tokens": f"{int(same.sum())} of {len(same)}",
        "difference": float(f"{float(distance):.2e}"),
    }


def mixed_step(program: GpuProgram, mixed: Mixed, context: int) -> StepInput:
    """One token of each of some requests after `context` others, and the first of a prompt."""
    signature = program.signature
    block = signature.tokens_per_block
    counts = [1] * mixed.decodes + [mixed.tokens]
    starts = [context] * mixed.decodes + [0]
    width = -(-(max(context + 1, mixed.tokens)) // block)
    tables = 1 + torch.arange(len(counts) * width, dtype=torch.int32).view(-1, width)
    program.allocate_kv(1 + tables.numel())
    positions = [torch.arange(s, s + n) for s, n in zip(starts, counts, strict=True)]
    slots = [
        table[p // block].long() * block + p % block
        for table, p in zip(tables, positions, strict=True)
    ]
    ends = torch.tensor(counts).cumsum(0)
    generator = torch.Generator().manual_seed(0)
    return StepInput(
        token_ids=torch.randint(signature.vocab_size, (sum(counts),), generator=generator),
        positions=torch.cat(positions),
        slots=torch.cat(slots),
        q_start=torch.cat((torch.zeros(1), ends)).int(),
        block_tables=(tables,) * len(signature.kv_groups),
        seq_lens=torch.tensor([s + n for s, n in zip(starts, counts, strict=True)]).int(),
        logits_rows=ends - 1,
    )


def _milliseconds(
    run: Callable[[StepInput], torch.Tensor], step: StepInput, program: GpuProgram
) -> tuple[float, float]:
    def seconds(steps: int) -> float:
        wait(program.device)
        began = time.perf_counter()
        for _ in range(steps):
            run(step)
        wait(program.device)
        return (time.perf_counter() - began) / steps

    seconds(2)  # warm
    return 1000 * seconds(_STEPS), 1000 * statistics.median(seconds(1) for _ in range(_STEPS))
