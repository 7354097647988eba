"""The compiled programs' signature as data: rank<N>/programs.json, all that a loader needs."""

import math
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.frozen import Frozen
from nacelle_engine.manifest import KvGroup
from nacelle_engine.precision import ComputeType

PROGRAMS: Final = "programs.json"
WEIGHTS: Final = "weights.safetensors"
KERNELS: Final = "kernels.so"
TACTICS: Final = "tactics.json"

DtypeName = Literal["float32", "bfloat16", "float8_e4m3fn", "int64", "int32"]
ITEM_BYTES: Final[dict[DtypeName, int]] = {
    "float32": 4,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "int64": 8,
    "int32": 4,
}

# rows: one below the other. repeated: each source holds one number, which stands for its even share
# of the rows. same: all sources hold the same number, which is taken once.
Join = Literal["rows", "repeated", "same"]


class TensorSpec(Frozen):
    """One input or output: a size is a number, or the name of one that varies by step.

    T tokens, R requests, R1 = R + 1, MB blocks a request, L logits rows, B blocks in the cache.
    """

    name: str
    dtype: DtypeName
    shape: tuple[int | str, ...]


class WeightSpec(Frozen):
    """An input filled at load from checkpoint tensors, joined along dimension 0.

    "{layer}" in a source stands for the layer's number, "{next}" for the one after it.
    last_sources: what the last layer, which has no next one, takes instead; none: the same.
    """

    name: str
    dtype: DtypeName
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    join: Join = "rows"
    last_sources: tuple[str, ...] = ()

    def names(self, layer: int, *, last: bool) -> tuple[str, ...]:
        """The checkpoint's tensors for that layer's program."""
        sources = self.last_sources if last and self.last_sources else self.sources
        return tuple(source.format(layer=layer, next=layer + 1) for source in sources)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor that the program takes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class ProgramSpec(Frozen):
    """One compiled program: its file, and its inputs in order: step, weights, state.

    file: its own library, or the launch list that all programs of a GPU are in.
    state: what the loader makes; "kv" (a layer's cache) and "rope_table_<KV group>" are
    known.
    """

    name: str
    file: str
    step: tuple[TensorSpec, ...]
    weights: tuple[WeightSpec, ...]
    state: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...]

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights that the program takes."""
        return sum(weight.nbytes for weight in self.weights)


class LayerSpec(Frozen):
    """One layer: the program it runs and the KV group (an index) that its cache belongs to."""

    program: str
    group: int = 0


class Signature(Frozen):
    """Everything a loader needs to run the programs of one rank.

    form: a CPU's compiled libraries, or a GPU's list of launches.
    inverse_frequencies: for each KV group, the angle of each rotary pair from one position to the
    next.
    """

    format_version: Literal[1] = 1
    form: Literal["libraries", "launches"] = "libraries"
    compute_type: ComputeType
    vocab_size: int
    hidden_size: int
    max_num_tokens: int
    max_batch_size: int
    max_seq_len: int
    tokens_per_block: int
    kv_groups: tuple[KvGroup, ...] = Field(min_length=1)
    inverse_frequencies: tuple[tuple[float, ...], ...]
    embed: ProgramSpec
    kinds: tuple[ProgramSpec, ...] = Field(min_length=1)
    head: ProgramSpec
    layers: tuple[LayerSpec, ...] = Field(min_length=1)

    @property
    def weight_bytes_per_step(self) -> int:
        """Bytes of weights that every step reads: layers and head, without embedding rows."""
        kinds = {kind.name: kind for kind in self.kinds}
        programs = [*(kinds[layer.program] for layer in self.layers), self.head]
        return sum(program.weight_bytes for program in programs)

    @property
    def positions(self) -> int:
        """Rows of the rotary table: the longest sequence, up to the end of its last block."""
        return self.max_blocks * self.tokens_per_block

    @property
    def max_blocks(self) -> int:
        """Blocks of the longest sequence: the widest a block table needs to be."""
        return -(-self.max_seq_len // self.tokens_per_block)


def read_signature(rank: Path) -> Signature:
    """The signature in a rank's folder; CorruptBundle names the file and field."""
    path = rank / PROGRAMS
    try:
        return Signature.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CorruptBundle(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptBundle(f"{path}: field {where}: {first['msg']}") from error
