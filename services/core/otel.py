"""Spans to an OpenTelemetry collector over OTLP/HTTP. Loaded only where an endpoint is set."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from medcoss import __version__

EXPORT_TIMEOUT_S = 5
_KINDS = {"server": api.SpanKind.SERVER, "client": api.SpanKind.CLIENT, "consumer": api.SpanKind.CONSUMER}


class OtelSpan:
    """A recorded span."""

    def __init__(self, span: api.Span) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._span.update_name(name)

    def note(self, **attributes: str | int | float | bool) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def failed(self, why: str) -> None:
        """Mark it as failed."""
        self._span.set_status(api.StatusCode.ERROR, why)


class OtelRecorder:
    """Records spans and sends them in the background, in batches. What cannot be sent is dropped."""

    def __init__(self, service: str, endpoint: str | None) -> None:
        resource = Resource.create({"service.name": service, "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        # without an endpoint of its own it reads the standard variables
        address = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=EXPORT_TIMEOUT_S))
        )
        self._tracer = self._provider.get_tracer("medcoss", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, parent: str | None, kind: str, attributes: dict[str, Any]) -> Iterator[OtelSpan]:
        """Record what happens inside. Of an error only its kind is kept: its words may hold names of patients."""
        context = self._context(parent)
        chosen = _KINDS.get(kind, api.SpanKind.INTERNAL)
        with self._tracer.start_as_current_span(
            name, context, chosen, attributes, record_exception=False, set_status_on_exception=False
        ) as made:
            span = OtelSpan(made)
            try:
                yield span
            except BaseException as error:
                span.failed(type(error).__name__)
                raise

    def past(self, name: str, parent: str, seconds: float, attributes: dict[str, Any]) -> None:
        """Record a span that ends now."""
        end = time.time_ns()
        began = end - int(seconds * 1e9)
        self._tracer.start_span(name, self._context(parent), attributes=attributes, start_time=began).end(end)

    def _context(self, parent: str | None) -> Context:
        # never the context of this thread: a trace begins where there is no parent
        return self._propagator.extract({"traceparent": parent} if parent else {}, Context())

    def traceparent(self) -> str | None:
        """The present span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get("traceparent")

    def close(self) -> None:
        """Send the rest; a collector that does not answer holds nobody up for long."""
        self._provider.force_flush(EXPORT_TIMEOUT_S * 1000)
        self._provider.shutdown()
