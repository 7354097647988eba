"""What one process of TensorRT is asked to build: its input and its lines, as data."""

from typing import Final

from nacelle_builder.compile.tensorrt.network import Network
from nacelle_builder.compile.tensorrt.profiles import Profile
from nacelle_engine.frozen import Frozen

# What kernels may take beside the activations while a plan runs.
WORKSPACE_BYTES: Final = 1 << 30


class PlanJob(Frozen):
    """The plans of some networks, each of all profiles.

    folder         where <network>.plan goes
    timing_cache   the file of kernels' times: read where it is there, and written anew
    """

    networks: tuple[Network, ...]
    profiles: tuple[Profile, ...]
    folder: str
    timing_cache: str
    workspace_bytes: int = WORKSPACE_BYTES


class Line(Frozen):
    """How far the job is; the last line says `done`, and what each plan works in."""

    percent: int
    message: str
    done: bool = False
    workspace_bytes: dict[str, int] = {}
