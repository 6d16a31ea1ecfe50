"""Who may do what, and what an answer looks like when something is wrong, away or slow."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import make_url

from services.core.settings import Settings
from services.embedded.servers import free_port
from tests.api.calls import announced, preprocess, problem, uploaded
from tests.api.serving import Served
from tests.core.databases import execute, postgres_server

ADMINISTRATION = ("/v1/projects", "/v1/keys", "/v1/audit", "/v1/gc")
OPEN = {"/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"}


def calls(served: Served) -> Iterator[tuple[str, str]]:
    """Every method and path of the API."""
    for path, methods in served.app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), path.replace("{", "").replace("}", "")


def test_every_call_needs_a_key_and_every_change_more_than_a_viewer(served: Served) -> None:
    found = [(method, path) for method, path in calls(served) if path not in OPEN]
    assert len(found) >= 18
    for method, path in found:
        for client in (served.stranger, httpx.Client(base_url=served.url, headers={"Authorization": "Bearer mk_no"})):
            response = client.request(method, path, json={})
            problem(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        if method != "GET":
            document = problem(served.viewer.request(method, path, json={}), 403)
            needed = "admin" if path.startswith(ADMINISTRATION) else "operator"
            assert f"'the viewer' has the role viewer; this call needs {needed}" in document["detail"]
            caller = served.admin if needed == "admin" else served.operator
            assert caller.request(method, path, json={"no such field": 1}).status_code in {404, 422}


@pytest.mark.parametrize("header", ["", "Bearer", "Basic bWs6", "mk_viewer"])
def test_malformed_keys(refusing: Served, header: str) -> None:
    document = problem(refusing.stranger.get("/v1/jobs", headers={"Authorization": header}), 401)
    assert "Authorization: Bearer <key>" in document["detail"]


def test_query_parameters_that_a_call_does_not_have_are_refused_by_name(served: Served) -> None:
    for path in ("/v1/jobs", "/v1/workers", "/v1/platform", "/v1/models/mdl_x", "/v1/gc"):
        document = problem(served.admin.get(path, params={"stat": "failed", "project": "default"}), 422)
        error = next(e for e in document["errors"] if e["pointer"] == "query:stat")
        assert "there is no such parameter" in error["detail"]
    assert "state" in problem(served.viewer.get("/v1/workers?stat=idle"), 422)["detail"]
    assert "takes none" in problem(served.viewer.get("/v1/platform?x"), 422)["detail"]
    problem(served.operator.post("/v1/jobs?dry_run=1", json={}), 422)
    problem(served.stranger.get("/v1/jobs?stat=failed"), 401)
    assert served.viewer.get("/healthz?from=probe").status_code == 200
    assert served.viewer.get("/v1/models", params={"sort": "-metric.auc", "metric": "auc>=0.5"}).status_code == 200


def test_unknown_routes_and_methods(served: Served) -> None:
    assert "/v1/nothing" in problem(served.viewer.get("/v1/nothing"), 404)["detail"]
    for method, path, allowed in (
        ("PUT", "/v1/jobs", "GET, POST"),
        ("OPTIONS", "/v1/jobs/job_x", "DELETE, GET, PATCH"),
    ):
        response = served.viewer.request(method, path)
        problem(response, 405)
        assert response.headers["allow"] == allowed
    # a redirect to where the request says it came to would lead astray
    problem(served.viewer.get("/v1/jobs/", headers={"Host": "evil.example"}), 404)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "no JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"kind": ' + b"9" * 10_000 + b', "spec": {}}', 400, "too many digits"),
        (b'{"kind": "\ud800", "spec": {}}', 422, "unicode"),
        (b'{"kind": "preprocess", "spec": {"\udfff": 1}}', 422, "unicode"),
        (b'{"kind": "preprocess", "spec": {"dataset": NaN}}', 422, "/spec/dataset"),
    ],
)
def test_bodies_that_cannot_be_read(refusing: Served, body: bytes, status: int, words: str) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/v1/jobs", "/v1/projects"):
        problem(refusing.stranger.post(path, content=body, headers=headers), 401)
    assert words in problem(refusing.operator.post("/v1/jobs", content=body, headers=headers), status)["detail"]


def test_an_answer_to_much_that_is_wrong_is_short(refusing: Served) -> None:
    unknown = {f"k{number}": 1 for number in range(20_000)}
    bodies: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/v1/jobs", {"kind": "pretrain", "spec": unknown}),
        ("/v1/jobs", {"kind": "pretrain", "spec": {}} | unknown),
        ("/v1/jobs:batch", {"jobs": [{"kind": "pretrain", "spec": dict.fromkeys(list(unknown)[:300], 1)}] * 50}),
        ("/v1/datasets", {"name": "a", "files": [{"path": "../a", "size": -1, "sha256": "x"}] * 5_000}),
    )
    for path, body in bodies:
        response = refusing.operator.post(path, json=body)
        document = problem(response, 422)
        assert len(document["errors"]) == 100
        assert document["detail"].endswith(" more") and len(response.content) < 50_000


def test_every_answer_carries_its_own_request_id(served: Served) -> None:
    found = [served.stranger.get(path).headers["x-request-id"] for path in ("/healthz", "/v1/jobs", "/x", "/readyz")]
    assert len(set(found)) == 4
    assert all(each.startswith("req_") for each in found)


def test_a_bug_shows_no_inside(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError("password=hunter2 at /srv/secret")

    served.app.add_api_route("/broken", broken)
    response = served.viewer.get("/broken")
    document = problem(response, 500)
    assert "hunter2" not in response.text and "/srv" not in response.text
    assert document["request_id"] in document["detail"], "to ask about"


def test_health_needs_no_key(served: Served) -> None:
    assert served.stranger.get("/healthz").json() == {"status": "ok"}
    assert served.stranger.get("/readyz").json() == {"database": "ok", "redis": "ok", "s3": "ok"}
    numbers = served.stranger.get("/metrics").text
    assert 'medcoss_jobs{state="queued"} 0.0' in numbers


def test_readiness_names_what_is_away(settings: Settings, serve: Callable[[Settings], Served]) -> None:
    lame = serve(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
    response = lame.stranger.get("/readyz")
    document = problem(response, 503)
    assert [e["pointer"] for e in document["errors"]] == ["part:redis"]
    assert int(response.headers["retry-after"]) > 0
    assert lame.stranger.get("/healthz").status_code == 200


def away(served: Served) -> None:
    """Cut a running control plane off from its object store."""
    from services.core.storage import ObjectStore

    gone = served.settings.model_copy(update={"s3_endpoint": f"127.0.0.1:{free_port()}"})
    parts = served.app.state.parts
    served.app.state.parts = replace(parts, settings=gone, store=ObjectStore(gone, retries=1))


def test_an_object_store_that_is_away(served: Served) -> None:
    dataset_id = announced(served.operator, {"a": b"x"})["dataset"]["id"]
    away(served)
    response = served.operator.post(f"/v1/datasets/{dataset_id}/complete")
    assert "the object store does not answer" in problem(response, 503)["detail"]
    assert int(response.headers["retry-after"]) > 0
    document = problem(served.stranger.get("/readyz"), 503)
    assert [e["pointer"] for e in document["errors"]] == ["part:s3"]
    assert served.viewer.get(f"/v1/datasets/{dataset_id}").json()["state"] == "uploading"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_is_away(served: Served, database_url: str) -> None:
    assert served.viewer.get("/v1/jobs").status_code == 200
    name = make_url(database_url).database
    execute(
        postgres_server(),
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        f"ALTER DATABASE {name} RENAME TO {name}_gone",
    )
    try:
        response = served.viewer.get("/v1/jobs")
        assert "the database does not answer" in problem(response, 503)["detail"]
        assert int(response.headers["retry-after"]) > 0
        # whose caller is looked up around the routes: repeatable requests, unreadable ones, large ones
        for body, headers in ((b"{}", {"Idempotency-Key": "once"}), (b"{", {}), (b" " * 100_000, {})):
            response = served.operator.post("/v1/jobs", content=body, headers=headers)
            assert "the database does not answer" in problem(response, 503)["detail"]
        document = problem(served.stranger.get("/readyz"), 503)
        assert [e["pointer"] for e in document["errors"]] == ["part:database"]
    finally:
        execute(postgres_server(), f"ALTER DATABASE {name}_gone RENAME TO {name}")
    assert served.viewer.get("/v1/jobs").status_code == 200, "it recovers by itself"


@contextmanager
def held_back(endpoint: str) -> Iterator[tuple[str, threading.Event]]:
    """A proxy to an object store that answers nothing until the event is set."""
    go, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, target: socket.socket, *, wait: bool) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(65536):
                if wait:
                    go.wait(30)
                target.sendall(data)

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            host, port = endpoint.split(":")
            upstream = socket.create_connection((host, int(port)))
            for source, target, wait in ((client, upstream, False), (upstream, client, True)):
                threading.Thread(target=copy, args=(source, target), kwargs={"wait": wait}, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        host, port = listener.getsockname()
        yield f"{host}:{port}", go
    finally:
        go.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_a_slow_request_holds_nobody_up(
    settings: Settings, served: Served, serve: Callable[[Settings], Served]
) -> None:
    """While the object store takes its time, others read and write: no lock of the database is held."""
    dataset_id = uploaded(served.operator, {"a": b"x"})
    with held_back(settings.s3_endpoint) as (endpoint, go):
        go.set()
        slow = serve(settings.model_copy(update={"s3_endpoint": endpoint}))
        pending = announced(slow.operator, {"a": b""})["dataset"]["id"]
        go.clear()
        answers: list[Any] = []
        waiting = [
            threading.Thread(
                target=lambda: answers.append(
                    httpx.post(
                        f"{slow.url}/v1/datasets/{pending}/complete", headers=dict(slow.operator.headers), timeout=60
                    )
                )
            )
            for _ in range(3)
        ]
        for thread in waiting:
            thread.start()
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline and not answers:
            began = time.monotonic()
            assert slow.viewer.get("/v1/jobs").status_code == 200
            assert preprocess(slow.operator, dataset_id).status_code == 201
            assert time.monotonic() - began < 2
        assert answers == [], "the slow ones are still waiting"
        go.set()
        for thread in waiting:
            thread.join(30)
        assert {a.status_code for a in answers} == {409}


def test_openapi_tells_the_whole_contract(served: Served) -> None:
    document = served.stranger.get("/openapi.json").json()
    assert {"/v1/datasets", "/v1/jobs", "/v1/jobs/{job_id}/cancel", "/v1/models", "/healthz"} <= set(document["paths"])
    assert "HTTPBearer" in document["components"]["securitySchemes"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] or operation["description"], f"{method} {path}"
            if path not in OPEN:
                assert {"401", "403", "404", "422", "503"} <= set(operation["responses"])
                assert operation["security"], f"{method} {path}"
    texts = str(document)
    assert "HTTPValidationError" not in texts
    for reference in {part.split("'")[0] for part in texts.split("'$ref': '#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"], reference
    for name in ("DatasetRequest", "UploadFile", "JobRequest"):
        for field, schema in document["components"]["schemas"][name]["properties"].items():
            assert schema.get("description"), f"{name}.{field}"
