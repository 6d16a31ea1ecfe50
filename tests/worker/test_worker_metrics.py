"""What a worker tells Prometheus of itself."""

import time
from collections.abc import Callable

import httpx
import pytest
from prometheus_client import REGISTRY

from services.core.settings import Settings
from services.embedded.servers import free_port
from services.worker import metrics
from services.worker.supervisor import Supervisor
from tests.worker.scripts import RESULT
from tests.worker.work import scripted


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"medcoss_{name}", labels) or 0.0


def test_attempts_are_counted_by_how_they_end(supervisor: Supervisor, script: Callable[..., None]) -> None:
    before = {state: value("attempts_total", kind="preprocess", state=state) for state in ("succeeded", "queued")}
    script("sys.exit(3)")
    scripted(supervisor.database)
    supervisor.run_next()
    assert value("attempts_total", kind="preprocess", state="queued") == before["queued"] + 1
    script(RESULT)
    scripted(supervisor.database)
    supervisor.run_next()
    assert value("attempts_total", kind="preprocess", state="succeeded") == before["succeeded"] + 1
    assert value("worker_busy") == 0


def test_what_a_job_asks_of_the_object_store_is_counted(supervisor: Supervisor, script: Callable[..., None]) -> None:
    calls = {"operation": "put"}
    count, failed, took = (value(name, **calls) for name in ("s3_seconds_count", "s3_errors_total", "s3_seconds_sum"))
    script(
        """
send("store", operation="put", seconds=0.25, failed=False)
send("store", operation="put", seconds=0.5, failed=True)
send("store", operation="of another kind", seconds=1, failed=False)
"""
        + RESULT
    )
    scripted(supervisor.database)
    supervisor.run_next()
    assert value("s3_seconds_count", **calls) == count + 2
    assert value("s3_seconds_sum", **calls) == pytest.approx(took + 0.75)
    assert value("s3_errors_total", **calls) == failed + 1
    assert value("s3_seconds_count", operation="of another kind") == 0, "labels have an end"


def test_a_sweep_that_breaks_is_none() -> None:
    with metrics.sweep():
        pass
    swept, count = value("sweep_last_timestamp_seconds"), value("sweep_seconds_count")
    assert abs(time.time() - swept) < 10
    with pytest.raises(OSError, match="away"), metrics.sweep():
        raise OSError("away")
    assert (value("sweep_last_timestamp_seconds"), value("sweep_seconds_count")) == (swept, count)


def test_they_are_told_on_a_port_of_their_own(settings: Settings) -> None:
    port = free_port()
    metrics.serve(settings.model_copy(update={"metrics_port": port}))
    told = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    for name in (
        "medcoss_cache_disk_free_bytes",
        'medcoss_webhook_messages_total{outcome="failed"}',
        "medcoss_s3_seconds",
    ):
        assert f"\n{name}" in told
    # the next worker of this machine, with the same settings: it works all the same
    metrics.serve(settings.model_copy(update={"metrics_port": port}))
