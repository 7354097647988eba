"""The kubectl of the embedded cluster's parts, as a user calls it."""

import subprocess

from nacelle_cluster.parts import PROGRAMS, PartStore
from nacelle_cluster.settings import read_settings


def kubectl(*arguments: str, stdin: str = "") -> str:
    """Standard output of one call; an AssertionError carries kubectl's own words."""
    parts = PartStore(read_settings().home)
    parts.ensure((PROGRAMS,), print)
    done = subprocess.run(
        [str(parts.program(PROGRAMS, "kubectl")), *arguments],
        input=stdin, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
