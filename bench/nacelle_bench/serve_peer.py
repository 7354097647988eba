"""transformers' generate() under the loads that a core was driven with, in the same run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from nacelle_bench.serve_load import Load
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.manifest import Manifest


def check_peer(load: Load, manifest: Manifest | None) -> None:
    """Refuse what generate() cannot be compared with; `manifest` is None without a bundle."""
    if manifest is None or not manifest.target.architecture.is_cpu:
        raise InvalidRequest("--hf: the peer runs beside a bundle for this machine's CPU alone")
    if load.rate is not None:
        raise InvalidRequest("--hf and --rate exclude each other: generate() takes whole batches")
    if load.sampling.temperature:
        raise InvalidRequest(
            f"--hf: the peer answers greedily, --temperature {load.sampling.temperature:g} does not"
        )


def peer_rows(
    hf: Path, manifest: Manifest, threads: int, ours: Sequence[tuple[Load, dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """A row for each load and type of the peer; `ours` are the loads and the core's rows of them.

    The prompts are all of one length: the peer answers as many together as the core had running,
    batch after batch, and wastes nothing on padding.
    """
    from nacelle_bench.peer import Peer

    torch.set_num_threads(threads)
    # A CPU without bfloat16 instructions serves the peer best in float32.
    for dtype in dict.fromkeys((manifest.quantization.compute_type.value, "float32")):
        peer = Peer(hf, getattr(torch, dtype))
        for load, row in ours:
            prompts = list(load.prompts(manifest.vocab_size))
            together = min(load.most, load.requests)
            peer.generate(prompts[:1], 2)  # warm
            seconds = sum(
                peer.generate(prompts[first : first + together], load.answer)
                for first in range(0, load.requests, together)
            )
            rate = load.requests * load.answer / seconds
            yield {
                "peer": f"transformers {dtype}",
                "concurrency": row["concurrency"],
                "output_tok_s": round(rate, 1),
                "nacelle / peer": round(row["output_tok_s"] / rate, 2),
            }
