"""A step that layers are measured in: equal requests, each with blocks of its own."""

from dataclasses import dataclass

import torch

from nacelle_engine.program.step import StepInput


@dataclass(frozen=True)
class Case:
    """`requests` that each run their last `count` tokens of `context`: one, or a whole prompt."""

    requests: int
    count: int
    context: int

    @property
    def tokens(self) -> int:
        """Tokens of the step."""
        return self.requests * self.count

    @property
    def decode(self) -> bool:
        """One token a request."""
        return self.count == 1

    def blocks(self, tokens_per_block: int) -> int:
        """Blocks of a cache that holds all requests, block 0 of nobody included."""
        return 1 + self.requests * -(-self.context // tokens_per_block)

    def step(self, tokens_per_block: int, vocab_size: int, groups: int) -> StepInput:
        """The step's input; token ids at random, always the same."""
        width = -(-self.context // tokens_per_block)
        table = 1 + torch.arange(self.requests * width, dtype=torch.int32).view(-1, width)
        positions = torch.arange(self.context - self.count, self.context)
        slots = table[:, positions // tokens_per_block].long() * tokens_per_block
        slots += positions % tokens_per_block
        generator = torch.Generator().manual_seed(0)
        return StepInput(
            token_ids=torch.randint(vocab_size, (self.tokens,), generator=generator),
            positions=positions.repeat(self.requests),
            slots=slots.flatten(),
            q_start=torch.arange(0, self.tokens + 1, self.count, dtype=torch.int32),
            block_tables=(table,) * groups,
            seq_lens=torch.full((self.requests,), self.context, dtype=torch.int32),
            logits_rows=torch.arange(self.count - 1, self.tokens, self.count),
        )
