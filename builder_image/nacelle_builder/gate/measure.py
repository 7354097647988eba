"""Runs the built-in text through the engine and the original model and gathers the quality."""

import torch

from nacelle_builder.gate.quality import Meter
from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.steps import block_tables, prefill, step_input
from nacelle_builder.report import Report
from nacelle_engine.limits import Limits
from nacelle_engine.program.program import Program
from nacelle_engine.result import Accuracy

# Logits of one batch: 8 windows x 64 tokens x vocab x 4 bytes, twice (256 MB at 65,536 words).
_WINDOWS_A_BATCH = 8


def measure(
    program: Program,
    reference: Reference,
    windows: torch.Tensor,
    limits: Limits,
    report: Report,
) -> Accuracy:
    """The figures over windows int64 [samples, length] of text."""
    meter = Meter()
    batches = torch.split(windows, _WINDOWS_A_BATCH)
    for number, batch in enumerate(batches):
        wanted = reference.logits(batch)
        found = _engine_logits(program, batch, limits).to(wanted.device).view(wanted.shape)
        vocab = wanted.shape[-1]
        meter.add(
            wanted[:, :-1].reshape(-1, vocab),
            found[:, :-1].reshape(-1, vocab),
            batch[:, 1:].reshape(-1).to(wanted.device),
        )
        report(100 * (number + 1) // len(batches), "quality on the text")
    return meter.accuracy()


def _engine_logits(program: Program, batch: torch.Tensor, limits: Limits) -> torch.Tensor:
    """float32 [sequences * tokens, vocab], in steps as large as the engine takes."""
    count, length = batch.shape
    tables = block_tables([length] * count)
    program.allocate_kv(1 + sum(len(table) for table in tables))
    ids = batch.tolist()
    logits = torch.empty(count, length, program.signature.vocab_size, device=program.device)
    for spans in prefill("text", [length] * count, limits).steps:
        step = step_input(spans, ids, tables, len(program.signature.kv_groups))
        rows = torch.split(program.run(step), [span.count for span in spans])
        for span, part in zip(spans, rows, strict=True):
            logits[span.sequence, span.start : span.start + span.count] = part
    return logits
