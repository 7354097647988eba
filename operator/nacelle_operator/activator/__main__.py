"""`python -m nacelle_operator.activator NAME PORT`: answer for a deployment that sleeps."""

import argparse
import signal
import sys
import threading
import time

from nacelle_operator.activator.knocks import Knocks
from nacelle_operator.activator.server import ActivatorServer


def main() -> int:
    """Answer until SIGTERM; gives the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m nacelle_operator.activator")
    parser.add_argument("name", help="the InferenceDeployment that is answered for")
    parser.add_argument("port", type=int, help="the port to listen at")
    asked = parser.parse_args()
    server = ActivatorServer(asked.port, asked.name, Knocks(time.monotonic))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stop.wait()
    server.shutdown()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
