"""The loader Job's work: a checkpoint out of a model image into a claim, all or nothing.

What was fetched was checked then; what a model is good for, the build says. Here digests count.
"""

import shutil
from pathlib import Path

from nacelle_builder.fetch.placing import place
from nacelle_builder.fetch.sums import SUMS, read_sums, verify_sums


def load(source: Path, destination: Path) -> bool:
    """Copy a fetched checkpoint and verify each digest; False when it was there already."""
    sums = read_sums(source)

    def fill(folder: Path) -> None:
        for name in (*sums.files, SUMS):
            shutil.copyfile(source / name, folder / name)

    return place(destination, sums.source, fill, verify_sums)
