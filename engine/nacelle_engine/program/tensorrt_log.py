"""TensorRT's log, line by line."""

from collections.abc import Callable
from typing import Any

from nacelle_engine.program.tensorrt_api import tensorrt


def log_to(tell: Callable[[str], None]) -> Any:
    """A logger of TensorRT's that tells warnings and errors; it must outlive who is given it."""
    trt = tensorrt()
    severities = trt.ILogger.Severity
    told = (severities.INTERNAL_ERROR, severities.ERROR, severities.WARNING)

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in told:
                tell(f"{severity.name}: {message}")

    return Log()
