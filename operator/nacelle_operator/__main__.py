"""`python -m nacelle_operator`: run the operator, in the cluster or by KUBECONFIG."""

import asyncio
import logging
import sys
from typing import NoReturn

from nacelle_engine.errors import InvalidRequest
from nacelle_operator.process import OperatorProcess, leave
from nacelle_operator.settings import Settings


def main() -> NoReturn:
    """Run until stopped, and end the process."""
    try:
        settings = Settings.from_environment()
    except InvalidRequest as error:
        print(f"nacelle_operator: {error}", file=sys.stderr)
        leave(error.exit_code)
    logging.basicConfig(
        level=settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        code = asyncio.Runner().run(OperatorProcess(settings).run())
    except Exception:
        logging.getLogger(__name__).critical("the operator has failed", exc_info=True)
        code = 1
    leave(code)


if __name__ == "__main__":
    main()
