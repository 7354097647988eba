"""The manifest of a bundle: what it is, for what it was compiled, and every file's digest."""

from pathlib import PurePosixPath
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from nacelle_engine.arch import Architecture
from nacelle_engine.frozen import Frozen
from nacelle_engine.limits import TOKENS_PER_BLOCK, Limits
from nacelle_engine.precision import Determinism, Quantization
from nacelle_engine.result import Accuracy

# 2: a large file's digest is made of its pieces'.
FORMAT_VERSION: Final = 2


class Target(Frozen):
    """The hardware a bundle runs on, and nothing else."""

    architecture: Architecture
    gpu_product: str = "any"
    sm_count: int = 0


class FileEntry(Frozen):
    """One file: its path inside the bundle, its size in bytes, and bundle.file_digests' digest."""

    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path:
            raise ValueError(f"path {path!r} must be relative, plain and inside the bundle")
        return path


class KvGroup(Frozen):
    """A group of layers that share one block table and one free rule."""

    name: Literal["full", "sliding", "draft"] = "full"
    layers: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    window: int | None = None


class Numerics(Frozen):
    """What is computed in which type for a range of tokens a step (both ends included).

    decode: only in steps of exactly one token a request. The first of a manifest's entries that
    fits a step is its own.
    """

    min_tokens: int
    max_tokens: int
    decode: bool = False
    weights: str
    activations: str
    accumulation: str


class Provenance(Frozen):
    """Where an engine comes from."""

    model_name: str
    source: dict[str, str]
    model_digest: str
    calibration_digest: str = ""
    builder_version: str
    built_at: str
    stage_seconds: dict[str, int] = {}


class Manifest(Frozen):
    """A sealed bundle in one file; its digest is the SHA-256 of manifest.json's bytes."""

    format_version: Literal[2] = FORMAT_VERSION
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    target: Target
    abi: str
    limits: Limits
    quantization: Quantization
    determinism: Determinism
    numerics: tuple[Numerics, ...]
    vocab_size: int
    hidden_size: int
    tokens_per_block: int = TOKENS_PER_BLOCK
    kv_groups: tuple[KvGroup, ...]
    eos_token_ids: tuple[int, ...]
    accuracy: Accuracy | None
    provenance: Provenance
    files: tuple[FileEntry, ...]

    @model_validator(mode="after")
    def _distinct_files(self) -> Self:
        paths = [entry.path for entry in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a file is listed twice")
        return self
