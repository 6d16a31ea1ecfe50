"""Limits hold for all processes together, and let everybody in when Redis is away."""

import time
import uuid

import pytest

from services.core.limits import Limiter, Rate
from services.embedded.servers import free_port

SLOW = Rate(per_s=0.5, burst=5)


def taken(limiter: Limiter, name: str, rate: Rate, times: int) -> list[float]:
    return [limiter.take(name, rate) for _ in range(times)]


def test_two_processes_share_a_bucket(redis_url: str) -> None:
    name, one, other = uuid.uuid4().hex, Limiter(redis_url), Limiter(redis_url)
    assert taken(one, name, SLOW, 3) + taken(other, name, SLOW, 2) == [0.0] * 5
    for limiter in (one, other):
        assert 0 < limiter.take(name, SLOW) <= 2
        assert limiter.take(f"{name}-else", SLOW) == 0
        limiter.close()


@pytest.mark.parametrize("away", [False, True], ids=["with Redis", "without Redis"])
def test_a_bucket_fills_again(redis_url: str, away: bool) -> None:
    limiter, rate = Limiter(f"redis://127.0.0.1:{free_port()}/0" if away else redis_url), Rate(per_s=20, burst=2)
    name = uuid.uuid4().hex
    *good, wait = taken(limiter, name, rate, 3)
    assert good == [0.0, 0.0]
    assert 0 < wait <= 0.05
    deadline = time.monotonic() + 5
    while limiter.take(name, rate) > 0:
        assert time.monotonic() < deadline
    limiter.close()


def test_a_redis_that_is_away_costs_next_to_nothing() -> None:
    limiter = Limiter("redis://10.255.255.1:6379/0")
    began = time.monotonic()
    assert taken(limiter, "a", Rate(per_s=1, burst=100), 50) == [0.0] * 50
    assert time.monotonic() - began < 2
    limiter.close()
