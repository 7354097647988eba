"""What building an engine held of the host's memory: build.json in its bundle.

A file, and no field of the manifest, whose readers refuse one that they do not know.
"""

from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.frozen import Frozen

BUILD: Final = "build.json"


class BuildMemory(Frozen):
    """The most memory that the build's processes held together, shared pages counted once."""

    peak_mib: int = Field(ge=0)


def read_build_memory(root: Path) -> BuildMemory | None:
    """What a bundle's build held; None where it does not tell, CorruptBundle where it is bad."""
    try:
        return BuildMemory.model_validate_json((root / BUILD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise CorruptBundle(f"{root / BUILD} cannot be read as a build's figures") from error
