"""Requests as OpenTelemetry spans, sent by OTLP over HTTP beside the event loop.

Imported only where traces are asked for: the SDK is loaded here. What a request costs its frontend
is making its spans; sending them is a thread's work, with a bounded queue before it.
"""

import os
import threading
from collections.abc import Iterator, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from starlette.datastructures import Headers
from starlette.types import Scope

from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.figures import Figure
from nacelle_runtime.frontends.openai.request_span import OPERATIONS, RequestSpan

# Spans that wait to be sent, by the specification of OTEL_BSP_MAX_QUEUE_SIZE.
_SPANS = 2048
# Seconds that the last spans get at a server's end.
_LAST_WORDS = 3.0


class Tracing:
    """One frontend's traces; the sampler, the exporter and the queue are as OTEL_ variables say."""

    def __init__(self) -> None:
        try:
            self._exporter = _Counting(OTLPSpanExporter())
            self._queue = _Queue(self._exporter)
        except ValueError as error:
            raise InvalidRequest(f"traces: the OTEL_ variables cannot be used: {error}") from error
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer("nacelle")

    def begin(self, scope: Scope) -> RequestSpan | None:
        """The span of a request that asks for an answer; None for all others.

        It continues the trace that the request's headers name.
        """
        if scope["method"] != "POST" or scope["path"] not in OPERATIONS:
            return None
        return RequestSpan(self._tracer, scope, extract(dict(Headers(scope=scope))))

    def figures(self, model: str) -> Iterator[Figure]:
        """Spans by what became of them."""
        for outcome, count in (
            ("exported", self._exporter.exported),
            ("dropped", self._queue.dropped + self._exporter.failed),
        ):
            yield Figure(
                "nacelle_trace_spans_total",
                "Spans that the collector took, and that were dropped",
                count,
                counts=True,
                labels={"model": model, "outcome": outcome},
            )

    def close(self) -> None:
        """Send what is left; a collector that takes nothing holds nobody up for long."""
        # The SDK waits for an export that hangs: the thread ends with the process then.
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(_LAST_WORDS)


class _Counting(SpanExporter):
    """An exporter, and how many spans went in and what became of them."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.taken = self.exported = self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
            else:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Queue(BatchSpanProcessor):
    """The SDK's queue; beyond its bound new spans are dropped and counted, and nothing waits."""

    def __init__(self, exporter: _Counting) -> None:
        self._bound = int(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE) or _SPANS)
        super().__init__(exporter, max_queue_size=self._bound)
        self._counting = exporter
        self._put = self.dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        if self._put - self._counting.taken >= self._bound:
            self.dropped += 1
            return
        self._put += 1
        super().on_end(span)


def _resource() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say; without a name it is nacelle's."""
    found = Resource.create()
    named = not str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found if named else found.merge(Resource({SERVICE_NAME: "nacelle"}))
