"""The Celery application.

Jobs: `celery -A services.worker.app worker -Q jobs --pool=threads --concurrency=1`.
Sweeper: `celery -A services.worker.app worker -B -Q control --pool=solo`.
"""

import threading
from functools import lru_cache
from typing import Any

import structlog
from celery.signals import setup_logging, worker_shutting_down

from services.core import jobs
from services.core.bell import CONTROL_QUEUE, RUN_JOB, SWEEP, make_celery, ring
from services.core.db import Database
from services.core.logging import configure_logging
from services.core.settings import get_settings
from services.core.tables.base import now
from services.worker.supervisor import Supervisor

settings = get_settings()
app = make_celery(settings)
app.conf.beat_schedule = {
    "sweep": {
        "task": SWEEP,
        "schedule": settings.sweep_s,
        "options": {"queue": CONTROL_QUEUE, "expires": settings.sweep_s},
    }
}
_log = structlog.get_logger()
_shutting_down = threading.Event()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _configure_logging(**_: Any) -> None:
    configure_logging(settings.log_level)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _remember_shutdown(**_: Any) -> None:
    _shutting_down.set()


@lru_cache
def _supervisor() -> Supervisor:
    return Supervisor(settings, _shutting_down)


@lru_cache
def _database() -> Database:
    return Database(settings.database_url)


@app.task(name=RUN_JOB)  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    """The bell has rung: run what is queued, the most urgent first, until nothing is left."""
    _log.debug("rung", job_id=job_id)
    while not _shutting_down.is_set():
        ended = _supervisor().run_next()
        if ended is None:
            return
        _release_dependants()


def _release_dependants() -> None:
    with _database().session() as session:
        queued = jobs.sweep(session, now())
    for job_id in queued:
        ring(app, job_id)


@app.task(name=SWEEP)  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Mend what time has broken, and ring for every queued job again."""
    _release_dependants()
