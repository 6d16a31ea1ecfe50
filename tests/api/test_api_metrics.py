"""What the control plane tells Prometheus and its log."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from services.api import shell
from services.api.routes.health import numbers_of
from services.core import jobs
from services.core.db import Database
from services.core.logging import with_trace_ids
from services.core.scope import EVERYTHING
from services.core.settings import Settings
from services.embedded.servers import free_port
from tests.api.calls import preprocess, uploaded
from tests.api.serving import Served
from tests.worker.work import until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(served: Served) -> Samples:
    response = served.stranger.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def at(found: Samples, name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def test_requests_are_counted_by_route(served: Served) -> None:
    before = scraped(served)
    for _ in range(3):
        served.viewer.get("/v1/jobs/job_none")
    served.viewer.get("/nothing/of/the/kind")
    served.viewer.request("BREW", "/v1/jobs")
    after = scraped(served)
    route = {"method": "GET", "route": "/v1/jobs/{job_id}"}
    count = "medcoss_http_requests_total"
    assert at(after, count, **route, status="404") - at(before, count, **route, status="404") == 3
    assert at(after, "medcoss_http_request_seconds_count", **route) >= 3
    assert at(after, count, method="GET", route="none", status="404") > at(
        before, count, method="GET", route="none", status="404"
    )
    assert at(after, "medcoss_http_requests_in_flight") == 1, "the scrape itself"
    assert not any("job_none" in str(labels) or "BREW" in str(labels) for _, labels in after), "labels have an end"


def test_refused_bodies_are_counted(settings: Settings, serve: Callable[[Settings], Served]) -> None:
    strict = serve(settings.model_copy(update={"max_request_bytes": 10}))
    before = scraped(strict)
    assert strict.operator.post("/v1/jobs", content=b"x" * 11).status_code == 413
    name = "medcoss_http_refused_bodies_total"
    assert at(scraped(strict), name, reason="too_large") - at(before, name, reason="too_large") == 1


def test_database_and_object_store_are_measured(served: Served) -> None:
    before = scraped(served)
    uploaded(served.operator, {"a": b"x"})
    after = scraped(served)
    for name, operation in (
        ("medcoss_db_seconds", "insert"),
        ("medcoss_db_seconds", "select"),
        ("medcoss_s3_seconds", "list"),
    ):
        count = f"{name}_count"
        assert at(after, count, operation=operation) > at(before, count, operation=operation), (name, operation)


def test_the_state_of_the_platform(served: Served) -> None:
    served.app.state.numbers = numbers_of(lambda: served.app.state.parts, kept_s=0)
    preprocess(served.operator, uploaded(served.operator, {"a": b"x"}))
    found = scraped(served)
    assert at(found, "medcoss_jobs", state="queued") == 1
    assert at(found, "medcoss_queue_jobs", resource_class="cpu") == 1
    assert 0 <= at(found, "medcoss_queue_oldest_seconds", resource_class="cpu") < 60
    for part in ("database", "object_store", "broker"):
        assert at(found, f"medcoss_{part}_up") == 1


def test_the_state_is_kept_for_some_seconds(served: Served) -> None:
    found = scraped(served)
    preprocess(served.operator, uploaded(served.operator, {"a": b"x"}))
    assert at(scraped(served), "medcoss_jobs", state="queued") == at(found, "medcoss_jobs", state="queued") == 0


def test_a_scrape_without_database_and_store_tells_so(served: Served) -> None:
    from services.core.storage import ObjectStore

    parts = served.app.state.parts
    url = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none"
    gone = served.settings.model_copy(update={"s3_endpoint": f"127.0.0.1:{free_port()}"})
    served.app.state.parts = replace(parts, database=Database(url), store=ObjectStore(gone, retries=1))
    began = time.monotonic()
    found = scraped(served)
    assert time.monotonic() - began < 8
    assert at(found, "medcoss_database_up") == at(found, "medcoss_object_store_up") == 0
    assert at(found, "medcoss_broker_up") == 1
    assert ("medcoss_jobs", (("state", "queued"),)) not in found
    assert any(name == "medcoss_http_requests_total" for name, _ in found)


def test_a_request_is_one_line_that_names_its_caller(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []

    def keep(_logger: object, _method: str, entry: Any) -> Any:
        said.append(dict(entry))
        raise structlog.DropEvent

    processors = [structlog.contextvars.merge_contextvars, with_trace_ids, keep]
    monkeypatch.setattr(shell, "_log", structlog.wrap_logger(None, processors=processors))
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    answer = served.viewer.get("/v1/jobs?project=prj_default", headers=headers)
    served.stranger.get("/v1/jobs?token=mk_secret", headers={"traceparent": "00-nonsense"})
    line, other = until(lambda: said if len(said) == 2 else [], 20)
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/jobs", 200)
    assert line["owner"] == "the viewer" and line["key_id"].startswith("key_")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["trace_id"] == trace_id, "of the caller's trace"
    assert isinstance(line["ms"], float)
    assert other["status"] == 401 and re.fullmatch("[0-9a-f]{32}", other["trace_id"]), "a trace of its own"


def test_a_job_remembers_the_trace_of_its_request(served: Served) -> None:
    dataset = uploaded(served.operator, {"a": b"x"})
    trace_id = "5bf92f3577b34da6a3ce929d0e0e4736"
    job_id = preprocess(served.operator, dataset, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}).json()[
        "id"
    ]
    with served.database.reading() as session:
        assert f"-{trace_id}-" in str(jobs.get(session, EVERYTHING, job_id).trace)


def test_processes_of_one_service_are_scraped_as_one(tmp_path: Path) -> None:
    """uvicorn with several workers: whichever answers tells the numbers of all."""
    program = (
        "from services.api import metrics; from services.core.metrics import exposition\n"
        "metrics.answered('GET', '/v1/jobs', 200, 0.1)\n"
        "with metrics.under_way(): print(exposition().decode())"
    )
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    told = [
        subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    line = 'medcoss_http_requests_total{method="GET",route="/v1/jobs",status="200"}'
    assert f"{line} 1.0" in told[0]
    assert f"{line} 2.0" in told[1]
