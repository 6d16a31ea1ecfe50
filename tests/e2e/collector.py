"""A collector of traces: takes what services send over OTLP/HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it came; `began` and `ended` in seconds of Unix time, `parent` empty for the first of a trace."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    began: float
    ended: float
    attributes: dict[str, Any]


class Collector(ThreadingHTTPServer):
    """Listens at `url`, the endpoint that services are told."""

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
                collector.spans += _read(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def of(self, trace: str) -> list[Span]:
        """The spans of a trace that have come, the earliest first."""
        return sorted((span for span in list(self.spans) if span.trace == trace), key=lambda span: span.began)


def _read(body: bytes) -> list[Span]:
    found = []
    for part in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _values(part.resource.attributes)["service.name"]
        for s in (span for scope in part.scope_spans for span in scope.spans):
            found.append(
                Span(service, s.name, s.kind, s.trace_id.hex(), s.span_id.hex(), s.parent_span_id.hex(),
                     s.start_time_unix_nano / 1e9, s.end_time_unix_nano / 1e9, _values(s.attributes))
            )  # fmt: skip
    return found


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens meanwhile."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()
