"""Around every request: limits, headers, the audit log."""

import asyncio
import socket
from collections.abc import Callable

import httpx
import pytest

from services.core.settings import Settings
from services.embedded.servers import free_port
from tests.api.calls import preprocess, problem, uploaded
from tests.api.serving import Served

Serve = Callable[[Settings], Served]


def test_writes_and_failed_keys_are_on_record(served: Served) -> None:
    dataset = uploaded(served.operator, {"a": b"x"})
    job = preprocess(served.operator, dataset).json()["id"]
    denied = served.viewer.post(f"/v1/jobs/{job}/cancel")
    stranger = httpx.get(f"{served.url}/v1/jobs?patient=Jane", headers={"Authorization": "Bearer mk_secret"})
    served.operator.post("/v1/jobs", json={"kind": "preprocess", "spec": {"patient": "Jane"}})
    served.operator.get("/v1/jobs")
    page = served.admin.get("/v1/audit").json()
    found = [(e["actor"], e["method"], e["route"], e["status"], e["outcome"]) for e in page["items"]]
    assert found == [
        ("the operator", "POST", "/v1/jobs", 422, "rejected"),
        (None, "GET", "/v1/jobs", 401, "denied"),
        ("the viewer", "POST", "/v1/jobs/{job_id}/cancel", 403, "denied"),
        ("the operator", "POST", "/v1/jobs", 201, "done"),
        ("the operator", "POST", "/v1/datasets/{dataset_id}/complete", 200, "done"),
        ("the operator", "POST", "/v1/datasets", 201, "done"),
    ]
    assert page["items"][2]["path"] == f"/v1/jobs/{job}/cancel"
    assert page["items"][2]["request_id"] == denied.headers["x-request-id"]
    assert page["items"][1]["detail"] == stranger.json()["detail"]
    assert {entry["address"] for entry in page["items"]} == {"127.0.0.1"}
    assert not any(word in str(page) for word in ("Jane", "mk_"))


def test_the_record_is_read_in_pages_and_by_filter(served: Served) -> None:
    for number in range(5):
        (served.operator if number % 2 else served.viewer).post("/v1/jobs", json={})

    def numbers(**asked: object) -> tuple[list[int], str | None]:
        page = served.admin.get("/v1/audit", params=asked).json()  # type: ignore[arg-type]
        return [entry["seq"] for entry in page["items"]], page["next"]

    everything, _ = numbers()
    first, following = numbers(limit=3)
    second, end = numbers(limit=3, cursor=following)
    assert (first + second, end) == (everything, None)
    assert everything == sorted(everything, reverse=True)
    assert len(numbers(actor="the operator")[0]) == 2
    assert len(numbers(outcome="denied")[0]) == 3
    assert len(numbers(route="/v1/jobs", until="2020-01-01T00:00:00Z")[0]) == 0
    assert len(numbers(since="2020-01-01T00:00:00Z")[0]) == 5
    problem(served.operator.get("/v1/audit"), 403)
    problem(served.admin.get("/v1/audit", params={"cursor": "x"}), 422)


def test_every_answer_has_the_security_headers(refusing: Served) -> None:
    for path in ("/healthz", "/v1/jobs", "/nothing", "/v1/me", "/docs"):
        headers = refusing.stranger.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_web_pages_may_call_only_when_they_are_named(settings: Settings, serve: Serve) -> None:
    origin = {"Origin": "https://pacs.example", "Access-Control-Request-Method": "GET"}
    closed = serve(settings)
    assert "access-control-allow-origin" not in closed.stranger.options("/v1/jobs", headers=origin).headers
    opened = serve(settings.model_copy(update={"cors_origins": ["https://pacs.example"]}))
    answer = opened.stranger.options("/v1/jobs", headers=origin)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://pacs.example")
    other = opened.stranger.options("/v1/jobs", headers=origin | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_bodies_that_are_too_large(settings: Settings, serve: Serve) -> None:
    small = serve(settings.model_copy(update={"max_request_bytes": 1000}))
    body = b'{"kind": "' + b"x" * 2000 + b'"}'
    headers = {"Content-Type": "application/json"}
    for content in (body, iter([body[:900], body[900:]])):
        document = problem(small.operator.post("/v1/jobs", content=content, headers=headers), 413)
        assert "is larger than" in document["detail"]
    assert small.operator.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize("length", ["Content-Length: 10000000", "Transfer-Encoding: chunked"])
def test_a_strangers_body_is_not_waited_for(served: Served, length: str) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\n{length}\r\n\r\n".encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 401")
    (entry,) = served.admin.get("/v1/audit").json()["items"]
    assert (entry["status"], entry["path"]) == (401, "/v1/jobs")


def test_bodies_that_do_not_come(settings: Settings, serve: Serve) -> None:
    hasty = serve(settings.model_copy(update={"request_timeout_s": 0.2}))
    host, port = hasty.url.removeprefix("http://").split(":")
    key = hasty.operator.headers["authorization"]
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(
            f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        assert line.recv(65536).startswith(b"HTTP/1.1 408")
    assert hasty.operator.get("/v1/jobs").status_code == 200


def test_a_key_that_is_used_too_often(settings: Settings, serve: Serve) -> None:
    rate = {"rate_per_s": 0.5, "rate_burst": 3, "redis_url": f"redis://127.0.0.1:{free_port()}/0"}
    strict = serve(settings.model_copy(update=rate))
    answers = [strict.viewer.get("/v1/jobs") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "more than 0.5 requests a second" in problem(answers[3], 429)["detail"]
    assert 1 <= int(answers[3].headers["retry-after"]) <= 2
    assert strict.operator.get("/v1/jobs").status_code == 200, "every key has its own"


def test_an_address_that_tries_keys(settings: Settings, serve: Serve) -> None:
    rate = {"refused_per_s": 0.1, "refused_burst": 2, "redis_url": f"redis://127.0.0.1:{free_port()}/0"}
    strict = serve(settings.model_copy(update=rate))
    tried = [strict.stranger.get("/v1/jobs").status_code for _ in range(4)]
    assert tried == [401, 401, 429, 429]
    assert strict.viewer.get("/v1/jobs").status_code == 200, "a good key is let in"
    assert len(strict.admin.get("/v1/audit").json()["items"]) == 2, "what is not answered fills no table"


def test_a_caller_that_goes_away_breaks_nothing(served: Served) -> None:
    async def leave() -> None:
        host, port = served.url.removeprefix("http://").split(":")
        for _ in range(5):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
            await writer.drain()
            writer.close()

    asyncio.run(leave())
    assert served.viewer.get("/v1/jobs").status_code == 200
