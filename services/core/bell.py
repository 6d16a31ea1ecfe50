"""Ringing the workers. The database holds the truth: a ring that is lost or doubled does no harm."""

from collections.abc import Iterator, Sequence

import structlog
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from services.core.metrics import ring_failures
from services.core.scheduling import RINGS, Ring
from services.core.settings import Settings

RUN_JOB = "medcoss.run_job"
SWEEP = "medcoss.sweep"
SEND_WEBHOOKS = "medcoss.send_webhooks"
JOBS_QUEUE = "jobs"
# only workers that have GPUs listen here
GPU_QUEUE = "jobs.gpu"
# only workers that have jobs run on several machines listen here
MACHINES_QUEUE = "jobs.machines"
QUEUES = (JOBS_QUEUE, GPU_QUEUE, MACHINES_QUEUE)
CONTROL_QUEUE = "control"
# what a broker that does not answer is known by
AWAY = (OperationalError, KombuError, RedisError, OSError)

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


def queue_of(gpus: int | None, nodes: int | None = None) -> str:
    """The queue that rings for a job which needs so many GPUs, and machines if several."""
    if nodes:
        return MACHINES_QUEUE
    return GPU_QUEUE if gpus else JOBS_QUEUE


def ring(app: Celery, job_id: str, gpus: int | None = None, nodes: int | None = None) -> None:
    """Tell the workers that `job_id` is queued. A broker that does not answer is logged; the sweeper rings again."""
    try:
        app.send_task(RUN_JOB, args=[job_id], queue=queue_of(gpus, nodes), retry=False)
    except AWAY as error:
        ring_failures.inc()
        _log.warning("ring_failed", job_id=job_id, error=type(error).__name__)


def ring_all(app: Celery, queued: Sequence[Ring]) -> None:
    """Tell the workers of jobs that have just been queued.

    Where RINGS messages wait that no worker has taken, another one would wake nobody.
    """
    for queue, wanted in _by_queue(queued):
        if len(wanted) == 1:
            # to ask how many wait would cost as much
            ring(app, wanted[0].job_id, wanted[0].gpus, wanted[0].nodes)
        else:
            _fill(app, queue, wanted, RINGS)


def ring_again(app: Celery, queued: Sequence[Ring]) -> None:
    """Ring for queued jobs whose ring may be lost, up to as many waiting messages as jobs.

    While all workers are busy for days, the queue must not grow with every sweep; and a worker that has
    been rung goes on until nothing is left, so that a few rings do for many jobs.
    """
    for queue, wanted in _by_queue(queued):
        _fill(app, queue, wanted, len(wanted))


def _by_queue(queued: Sequence[Ring]) -> Iterator[tuple[str, list[Ring]]]:
    for queue in QUEUES:
        if wanted := [one for one in queued if queue_of(one.gpus, one.nodes) == queue]:
            yield queue, wanted


def _fill(app: Celery, queue: str, wanted: Sequence[Ring], most: int) -> None:
    """Ring until `most` messages wait."""
    try:
        waiting = _waiting(app, queue)
    except AWAY as error:
        ring_failures.inc()
        _log.warning("ring_failed", jobs=len(wanted), error=type(error).__name__)
        return
    for one in wanted[: max(most - waiting, 0)]:
        ring(app, one.job_id, one.gpus, one.nodes)


def _waiting(app: Celery, queue: str) -> int:
    """Messages in a queue that no worker has taken."""
    with app.pool.acquire(block=True) as connection:
        return int(connection.default_channel.queue_declare(queue=queue, auto_delete=False).message_count)
