"""`--traces`: whether requests become OpenTelemetry spans, and what OTEL_ variables cannot ask for.

The standard variables are the SDK's to read; it passes over wrong values with a warning, so those
are refused here.
"""

import argparse
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from nacelle_engine.errors import InvalidRequest

NONE, OTLP = "none", "otlp"
_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
_RATIOS = ("traceidratio", "parentbased_traceidratio")
_SAMPLERS = (
    *("always_on", "always_off", "parentbased_always_on", "parentbased_always_off"),
    *_RATIOS,
)
_PROTOCOL = "http/protobuf"
_COMPRESSIONS = ("none", "gzip", "deflate")
_NUMBERS = (
    *("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
    *("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
)


def configure_traces(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    parser.add_argument(
        "--traces",
        choices=(NONE, OTLP),
        help="otlp: a span a request, sent by OTLP over HTTP as the OTEL_ variables say; "
        "default: OTEL_TRACES_EXPORTER, or none",
    )


def traces_wanted(flag: str | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether spans are exported; InvalidRequest for what is asked for and cannot be."""
    wanted = flag or environment.get("OTEL_TRACES_EXPORTER") or NONE
    if wanted == NONE:
        return False
    if wanted != OTLP:
        raise InvalidRequest(f"OTEL_TRACES_EXPORTER={wanted}: say otlp or none")
    for found in _wrong(environment):
        raise InvalidRequest(found)
    if not all(map(_installed, _PACKAGES)):
        raise InvalidRequest(
            "--traces otlp needs OpenTelemetry's SDK and its OTLP exporter over HTTP: "
            "pip install 'nacelle[runtime]'"
        )
    return True


def _wrong(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable whose value is not kept to."""
    given = {name: value for name, value in environment.items() if value}
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"):
        if given.get(name, _PROTOCOL) != _PROTOCOL:
            yield f"{name}={given[name]}: only {_PROTOCOL} is spoken"
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        if name in given and not _is_url(given[name]):
            yield f"{name}={given[name]}: give an http:// or https:// URL"
    for name in ("OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"):
        if given.get(name, _COMPRESSIONS[0]).strip().lower() not in _COMPRESSIONS:
            yield f"{name}={given[name]}: say one of {', '.join(_COMPRESSIONS)}"
    sampler = given.get("OTEL_TRACES_SAMPLER", _SAMPLERS[0]).lower()
    if sampler not in _SAMPLERS:
        yield f"OTEL_TRACES_SAMPLER={sampler}: say one of {', '.join(_SAMPLERS)}"
    ratio = given.get("OTEL_TRACES_SAMPLER_ARG", "1")
    if sampler in _RATIOS and not _is_number(ratio, lambda value: 0 <= value <= 1):
        yield f"OTEL_TRACES_SAMPLER_ARG={ratio}: give a number from 0 to 1"
    for name in _NUMBERS:
        if name in given and not _is_number(given[name], lambda value: value > 0):
            yield f"{name}={given[name]}: give a number above 0"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_number(text: str, fits: Callable[[float], bool]) -> bool:
    try:
        return fits(float(text))
    except ValueError:
        return False


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
