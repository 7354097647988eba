"""Everything that a bundle's page tells, read from the bundle alone."""

from dataclasses import dataclass
from pathlib import Path

from nacelle_cli.page.steps import StepFacts, step_facts
from nacelle_cli.page.tactics import Tactics, read_tactics
from nacelle_engine.build_memory import BuildMemory, read_build_memory
from nacelle_engine.bundle import read_bundle
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.manifest import Manifest
from nacelle_engine.program.launch import read_launches
from nacelle_engine.program.memory import Memory, memory_of
from nacelle_engine.program.signature import Signature, read_signature


@dataclass(frozen=True)
class Device:
    """The memory that the page reckons with: its size, and how fast it is read."""

    memory_gb: float | None = None
    bandwidth_gb_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("--memory-gb", self.memory_gb),
            ("--bandwidth-gb-s", self.bandwidth_gb_s),
        ):
            if value is not None and not 0 < value < 1e6:
                raise InvalidRequest(f"{name} {value:g} must be above 0 and below 1000000")


@dataclass(frozen=True)
class Facts:
    """A bundle, its programs' signature, and what follows from them.

    built_in  the memory that the build held at most; None where it was not recorded
    steps     empty where the programs are libraries
    """

    digest: str
    manifest: Manifest
    built_in: BuildMemory | None
    signature: Signature
    tactics: Tactics
    steps: tuple[StepFacts, ...]
    memory: Memory
    device: Device


def read_facts(root: Path, device: Device) -> Facts:
    """The facts of a bundle in a folder; CorruptBundle names what cannot be read."""
    bundle = read_bundle(root)
    rank = bundle.rank()
    signature = read_signature(rank)
    launches = read_launches(rank) if signature.form == "launches" else None
    return Facts(
        digest=bundle.digest,
        manifest=bundle.manifest,
        built_in=read_build_memory(root),
        signature=signature,
        tactics=read_tactics(rank),
        steps=step_facts(launches, signature) if launches else (),
        memory=memory_of(signature, launches),
        device=device,
    )
