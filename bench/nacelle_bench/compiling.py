"""What compiling costs, by depth: one program serves all layers, so it should not grow."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from nacelle_bench.table import Table
from nacelle_builder.compile.programs import compile_programs
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import InvalidModel
from nacelle_engine.limits import Limits
from nacelle_engine.model.family import read_spec
from nacelle_engine.recipe import Recipe


def bench_compile(hf: Path, architecture: Architecture, depths: list[int]) -> Table:
    """Compile the model's programs at each depth, one after the other."""
    try:
        config = json.loads((hf / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise InvalidModel(f"{hf / 'config.json'} cannot be read: {error}") from error
    recipe = Recipe(architecture=architecture, limits=Limits(max_input_len=1024, max_seq_len=2048))
    # A process's first compilation also starts the compilers: it counts for no depth.
    _row({**config, "num_hidden_layers": depths[0]}, recipe)
    rows = [_row({**config, "num_hidden_layers": depth}, recipe) for depth in depths]
    ratio = rows[-1]["seconds"] / rows[0]["seconds"]
    return Table(
        {
            "architecture": architecture.value,
            f"{depths[-1]} layers / {depths[0]} layers": round(ratio, 2),
        },
        rows,
    )


def _row(config: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="nacelle-bench-") as folder:
        start = time.perf_counter()
        compile_programs(read_spec(config), recipe, Path(folder), lambda *_: None)
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {"layers": config["num_hidden_layers"], "seconds": seconds, "bundle KB": size // 1024}
