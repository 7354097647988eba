"""What the serving processes write to standard error: lines for people, or JSON for collectors.

In JSON each line is an object: time (ISO 8601, UTC), level, process, logger, message, the request's
id where there is one, and the fields of the event.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any

from nacelle_engine.errors import NacelleError

# The request that is being answered; "" outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class LogFormat(StrEnum):
    """How lines are written."""

    TEXT = "text"
    JSON = "json"


def configure(form: str, process: str) -> None:
    """Have everything that this process logs written so; `process` names it in JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(process) if form == LogFormat.JSON else _Text())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    if form == LogFormat.JSON:
        sys.excepthook = _log_uncaught


def event(logger: str, message: str, **fields: Any) -> None:
    """Log something that has fields: in text they follow the message as name=value."""
    logging.getLogger(logger).info(message, extra={"fields": fields})


def last_words(error: NacelleError, form: str) -> None:
    """Say which error of ours ends the process."""
    if form == LogFormat.JSON:
        logging.getLogger("nacelle").error(str(error), extra={"fields": {"code": error.code}})
    else:
        print(f"nacelle serve: {error.code}: {error}", file=sys.stderr)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger("nacelle").critical("the process ends", exc_info=(kind, error, trace))


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        fields = _fields(record)
        return " ".join([line, *(f"{name}={value}" for name, value in fields.items())])


class _Json(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The event's fields, the request's id first; those without a value are left out."""
    given: dict[str, Any] = getattr(record, "fields", {})
    named = {"request_id": request_id.get() or None, **given}
    return {name: value for name, value in named.items() if value is not None}
