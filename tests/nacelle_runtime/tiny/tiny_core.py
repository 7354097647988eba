"""The core process over the tiny model: everything but the program is the real one."""

import sys

from tiny_program import open_tiny

from nacelle_engine.program import program
from nacelle_runtime.core import main

program.open_program = open_tiny

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
