"""The core process, started by serve: `python -m nacelle_runtime.core SETTINGS FD PARENT`."""

import signal
import socket
import sys
import time
from types import FrameType

import msgspec

from nacelle_engine.errors import NacelleError
from nacelle_runtime import logs
from nacelle_runtime.child import die_with_parent
from nacelle_runtime.settings import CoreSettings
from nacelle_runtime.termination import leave_failure


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; an error of ours ends with its exit code and a termination message."""
    began = time.monotonic()
    die_with_parent(int(arguments[2]))
    settings = msgspec.json.decode(arguments[0], type=CoreSettings)
    logs.configure(settings.log_format, "core")
    listener = socket.socket(fileno=int(arguments[1]))
    signal.signal(signal.SIGTERM, _end)
    try:
        # Imported here: torch takes seconds, and a wrong argument should not.
        from nacelle_runtime.loader import load

        load(settings, listener, began).forever()
    except NacelleError as error:
        logs.last_words(error, settings.log_format)
        leave_failure(settings.termination_log, error)
        return error.exit_code
    except Exception as error:
        leave_failure(settings.termination_log, error)
        raise
    return 0


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
