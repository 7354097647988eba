"""The tiny model's server, which benchmarks of servers are driven against."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "nacelle_runtime" / "tiny"))
