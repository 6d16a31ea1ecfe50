"""Rings are cheap to lose: a broker that is away is no error, and a busy worker's queue does not grow."""

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import redis
from celery import Celery

from services.core.bell import GPU_QUEUE, JOBS_QUEUE, MACHINES_QUEUE, make_celery, ring, ring_again
from services.core.scheduling import Ring
from services.core.settings import Settings
from services.embedded.servers import free_port


@pytest.fixture
def app(make_settings: Callable[..., Settings], redis_url: str) -> Iterator[Celery]:
    with redis.Redis.from_url(redis_url) as client:
        client.delete(JOBS_QUEUE, GPU_QUEUE, MACHINES_QUEUE)
    with make_celery(make_settings()) as made:
        yield made


def waiting(redis_url: str, queue: str = JOBS_QUEUE) -> int:
    with redis.Redis.from_url(redis_url) as client:
        return int(client.llen(queue))  # type: ignore[arg-type]


def test_a_ring_is_one_message_with_the_id_alone(app: Celery, redis_url: str) -> None:
    job_id = f"job_{uuid.uuid4().hex}"
    ring(app, job_id)
    with redis.Redis.from_url(redis_url) as client:
        (message,) = client.lrange(JOBS_QUEUE, 0, -1)  # type: ignore[misc]
    assert job_id.encode() in message
    assert waiting(redis_url) == 1


def test_sweeps_do_not_fill_the_queue(app: Celery, redis_url: str) -> None:
    queued = [Ring(f"job_{number}") for number in range(5)]
    for _ in range(4):
        ring_again(app, queued)
    assert waiting(redis_url) == 5
    ring_again(app, [])
    ring_again(app, [*queued, Ring("job_5", 0)])
    assert waiting(redis_url) == 6


def test_jobs_for_gpus_ring_where_workers_with_gpus_listen(app: Celery, redis_url: str) -> None:
    ring(app, "job_1", 2)
    ring_again(app, [Ring("job_1", 2), Ring("job_2", 1), Ring("job_3", 8, 2)])
    assert waiting(redis_url, GPU_QUEUE) == 2
    assert waiting(redis_url, MACHINES_QUEUE) == 1, "where somebody has jobs run on several machines"
    assert waiting(redis_url) == 0


def test_a_broker_that_is_away_is_no_error(make_settings: Callable[..., Settings]) -> None:
    with make_celery(make_settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")) as app:
        began = time.monotonic()
        ring(app, "job_1")
        ring_again(app, [Ring("job_1")])
        assert time.monotonic() - began < 2


class Enough(Exception):
    """It has tried often enough to believe that it goes on."""


def test_a_broker_that_is_away_for_hours_ends_no_worker(make_settings: Callable[..., Settings]) -> None:
    """Celery's own limit of 100 is reached within the hour, and ends the training with the worker."""
    tries: list[float] = []

    def note(_: Exception, interval: float) -> None:
        tries.append(interval)
        if len(tries) > 150:
            raise Enough

    with make_celery(make_settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")) as app:
        limit = app.conf.broker_connection_max_retries
        with app.connection_for_read() as connection, pytest.raises(Enough):
            connection.ensure_connection(note, limit, interval_start=0, interval_step=0, interval_max=0)
