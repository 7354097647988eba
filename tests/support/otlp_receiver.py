"""A collector of traces: a small HTTP server that reads OTLP's own protobuf."""

import gzip
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_PROTOBUF = "application/x-protobuf"


class Receiver:
    """What has come: spans by (trace id, name), resources, and the requests' headers.

    answer: the status it answers with; hold: seconds before it does.
    """

    def __init__(self):
        self.spans, self.resources, self.headers, self.paths = [], [], [], []
        self.answer, self.hold = 200, 0.0

    def take(self, path, headers, body):
        self.paths.append(path)
        self.headers.append(dict(headers))
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(values(group.resource.attributes))
            self.spans += [span for scope in group.scope_spans for span in scope.spans]

    def named(self, name, count=1, seconds=20):
        """The spans of that name, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(found := [span for span in self.spans if span.name == name]) < count:
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.02)
        return found

    def children(self, parent):
        """The spans below one, by their start."""
        found = [span for span in self.spans if span.parent_span_id == parent.span_id]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


def values(attributes):
    """Attributes as a dict."""
    return {one.key: _value(one.value) for one in attributes}


def _value(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def receiving():
    """A running receiver and its URL."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(receiver.hold)
            if receiver.answer == 200:
                receiver.take(self.path, self.headers, body)
            told = ExportTraceServiceResponse().SerializeToString()
            self.send_response(receiver.answer)
            self.send_header("Content-Type", _PROTOBUF)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield receiver, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
