"""`python -m nacelle_operator`: run the operator, in the cluster or by KUBECONFIG."""

import asyncio
import logging
import sys

from nacelle_engine.errors import InvalidRequest
from nacelle_operator.process import OperatorProcess
from nacelle_operator.settings import Settings


def main() -> int:
    """Run until stopped; gives the process's exit code."""
    try:
        settings = Settings.from_environment()
    except InvalidRequest as error:
        print(f"nacelle_operator: {error}", file=sys.stderr)
        return error.exit_code
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    return asyncio.run(OperatorProcess(settings).run())


if __name__ == "__main__":
    sys.exit(main())
