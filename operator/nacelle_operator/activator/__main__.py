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
    # Blocked, they wait to be asked for. A handler that sets what is waited for can come while the
    # wait holds the lock that it needs.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    parser = argparse.ArgumentParser(prog="python -m nacelle_operator.activator")
    parser.add_argument("name", help="the InferenceDeployment that is answered for")
    parser.add_argument("port", type=int, help="the port to listen at")
    asked = parser.parse_args()
    server = ActivatorServer(asked.port, asked.name, Knocks(time.monotonic))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait(ends)
    server.shutdown()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
