"""Traces: one id from the HTTP request over the job to the trainer (W3C Trace Context).

The id is always there, for the logs. Spans are recorded only where an OTLP endpoint is set; nothing of OpenTelemetry
is loaded otherwise.
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

from services.core.settings import Settings

VARIABLE = "TRACEPARENT"
_STANDARD = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Span(Protocol):
    """A piece of work that is being recorded."""

    def rename(self, name: str) -> None:
        """Give it the name that only its end knows."""

    def note(self, **attributes: str | int | float | bool) -> None:
        """Add to what is known of it."""

    def failed(self, why: str) -> None:
        """Mark it as failed, with a word for the reason."""


class Recorder(Protocol):
    """What records spans."""

    def span(
        self, name: str, parent: str | None, kind: str, attributes: dict[str, Any]
    ) -> AbstractContextManager[Span]:
        """Record what happens inside; below `parent`, a traceparent, or as the start of a trace."""

    def past(self, name: str, parent: str, seconds: float, attributes: dict[str, Any]) -> None:
        """Record a span below `parent` that ends now and began `seconds` ago."""

    def traceparent(self) -> str | None:
        """The present span."""

    def close(self) -> None:
        """Send what is not sent yet."""


class _Nothing:
    """A span that nobody records."""

    def rename(self, name: str) -> None:
        """Nothing."""

    def note(self, **attributes: str | int | float | bool) -> None:
        """Nothing."""

    def failed(self, why: str) -> None:
        """Nothing."""


_NOTHING = _Nothing()
_here: ContextVar[str | None] = ContextVar("medcoss_trace", default=None)
_recorder: Recorder | None = None
_process: str | None = None


def configure(settings: Settings, service: str) -> None:
    """Record the spans of this process as `service` if an endpoint is set; the first call of a process counts.

    Raises RuntimeError when an endpoint is set and OpenTelemetry is not installed.
    """
    global _recorder
    endpoint = settings.otel_endpoint
    if _recorder is not None or not (endpoint or any(os.environ.get(name) for name in _STANDARD)):
        return
    try:
        from services.core.otel import OtelRecorder
    except ImportError as error:
        raise RuntimeError(
            f"an OTLP endpoint is set, but {error.name} is not installed: pip install 'medcoss[otel]', or unset "
            "MEDCOSS_OTEL_ENDPOINT and OTEL_EXPORTER_OTLP_ENDPOINT"
        ) from error
    _recorder = OtelRecorder(service, endpoint)


def close() -> None:
    """Send what is not sent yet, and record no more."""
    global _recorder, _process
    _process = None
    if _recorder is not None:
        _recorder.close()
        _recorder = None


def known(traceparent: str | None) -> str | None:
    """A traceparent that came from outside, if it is one."""
    return traceparent if traceparent is not None and _TRACEPARENT.fullmatch(traceparent) else None


@contextmanager
def trace(name: str, parent: str | None, kind: str = "internal", **attributes: Any) -> Iterator[Span]:
    """What a process does for one request or attempt: part of the trace of `parent`, or the start of a new one."""
    if _recorder is not None:
        with _recorder.span(name, known(parent), kind, attributes) as span:
            yield span
        return
    token = _here.set(known(parent) or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00")
    try:
        yield _NOTHING
    finally:
        _here.reset(token)


def adopt() -> None:
    """Threads of this process that know of no trace belong to the present one from now on."""
    global _process
    _process = traceparent()


def span(name: str, **attributes: Any) -> AbstractContextManager[Span]:
    """A step of it. Outside of a trace, and where nothing is recorded, this does nothing."""
    if _recorder is None or (here := traceparent()) is None:
        return nullcontext(_NOTHING)
    return _recorder.span(name, here, "client" if name.startswith("s3 ") else "internal", attributes)


def past(name: str, seconds: float, **attributes: Any) -> None:
    """A step that ends now and began `seconds` ago."""
    if _recorder is not None and (here := traceparent()) is not None:
        _recorder.past(name, here, seconds, attributes)


def traceparent() -> str | None:
    """Where this piece of work stands, to be handed on: to a job's row, to a child's environment."""
    return (_recorder.traceparent() if _recorder is not None else _here.get()) or _process


def ids() -> dict[str, str]:
    """The ids that a log line carries."""
    found = traceparent()
    if found is None:
        return {}
    _, trace_id, span_id, _ = found.split("-")
    return {"trace_id": trace_id, "span_id": span_id} if _recorder is not None else {"trace_id": trace_id}
