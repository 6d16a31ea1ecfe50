"""The control plane's numbers: its own requests, and the state of the platform as database and neighbours tell it."""

import threading
import time
from collections import Counter as Counted
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from services.core.figures import Figures, Waiting, WorkerFigures
from services.core.metrics import DURATIONS_S

T = TypeVar("T")
KEPT_S = 5.0
# a scrape waits no longer for whoever does not answer
PATIENCE_S = 3.0
# what machines ask all the time
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_log = structlog.get_logger()

_requests = Counter("medcoss_http_requests", "Answered requests", ["method", "route", "status"])
_seconds = Histogram("medcoss_http_request_seconds", "Time to answer", ["method", "route"], buckets=DURATIONS_S)
_in_flight = Gauge("medcoss_http_requests_in_flight", "Requests under way", multiprocess_mode="livesum")
_refused = Counter("medcoss_http_refused_bodies", "Bodies that were too large or too slow", ["reason"])
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@contextmanager
def under_way() -> Iterator[None]:
    """Count a request while it is served."""
    _in_flight.inc()
    try:
        yield
    finally:
        _in_flight.dec()


def answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answer. `route` is the template, never the path: paths have no end."""
    known = method if method in _METHODS else "other"
    _requests.labels(known, route, str(status)).inc()
    _seconds.labels(known, route).observe(seconds)


def refused(reason: str) -> None:
    """Count a body that was refused: `too_large` or `too_slow`."""
    _refused.labels(reason).inc()


class _Kept(Generic[T]):
    """The last answer to a question, asked again in the background when it is older than `kept_s`."""

    def __init__(self, name: str, ask: Callable[[], T], kept_s: float) -> None:
        self._name, self._ask, self._kept_s = name, ask, kept_s
        self._lock = threading.Lock()
        self._asked, self._answer = 0.0, Future[T | None]()

    def asked(self, pool: ThreadPoolExecutor) -> "Future[T | None]":
        """The answer as it comes; one question is under way at a time."""
        with self._lock:
            old = time.monotonic() - self._asked >= self._kept_s
            if self._asked == 0.0 or (old and self._answer.done()):
                self._asked, self._answer = time.monotonic(), pool.submit(self._try)
            return self._answer

    def _try(self) -> T | None:
        try:
            return self._ask()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises means the same here
            _log.warning("not_measured", part=self._name, error=type(error).__name__)
            return None


class PlatformNumbers(Collector):
    """The state of the platform: asked at a scrape, at most every `kept_s` seconds.

    Who does not answer within PATIENCE_S counts as away; the scrape goes on without its numbers.
    """

    def __init__(self, figures: Callable[[], Figures], checks: dict[str, Callable[[], object]],
                 kept_s: float = KEPT_S) -> None:  # fmt: skip
        self._figures = _Kept("database", figures, kept_s)
        self._checks = {name: _Kept(name, check, kept_s) for name, check in checks.items()}
        self._pool = ThreadPoolExecutor(1 + len(checks), thread_name_prefix="metrics")

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def collect(self) -> Iterator[Metric]:
        """The numbers of now."""
        deadline = time.monotonic() + PATIENCE_S
        asked = self._figures.asked(self._pool)
        checks = {name: kept.asked(self._pool) for name, kept in self._checks.items()}
        found = _within(asked, deadline)
        yield _up("database", found is not None)
        for name, check in checks.items():
            yield _up(name, _within(check, deadline) is not None)
        if found is not None:
            yield from _families(found)


def _within(answer: "Future[T | None]", deadline: float) -> T | None:
    try:
        return answer.result(max(deadline - time.monotonic(), 0))
    except TimeoutError:
        return None


def _up(part: str, answers: bool) -> Metric:
    words = part.replace("_", " ")
    return GaugeMetricFamily(f"medcoss_{part}_up", f"1 when the {words} answers", float(answers))


def _gauge(name: str, text: str, label: str, values: dict[str, float] | dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value_of, value in values.items():
        family.add_metric([value_of], value)
    return family


_OF_WORKERS: dict[str, tuple[str, Callable[[WorkerFigures], float | None]]] = {
    "heartbeat_age_seconds": ("Time since the worker was last heard of", lambda worker: worker.silent_s),
    "gpus": ("GPUs that the worker offers", lambda worker: worker.gpus),
    "gpu_utilisation": ("Mean use of its GPUs, 0 to 1", lambda worker: worker.gpu_utilisation),
    "gpu_memory_used_bytes": ("Memory of its GPUs in use", lambda worker: worker.gpu_memory_used_bytes),
    "gpu_memory_bytes": (
        "Memory of its GPUs, as if all had that of the smallest",
        lambda worker: worker.gpu_memory_bytes and worker.gpu_memory_bytes * worker.gpus,
    ),
}


def _worker_families(found: list[WorkerFigures]) -> Iterator[Metric]:
    states = Counted(worker.state for worker in found)
    yield _gauge(
        "medcoss_workers", "Workers that live", "state", {s: states[s] for s in ("idle", "running", "draining")}
    )
    for name, (text, number) in _OF_WORKERS.items():
        values = {worker.name: value for worker in found if (value := number(worker)) is not None}
        yield _gauge(f"medcoss_worker_{name}", text, "worker", values)


def _families(found: Figures) -> Iterator[Metric]:
    yield _gauge("medcoss_jobs", "Jobs by state", "state", found.jobs)
    yield _gauge("medcoss_queue_jobs", "Queued jobs", "resource_class", found.queued)
    yield _gauge(
        "medcoss_queue_oldest_seconds", "How long the job that has been queued longest has been", "resource_class",
        found.oldest_s,
    )  # fmt: skip
    failures = CounterMetricFamily("medcoss_attempt_failures", "Failed attempts by reason", labels=["reason"])
    for reason, count in found.failures.items():
        failures.add_metric([reason], count)
    yield failures
    yield _gauge(
        "medcoss_training_samples_per_second", "Samples a second of the jobs that run", "kind",
        {kind: training.samples_per_s for kind, training in found.trainings.items()},
    )  # fmt: skip
    yield _gauge(
        "medcoss_training_silent_seconds", "Time since the last numbers of the job that has told none for longest",
        "kind", {kind: training.silent_s for kind, training in found.trainings.items()},
    )  # fmt: skip
    yield GaugeMetricFamily(
        "medcoss_expired_leases", "Running jobs of lost workers that no sweep has seen", found.expired
    )
    yield from _worker_families(found.workers)
    yield from _waiting("medcoss_leftovers", "Places of objects that wait for removal", found.leftovers)
    yield from _waiting("medcoss_webhook_messages_due", "Messages to webhooks that are due", found.messages)
    yield GaugeMetricFamily("medcoss_webhooks_disabled", "Webhooks that were switched off as failing", found.disabled)


def _waiting(name: str, text: str, found: Waiting) -> Iterator[Metric]:
    yield GaugeMetricFamily(name, text, found.number)
    yield GaugeMetricFamily(f"{name}_oldest_seconds", "How long the oldest of them has been due", found.oldest_s)
