"""Limits, time-outs, clients and servers that go away: each is told, and the gateway stays well."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY

from services.core.settings import Settings
from services.inference.app import create_app
from tests.inference.conftest import KEY, Repository, serving
from tests.inference.gate import Gate
from tests.inference.test_inference_answers import nifti, png
from tests.inference.test_inference_problems import problem
from tests.worker.work import until

CLASSIFY = "/v1/models/chest/classify"


@pytest.fixture(scope="module")
def gate(repository: Repository) -> Iterator[Gate]:
    gate = Gate(repository.url)
    yield gate
    gate.stop()


@contextmanager
def behind(gate: Gate, settings: Callable[..., Settings], **overrides: object) -> Iterator[httpx.Client]:
    """A gateway whose way to Triton leads through the gate; it knows the model's batches."""
    with serving(create_app(settings(triton_url=gate.url, **overrides))) as client:
        assert client.post(CLASSIFY, content=png(0)).status_code == 200
        yield client


@contextmanager
def one_held(gate: Gate, client: httpx.Client) -> Iterator["Future[httpx.Response]"]:
    """An inference that Triton has not got yet, until the end of the block."""
    with ThreadPoolExecutor(1) as pool, gate.held():
        first = pool.submit(client.post, CLASSIFY, content=png(0))
        assert gate.arrived.wait(20)
        yield first


def number(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


def test_more_than_may_wait_are_turned_away_before_their_body_is_read(
    gate: Gate, gateway_settings: Callable[..., Settings]
) -> None:
    with behind(gate, gateway_settings, inference_concurrency=1, inference_queue=0) as client:
        with one_held(gate, client) as first:
            with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as line:
                line.sendall(
                    f"POST {CLASSIFY} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
                    "Content-Length: 100000\r\n\r\n".encode()
                )
                assert line.recv(65536).startswith(b"HTTP/1.1 429")
            answer = client.post(CLASSIFY, content=png(0))
            assert "1 inferences and 0 wait" in problem(answer, 429)["detail"]
            assert int(answer.headers["retry-after"]) >= 1
            assert client.get("/v1/models").status_code == 200, "only inferences wait"
            gate.release()
            assert first.result(20).status_code == 200
        assert client.post(CLASSIFY, content=png(0)).status_code == 200


def test_work_that_takes_too_long_is_given_up(gate: Gate, gateway_settings: Callable[..., Settings]) -> None:
    with behind(gate, gateway_settings, inference_timeout_s=1.0) as client:
        with one_held(gate, client) as first:
            assert "within 1 s" in problem(first.result(20), 504)["detail"]
        assert client.post(CLASSIFY, content=png(0)).status_code == 200


def test_a_client_that_goes_away_ends_its_work(
    gate: Gate, gateway_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    data = nifti(tmp_path, 250)
    with behind(gate, gateway_settings) as client:
        assert client.post("/v1/models/atrium/segment", content=nifti(tmp_path)).status_code == 200
        before, given_up = gate.posts, number("medcoss_inference_given_up_total")
        with gate.held():
            line = socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10)
            head = f"POST /v1/models/atrium/segment HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            line.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            assert gate.arrived.wait(20)
            assert number("medcoss_inference_admitted") == 1
            line.close()
            until(lambda: number("medcoss_inference_admitted") == 0)
        until(lambda: number("medcoss_inference_given_up_total") > given_up)
        # 31 windows are 8 batches, of which 4 may be on their way
        assert gate.posts - before <= 4
        assert client.post(CLASSIFY, content=png(0)).status_code == 200


def test_triton_goes_away_and_comes_back(gate: Gate, gateway_settings: Callable[..., Settings]) -> None:
    with behind(gate, gateway_settings) as client:
        gate.stop()
        answer = client.post(CLASSIFY, content=png(0))
        assert "model server does not answer" in problem(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert "triton" in problem(client.get("/readyz"), 503)["detail"]
        gate.start()
        assert client.post(CLASSIFY, content=png(0)).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_a_gateway_that_is_told_to_end_answers_what_it_has_begun(
    gate: Gate, gateway_settings: Callable[..., Settings]
) -> None:
    def once_it_ends(client: httpx.Client) -> None:
        """Let Triton answer as soon as the gateway takes no more connections."""
        until(lambda: _refuses(client))
        gate.release()

    with ThreadPoolExecutor(2) as pool:
        # leaving it tells the gateway to end, and waits until it has
        with behind(gate, gateway_settings) as client:
            gate.hold()
            headers = {"Authorization": f"Bearer {KEY}"}
            url = str(client.base_url.join(CLASSIFY))
            first = pool.submit(httpx.post, url, content=png(0), headers=headers, timeout=30)
            assert gate.arrived.wait(20)
            watching = pool.submit(once_it_ends, client)
        assert first.result(20).status_code == 200
        watching.result(20)


def _refuses(client: httpx.Client) -> bool:
    try:
        socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=5).close()
    except OSError:
        return True
    return False


def test_numbers_of_models(gateway: httpx.Client) -> None:
    gateway.post(CLASSIFY, content=png(0))
    gateway.post(CLASSIFY, content=b"x")
    numbers = gateway.get("/metrics").text
    for result in ("answered", "refused"):
        assert f'medcoss_inference_answers_total{{call="classify",model="chest",result="{result}"}}' in numbers
    for stage in ("queue", "decode", "preprocess", "infer"):
        assert f'medcoss_inference_stage_seconds_count{{model="chest",stage="{stage}"}}' in numbers
    assert 'medcoss_inference_windows_total{model="chest"}' in numbers
