"""Numbers for Prometheus that services share: database, object store, bell. Each service adds its own.

With PROMETHEUS_MULTIPROC_DIR set (an empty folder that the processes of one service share), a scrape of any of
them tells the numbers of all; without it each process tells its own.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = [
    "CONTENT_TYPE_LATEST", "DURATIONS_S", "database_statements", "exposition", "s3_called", "s3_request", "tell_s3_to",
    "this_process_ends",
]  # fmt: skip

DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SHARED = "PROMETHEUS_MULTIPROC_DIR"
_STATEMENTS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})

_db_seconds = Histogram(
    "medcoss_db_seconds", "Time of a statement, without fetching", ["operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)  # fmt: skip
_db_errors = Counter("medcoss_db_errors", "Statements that ended in an error", ["error"])
_s3_seconds = Histogram(
    "medcoss_s3_seconds", "Time until the object store answers, retries included", ["operation"], buckets=DURATIONS_S
)
_s3_errors = Counter("medcoss_s3_errors", "Calls that the object store did not answer, or with 5xx", ["operation"])
ring_failures = Counter("medcoss_ring_failures", "Rings that the broker did not take; the sweeper rings again")


def database_statements(engine: "Engine") -> None:
    """Measure every statement of an engine."""
    # here, because the processes of jobs count calls of the object store and have no database
    from sqlalchemy import event

    @event.listens_for(engine, "before_cursor_execute")
    def begin(_connection: Any, _cursor: Any, _text: str, _values: Any, context: Any, _many: bool) -> None:
        if context is not None:
            context.medcoss_began = time.perf_counter()

    @event.listens_for(engine, "after_cursor_execute")
    def end(_connection: Any, _cursor: Any, text: str, _values: Any, context: Any, _many: bool) -> None:
        began = getattr(context, "medcoss_began", None)
        if began is not None:
            _db_seconds.labels(statement_kind(text)).observe(time.perf_counter() - began)

    @event.listens_for(engine, "handle_error")
    def failed(context: Any) -> None:
        _db_errors.labels(type(context.original_exception).__name__).inc()


def statement_kind(text: str) -> str:
    """`select`, `insert`, `update`, `delete` or `other`; never the statement itself."""
    word = text.lstrip()[:6].upper()
    return word.lower() if word in _STATEMENTS else "other"


def s3_called(operation: str, seconds: float, failed: bool) -> None:
    """Count a call of the object store."""
    _s3_seconds.labels(operation).observe(seconds)
    if failed:
        _s3_errors.labels(operation).inc()


_tell_s3: Callable[[str, float, bool], None] = s3_called


def tell_s3_to(whom: Callable[[str, float, bool], None]) -> None:
    """Have calls of the object store counted by `whom`, for a process that nobody scrapes."""
    global _tell_s3
    _tell_s3 = whom


@contextmanager
def s3_request(operation: str) -> Iterator[Callable[[], None]]:
    """Measure a call of the object store. It has failed when it raises, or when what this gives is called."""
    began, failures = time.perf_counter(), list[bool]()
    try:
        yield lambda: failures.append(True)
    except BaseException:
        failures.append(True)
        raise
    finally:
        _tell_s3(operation, time.perf_counter() - began, bool(failures))


def exposition(*others: Collector) -> bytes:
    """All numbers of this service, and those of `others`, in Prometheus' text format."""
    numbers: CollectorRegistry = REGISTRY
    if _SHARED in os.environ:
        numbers = CollectorRegistry()
        MultiProcessCollector(numbers)  # type: ignore[no-untyped-call]
    beside = CollectorRegistry()
    for other in others:
        beside.register(other)
    return generate_latest(numbers) + generate_latest(beside)


def this_process_ends() -> None:
    """Take what this process has under way out of the numbers that several processes share."""
    if _SHARED in os.environ:
        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
