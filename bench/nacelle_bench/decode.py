"""A driver that keeps a program busy: prompts in, then one token a stream and step, greedily."""

import time
from dataclasses import dataclass

import torch

from nacelle_engine.ops.greedy import greedy
from nacelle_engine.program.program import Program
from nacelle_engine.program.step import StepInput


@dataclass(frozen=True)
class Seconds:
    """Time of one run: the prompts' step, and the decode steps after it."""

    prefill: float
    decode: float

    @property
    def whole(self) -> float:
        """Both together."""
        return self.prefill + self.decode


@dataclass(frozen=True)
class Driver:
    """Streams of equal prompts over one program, each with its own blocks of the cache."""

    program: Program
    streams: int
    prompt: int
    tokens: int

    def seconds(self) -> Seconds:
        """Time of one run from an empty cache: `tokens` answer tokens for every stream."""
        blocks = -(-(self.prompt + self.tokens) // self._block)
        self.program.allocate_kv(self.streams * blocks + 1)
        table = torch.arange(1, self.streams * blocks + 1, dtype=torch.int32)
        table = table.view(self.streams, blocks)
        vocab = self.program.signature.vocab_size
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(vocab, (self.streams, self.prompt), generator=generator)
        together = self.prompts_together
        start = time.perf_counter()
        chosen = torch.cat(
            [
                self._run(some, 0, blocks)
                for some, blocks in zip(
                    torch.split(ids, together), torch.split(table, together), strict=True
                )
            ]
        )
        wait(self.program.device)
        middle = time.perf_counter()
        for position in range(self.prompt, self.prompt + self.tokens - 1):
            chosen = self._run(chosen, position, table)
        wait(self.program.device)
        return Seconds(middle - start, time.perf_counter() - middle)

    @property
    def prompts_together(self) -> int:
        """Whole prompts that a step takes."""
        return max(self.program.signature.max_num_tokens // self.prompt, 1)

    @property
    def bytes_per_step(self) -> float:
        """Bytes a decode step must read: the weights once, and each stream's mean context."""
        context = self.prompt + self.tokens / 2
        kv = self.program.kv_bytes_per_block / self._block * context * self.streams
        return self.program.weight_bytes_per_token + kv

    @property
    def _block(self) -> int:
        return self.program.signature.tokens_per_block

    def _run(self, ids: torch.Tensor, position: int, table: torch.Tensor) -> torch.Tensor:
        """Run the next tokens [streams, n] of every stream; the chosen ones [streams, 1]."""
        streams, count = ids.shape
        positions = torch.arange(position, position + count)
        slots = table[:, positions // self._block].long() * self._block + positions % self._block
        step = StepInput(
            token_ids=ids.flatten(),
            positions=positions.repeat(streams),
            slots=slots.flatten(),
            q_start=torch.arange(0, streams * count + 1, count, dtype=torch.int32),
            block_tables=(table,) * len(self.program.signature.kv_groups),
            seq_lens=torch.full((streams,), position + count, dtype=torch.int32),
            logits_rows=torch.arange(count - 1, streams * count, count),
        )
        return greedy(self.program.run(step))[:, None]


def wait(device: torch.device) -> None:
    """A GPU runs behind its driver: the tokens it chose never leave it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
