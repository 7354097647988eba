"""What is remembered of a revision's rollout: kept as an annotation of its ControllerRevision."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from nacelle_operator.objects.names import ROLLOUT

Outcome = Literal["RollingOut", "Serving", "Failed", "Superseded"]
ROLLING_OUT: Final = "RollingOut"
SERVING: Final = "Serving"
FAILED: Final = "Failed"
SUPERSEDED: Final = "Superseded"


@dataclass(frozen=True)
class Memory:
    """How far a rollout has come, or how it ended; moments as Kubernetes writes them.

    `step` counts the steps of `strategy` from 0; `reached` is when its pods were all ready, empty
    before; `baseline` a Tally's figures then, and `is_measured` whether the step is one that gets
    requests. `reason`, `message` and `terms` (a digest of the rollout's settings) are those of a
    failure.
    """

    outcome: Outcome = "RollingOut"
    started: str = ""
    ended: str = ""
    strategy: str = ""
    step: int = 0
    reached: str = ""
    baseline: tuple[int, ...] = ()
    is_measured: bool = False
    reason: str = ""
    message: str = ""
    terms: str = ""


def annotations(memory: Memory) -> dict[str, str]:
    """The annotation that keeps it: JSON of what differs from a memory of nothing."""
    blank = asdict(Memory())
    said = {name: value for name, value in asdict(memory).items() if value != blank[name]}
    return {ROLLOUT: json.dumps(said, sort_keys=True)} if said else {}


def read_memory(manifest: Mapping[str, Any]) -> Memory:
    """The memory that an object keeps; one that cannot be read is a memory of nothing."""
    text = (manifest["metadata"].get("annotations") or {}).get(ROLLOUT, "{}")
    try:
        kept = json.loads(text)
        return Memory(**{**kept, "baseline": tuple(kept.get("baseline", ()))})
    except (ValueError, TypeError, AttributeError):
        return Memory()
