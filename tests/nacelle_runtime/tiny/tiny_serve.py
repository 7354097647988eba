"""`nacelle serve` over the tiny model: only the core's program is another."""

import sys

from nacelle_cli.main import main
from nacelle_runtime import supervisor

if __name__ == "__main__":
    supervisor.CORE = "tiny_core"
    sys.exit(main(["serve", *sys.argv[1:]]))
