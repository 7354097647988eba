"""`python -m nacelle_demo [down]`: from nothing to a streamed answer, and back to nothing."""

import argparse
import sys

from nacelle_cluster.errors import ClusterError
from nacelle_demo.errors import DemoError
from nacelle_demo.settings import read_settings
from nacelle_demo.story import tell, undo
from nacelle_engine.errors import NacelleError


def main() -> int:
    """Run the demo or take it down; what stops it is said in one line."""
    parser = argparse.ArgumentParser(prog="python -m nacelle_demo", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=["up", "down"], default="up")
    verb = parser.parse_args().verb
    try:
        settings = read_settings()
        (tell if verb == "up" else undo)(settings, _say)
    except (DemoError, ClusterError, NacelleError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
