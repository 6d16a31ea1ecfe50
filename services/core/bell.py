"""Ringing the workers. The database holds the truth: a ring that is lost or doubled does no harm."""

import structlog
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from services.core.settings import Settings

RUN_JOB = "medcoss.run_job"
SWEEP = "medcoss.sweep"
JOBS_QUEUE = "jobs"
CONTROL_QUEUE = "control"

_log = structlog.get_logger()


def make_celery(settings: Settings) -> Celery:
    """The Celery application: acknowledges early, prefetches one, keeps no results."""
    app = Celery("medcoss", broker=settings.redis_url)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_default_queue=JOBS_QUEUE,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            # a ring that cannot be sent must not hold its thread up; workers have retries of their own
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
        },
        worker_hijack_root_logger=False,
        timezone="UTC",
    )
    return app


def ring(app: Celery, job_id: str) -> None:
    """Tell the workers that `job_id` is queued. A broker that does not answer is logged; the sweeper rings again."""
    try:
        app.send_task(RUN_JOB, args=[job_id], queue=JOBS_QUEUE, retry=False)
    except (OperationalError, KombuError, RedisError, OSError) as error:
        _log.warning("ring_failed", job_id=job_id, error=type(error).__name__)


def ring_again(app: Celery, job_ids: list[str]) -> None:
    """Ring for queued jobs whose ring may be lost, up to one waiting message a job.

    While all workers are busy for days, the queue must not grow with every sweep.
    """
    if not job_ids:
        return
    try:
        waiting = _waiting(app)
    except (OperationalError, KombuError, RedisError, OSError) as error:
        _log.warning("ring_failed", jobs=len(job_ids), error=type(error).__name__)
        return
    for job_id in job_ids[: max(len(job_ids) - waiting, 0)]:
        ring(app, job_id)


def _waiting(app: Celery) -> int:
    """Messages in the jobs queue that no worker has taken."""
    with app.connection_for_write() as connection:
        return int(connection.default_channel.queue_declare(queue=JOBS_QUEUE, auto_delete=False).message_count)
