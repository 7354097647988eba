"""Blocks found again by their content: key i = SHA-256(key i-1, the 32 token ids of block i).

Key -1 is rooted in the engine's key and a salt, so neither another engine nor another tenant can
match. Ids are hashed as 4-byte little-endian integers.
"""

import hashlib
import struct

from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.request import Request


class PrefixCache:
    """The prefix cache over a pool; every full block of every sequence takes part."""

    def __init__(self, pool: BlockPool, engine_key: str, tokens_per_block: int) -> None:
        self._pool = pool
        self._engine_key = engine_key
        self._size = tokens_per_block
        self._format = struct.Struct(f"<{tokens_per_block}i")

    def match(self, request: Request) -> list[int]:
        """The blocks that hold the longest known prefix of a sequence, never all of its tokens.

        At least one token is left to compute: its logits are wanted. So are those of every prompt
        token whose log-probabilities are owed.
        """
        blocks: list[int] = []
        most = len(request.scores) if request.unscored else len(request.tokens) - 1
        for index in range(most // self._size):
            block = self._pool.find(self._key(request, index))
            if block is None:
                break
            blocks.append(block)
        return blocks

    def store(self, request: Request) -> None:
        """Name the request's blocks that have become full and computed since the last call."""
        for index in range(request.named, request.computed // self._size):
            self._pool.name(request.blocks[index], self._key(request, index))
            request.named = index + 1

    def _key(self, request: Request, index: int) -> bytes:
        keys = request.keys
        while len(keys) <= index:
            parent = keys[-1] if keys else self._root(request.salt)
            first = len(keys) * self._size
            ids = self._format.pack(*request.tokens[first : first + self._size])
            keys.append(hashlib.sha256(parent + ids).digest())
        return keys[index]

    def _root(self, salt: str) -> bytes:
        return hashlib.sha256(f"{self._engine_key}\0{salt}".encode()).digest()
