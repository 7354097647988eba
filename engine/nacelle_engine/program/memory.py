"""What an engine takes of its device's memory, and what that leaves for the KV cache."""

import math
from dataclasses import dataclass

from nacelle_engine.program.largest import largest_sizes
from nacelle_engine.program.launch import Buffer, LaunchList, Symbol
from nacelle_engine.program.signature import ITEM_BYTES, Signature


@dataclass(frozen=True)
class Part:
    """A named piece of memory in bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Memory:
    """The parts that are there before any request, and the cache's cost."""

    parts: tuple[Part, ...]
    kv_bytes_per_token: int
    tokens_per_block: int

    @property
    def bytes(self) -> int:
        """All parts together."""
        return sum(part.bytes for part in self.parts)

    def tokens_that_fit(self, device_bytes: float) -> int:
        """Tokens of whole blocks in what the parts leave; one block takes the padding."""
        block = self.kv_bytes_per_token * self.tokens_per_block
        blocks = int((device_bytes - self.bytes) // block) - 1
        return max(blocks, 0) * self.tokens_per_block


def memory_of(signature: Signature, launches: LaunchList | None) -> Memory:
    """The memory plan by the program's own signature."""
    parts = [
        Part("weights", weight_bytes(signature)),
        Part("table of rotary positions", _rope_bytes(signature)),
    ]
    if launches is not None:
        parts.append(
            Part("logits of decode steps", 4 * signature.max_batch_size * signature.vocab_size)
        )
        parts += workspace_parts(launches, signature)
    return Memory(tuple(parts), kv_bytes_per_token(signature), signature.tokens_per_block)


def workspace_parts(launches: LaunchList, signature: Signature) -> list[Part]:
    """The launch list's buffers, made once for the largest step."""
    most = largest_sizes(signature)
    parts = [Part(f"workspace: {buffer.name}", _bytes(buffer, most)) for buffer in launches.buffers]
    if launches.plans:
        # Plans run one after the other, in the same space.
        shared = max(plan.workspace_bytes for plan in launches.plans)
        parts.append(Part("workspace: TensorRT's plans", shared))
    return parts


def weight_bytes(signature: Signature) -> int:
    """Bytes of all weights; an lm_head that is the embedding counts once."""
    kinds = {kind.name: kind for kind in signature.kinds}
    last = len(signature.layers) - 1
    programs = [
        (signature.embed, 0),
        *((kinds[layer.program], number) for number, layer in enumerate(signature.layers)),
        (signature.head, 0),
    ]
    made = {
        (weight.names(number, last=number == last), weight.dtype, weight.join): weight
        for program, number in programs
        for weight in program.weights
    }
    return sum(weight.nbytes for weight in made.values())


def kv_bytes_per_token(signature: Signature) -> int:
    """Bytes that a token's keys and values take in all layers together."""
    values = sum(g.layers * 2 * g.kv_heads * g.head_dim for g in signature.kv_groups)
    (kv,) = (state for state in signature.kinds[0].state if state.name == "kv")
    return values * ITEM_BYTES[kv.dtype]


def _rope_bytes(signature: Signature) -> int:
    # float32 cosines and sines of each pair, a table a KV group.
    return sum(2 * 4 * signature.positions * len(one) for one in signature.inverse_frequencies)


def _bytes(buffer: Buffer, sizes: dict[Symbol, int]) -> int:
    return math.prod(size.of(sizes) for size in buffer.shape) * ITEM_BYTES[buffer.dtype]
