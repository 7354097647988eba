"""`python -m nacelle_operator.installation URL`: what `helm test` asks of an installation.

Does the operator at URL answer that it is ready, and does the API server serve its three kinds?
"""

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from nacelle_operator.cluster import Cluster, connect
from nacelle_operator.errors import OperatorError
from nacelle_operator.kinds import ENGINE, RESOURCES

# An operator that has only just been installed reads its cache first.
_SECONDS = 60.0


def operator_problem(
    url: str, seconds: float = _SECONDS, *, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Why the operator at `url` is not ready within `seconds`; empty when it is."""
    until = time.monotonic() + seconds
    while True:
        said = _ask(f"{url}/readyz")
        if not said or time.monotonic() > until:
            return said
        sleep(1.0)


def definitions_problem(cluster: Cluster) -> str:
    """Which kinds the API server does not serve; empty when it serves all."""
    try:
        served = cluster.served(ENGINE.api_version)
    except OperatorError as error:
        return f"the API server does not tell what it serves: {error}"
    missing = [kind.plural for kind in RESOURCES if kind.plural not in served]
    return f"{ENGINE.api_version} does not serve {', '.join(missing)}" if missing else ""


def main(arguments: list[str]) -> int:
    """Print what is well or what is not; 0 when all is."""
    if len(arguments) != 1:
        print("usage: python -m nacelle_operator.installation URL", file=sys.stderr)
        return 2
    (url,) = arguments
    problems = [operator_problem(url), definitions_problem(connect(lambda: False))]
    for problem in filter(None, problems):
        print(problem, file=sys.stderr)
    if any(problems):
        return 1
    kinds = ", ".join(kind.plural for kind in RESOURCES)
    print(f"the operator at {url} is ready, and {ENGINE.api_version} serves {kinds}")
    return 0


def _ask(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code}: {error.read().decode(errors='replace').strip()}"
    except OSError as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
