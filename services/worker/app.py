"""The Celery application.

Jobs: `celery -A services.worker.app worker -Q jobs --pool=threads --concurrency=1`, with `-Q jobs,jobs.gpu` where
there are GPUs.
On several machines: `celery -A services.worker.app worker -Q jobs.machines --pool=threads --concurrency=8`, with
MEDCOSS_MACHINES, in a cluster with Kubeflow Trainer; each thread supervises one job.
Sweeper: `celery -A services.worker.app worker -B -Q control --pool=solo`.
"""

import threading
from functools import lru_cache
from typing import Any

import structlog
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown, worker_shutting_down
from sqlalchemy.exc import DBAPIError

from services.core import assembly, leftovers, tracing
from services.core.bell import (
    CONTROL_QUEUE,
    QUEUES,
    RUN_JOB,
    SEND_WEBHOOKS,
    SWEEP,
    make_celery,
    ring_again,
)
from services.core.db import Database
from services.core.logging import configure_logging
from services.core.settings import get_settings
from services.core.storage import ObjectStore
from services.core.sweep import sweep as mend
from services.core.tables.base import now
from services.worker import metrics
from services.worker.collector import Collector
from services.worker.heart import Heart
from services.worker.keeper import Keeper
from services.worker.machines.orphans import OrphanWatch
from services.worker.postman import Postman
from services.worker.supervisor import Supervisor
from services.worker.triton import TritonRepository

settings = get_settings()
app = make_celery(settings)
app.conf.beat_schedule = {
    "sweep": {
        "task": SWEEP,
        "schedule": settings.sweep_s,
        "options": {"queue": CONTROL_QUEUE, "expires": settings.sweep_s},
    },
    "send-webhooks": {
        "task": SEND_WEBHOOKS,
        "schedule": settings.webhook_send_s,
        "options": {"queue": CONTROL_QUEUE, "expires": settings.webhook_send_s},
    },
}
_log = structlog.get_logger()
_shutting_down = threading.Event()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logging(**_: Any) -> None:
    configure_logging(settings.log_level)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _remember_shutdown(**_: Any) -> None:
    _shutting_down.set()


@worker_init.connect  # type: ignore[untyped-decorator]
def _be_observed(**_: Any) -> None:
    tracing.configure(settings, "medcoss-worker")
    metrics.serve(settings)


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _send_the_last_spans(**_: Any) -> None:
    tracing.close()


@lru_cache
def _supervisor() -> Supervisor:
    return Supervisor(settings, _shutting_down)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _be_known(sender: Any, **_: Any) -> None:
    """Make a worker that runs jobs known; the sweeper's process runs none."""
    queues = sorted({*QUEUES} & set(sender.app.amqp.queues.consume_from))
    if not queues:
        return
    supervisor = _supervisor()
    heart = Heart(supervisor, queues)
    heart.start()
    worker_shutdown.connect(lambda **_: heart.stop(), weak=False)
    if supervisor.cluster is not None:
        watch = OrphanWatch(supervisor.cluster, settings, supervisor.database)
        watch.start()
        worker_shutdown.connect(lambda **_: watch.stop(), weak=False)


@lru_cache
def _database() -> Database:
    return Database(settings.database_url)


@lru_cache
def _store() -> ObjectStore:
    return ObjectStore(settings)


@app.task(name=RUN_JOB)  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    """The bell has rung: run what is queued, the most urgent first, until nothing is left."""
    _log.debug("rung", job_id=job_id)
    try:
        while not _shutting_down.is_set():
            if _supervisor().run_next() is None:
                return
            _mend_and_ring()
    except DBAPIError as error:
        # the sweeper rings again
        _log.warning("database_failed", error=type(error.orig).__name__)


def _mend_and_ring() -> None:
    with _database().session() as session:
        queued = mend(session, now())
    ring_again(app, queued)


@app.task(name=SWEEP)  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Mend what time has broken, ring for queued jobs again, remove stored objects that nobody owns, begin the run of
    the garbage collector that somebody has asked for, and have Triton load what it has lost."""
    try:
        with metrics.sweep():
            _mend_and_ring()
            leftovers.clean(_database(), _store(), _unload, settings.sweep_s)
            assembly.clean(_database(), _store(), now(), settings.sweep_s)
            _collector().kick()
            _keeper().kick()
    except DBAPIError as error:
        # the next sweep does what this one could not
        _log.warning("database_failed", error=type(error.orig).__name__)


@lru_cache
def _collector() -> Collector:
    return Collector(_database(), _store(), _unload)


@lru_cache
def _keeper() -> Keeper:
    return Keeper(settings, _database(), _store())


@lru_cache
def _postman() -> Postman:
    return Postman(settings, _database())


@app.task(name=SEND_WEBHOOKS)  # type: ignore[untyped-decorator]
def send_webhooks() -> None:
    """Have what is due sent to webhooks; it goes on when this has returned, so that sweeps are not held up."""
    _postman().kick()


def _unload(model: str) -> None:
    TritonRepository(settings, _store()).withdraw(model)
