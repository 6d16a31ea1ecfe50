"""A worker's own numbers for Prometheus, told on a port of its own where one is set.

A worker is one process (its pool is made of threads), so that its numbers need no sharing. Jobs run in children,
which report their calls of the object store; their training numbers come from the control plane.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from services.core.metrics import DURATIONS_S
from services.core.settings import Settings

_log = structlog.get_logger()

_attempts = Counter("medcoss_attempts", "Attempts that have ended, by the state their job went to", ["kind", "state"])
_seconds = Histogram(
    "medcoss_attempt_seconds", "Time of an attempt", ["kind"], buckets=(1, 10, 60, 600, 3600, 21_600, 86_400, 604_800)
)
_busy = Gauge("medcoss_worker_busy", "Attempts that this worker runs now")
_lost = Counter("medcoss_worker_leases_lost", "Attempts whose lease was lost")
_sweeps = Histogram("medcoss_sweep_seconds", "Time of a sweep that went through", buckets=DURATIONS_S)
_swept = Gauge("medcoss_sweep_last_timestamp_seconds", "When the last sweep of this process went through; 0: none yet")
_messages = Counter("medcoss_webhook_messages", "Messages sent to webhooks, by what became of them", ["outcome"])
_OUTCOMES = {"delivered": "delivered", "pending": "retried", "failed": "failed", None: "lost"}
# an increase is seen from 0 on
for _outcome in _OUTCOMES.values():
    _messages.labels(_outcome)
_free = Gauge("medcoss_cache_disk_free_bytes", "Free on the disk of the local copies")
_size = Gauge("medcoss_cache_disk_bytes", "Size of the disk of the local copies")


@contextmanager
def attempt(kind: str) -> Iterator[list[str | None]]:
    """Count an attempt; the caller appends the state that the job is in then, None for a lost lease."""
    began, states = time.monotonic(), list[str | None]()
    with _busy.track_inprogress():
        yield states
    _seconds.labels(kind).observe(time.monotonic() - began)
    for state in states:
        _attempts.labels(kind, state or "lost").inc()
        if state is None:
            _lost.inc()


@contextmanager
def sweep() -> Iterator[None]:
    """Count a sweep, unless it raises."""
    began = time.monotonic()
    yield
    _sweeps.observe(time.monotonic() - began)
    _swept.set_to_current_time()


def message(state: str | None) -> None:
    """Count a message to a webhook by the state it is in after it was sent; None: another process had it, too."""
    _messages.labels(_OUTCOMES[state]).inc()


def serve(settings: Settings) -> None:
    """Tell the numbers on `metrics_port`, if there is one. A port that is taken is logged: the work goes on."""
    if settings.metrics_port is None:
        return
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    _free.set_function(lambda: shutil.disk_usage(settings.cache_dir).free)
    _size.set_function(lambda: shutil.disk_usage(settings.cache_dir).total)
    try:
        start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        _log.error("metrics_not_served", port=settings.metrics_port, error=error.strerror)
