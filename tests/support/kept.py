"""Where tests keep what is dear to make and found again by its content."""

import os
from pathlib import Path


def kept(kind: str) -> Path:
    """The folder ${NACELLE_CACHE}/tests/kind."""
    root = Path(os.environ.get("NACELLE_CACHE") or Path.home() / ".cache" / "nacelle")
    return root / "tests" / kind
