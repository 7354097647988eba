"""The static scales of an engine: of each linear's input, and of each layer's keys and values."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from nacelle_builder.durable import write_durably
from nacelle_engine.errors import StoreUnavailable
from nacelle_engine.frozen import Frozen

FILE: Final = "scales.json"


Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class KvScale(Frozen):
    """The scales of one layer's keys and values: stored = value / scale."""

    k: Scale
    v: Scale


class Scales(Frozen):
    """What the calibrate stage found; empty where the recipe asks for no such scale.

    inputs: checkpoint weight's name -> scale of the linear's input.
    """

    inputs: dict[str, Scale] = {}
    kv: tuple[KvScale, ...] = ()


NO_SCALES: Final = Scales()


def write_scales(folder: Path, scales: Scales) -> None:
    """Leave the scales in a folder for the stages after."""
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / FILE, scales.model_dump_json(indent=1).encode())


def read_scales(folder: Path) -> Scales:
    """The scales in a folder; none where no stage left any."""
    file = folder / FILE
    if not file.is_file():
        return NO_SCALES
    try:
        return Scales.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise StoreUnavailable(f"{file} is damaged: remove the work folder") from error
