"""Ringing the workers. The database holds the truth: a ring that is lost or doubled does no harm."""

import structlog
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from services.core.metrics import ring_failures
from services.core.settings import Settings

RUN_JOB = "medcoss.run_job"
SWEEP = "medcoss.sweep"
SEND_WEBHOOKS = "medcoss.send_webhooks"
JOBS_QUEUE = "jobs"
# only workers that have GPUs listen here
GPU_QUEUE = "jobs.gpu"
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
        # by default a worker ends, and its training with it, when the broker was away for most of an hour
        broker_connection_max_retries=None,
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


def queue_of(gpus: int | None) -> str:
    """The queue that rings for a job which needs so many GPUs."""
    return GPU_QUEUE if gpus else JOBS_QUEUE


def ring(app: Celery, job_id: str, gpus: int | None = None) -> None:
    """Tell the workers that `job_id` is queued. A broker that does not answer is logged; the sweeper rings again."""
    try:
        app.send_task(RUN_JOB, args=[job_id], queue=queue_of(gpus), retry=False)
    except (OperationalError, KombuError, RedisError, OSError) as error:
        ring_failures.inc()
        _log.warning("ring_failed", job_id=job_id, error=type(error).__name__)


def ring_again(app: Celery, queued: list[tuple[str, int | None]]) -> None:
    """Ring for queued jobs (id and GPUs) whose ring may be lost, up to RINGS waiting messages a queue.

    While all workers are busy for days, the queue must not grow with every sweep; and a worker that has
    been rung goes on until nothing is left, so that a few rings do for many jobs.
    """
    for queue in (JOBS_QUEUE, GPU_QUEUE):
        wanted = [(job_id, gpus) for job_id, gpus in queued if queue_of(gpus) == queue]
        if not wanted:
            continue
        try:
            waiting = _waiting(app, queue)
        except (OperationalError, KombuError, RedisError, OSError) as error:
            ring_failures.inc()
            _log.warning("ring_failed", jobs=len(wanted), error=type(error).__name__)
            return
        for job_id, gpus in wanted[: max(len(wanted) - waiting, 0)]:
            ring(app, job_id, gpus)


def _waiting(app: Celery, queue: str) -> int:
    """Messages in a queue that no worker has taken."""
    with app.connection_for_write() as connection:
        return int(connection.default_channel.queue_declare(queue=queue, auto_delete=False).message_count)
