"""Streams: every row once and in order, from wherever the reader stands, until the job has ended."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event

from services.api.streaming import watchers
from services.core import attempts
from services.core.attempts import Claim
from services.core.db import Database
from services.core.keys import Role, create_key, revoke_key
from services.core.projects import create
from services.core.settings import Settings
from services.embedded.servers import free_port
from services.worker.process import environment
from tests.api.calls import preprocess, problem, take, uploaded
from tests.api.serving import KEYS, Served
from tests.api.streaming import Sent, Stream, watching
from tests.core.databases import engines

Serve = Callable[[Settings], Served]


def job(served: Served) -> str:
    return str(preprocess(served.operator, uploaded(served.operator, {"a.png": b"x"})).json()["id"])


def log(database: Database, claim: Claim, *lines: str) -> None:
    with database.session() as session:
        assert attempts.record_rows(
            session, claim.job_id, claim.fence, logs=[("info", line) for line in lines], metrics=[(1, {"loss": 0.5})]
        )


def succeed(database: Database, claim: Claim) -> None:
    with database.session() as session:
        assert attempts.succeed(session, claim.job_id, claim.fence, {})


def told(sent: list[Sent], name: str) -> list[object]:
    key = {"event": "type", "log": "message", "metric": "step"}[name]
    return [one.data[key] for one in sent if one.name == name]


@engines
def test_a_stream_tells_what_was_what_comes_and_the_end(served: Served) -> None:
    job_id = job(served)
    claim = take(served.database, job_id)
    log(served.database, claim, "before")
    with watching(served.viewer, f"/v1/jobs/{job_id}/stream") as stream:
        first = stream.until("progress")
        assert told(first, "event") == ["queued", "running"] and told(first, "log") == ["before"]
        assert first[0].id == "e0.m0.l0" and first[0].name is None
        assert first[-1].data["state"] == "running" and first[-1].id is None
        log(served.database, claim, "while it", "was watched")
        later = stream.until("log") + stream.until("log")
        assert told(later, "log") == ["while it", "was watched"]
        with served.database.session() as session:
            attempts.record_progress(session, job_id, claim.fence, done=1, total=4, message="step", eta_s=9.0)
        progress = stream.until("progress")[-1].data
        assert (progress["fraction"], progress["message"], progress["eta_s"]) == (0.25, "step", 9.0)
        succeed(served.database, claim)
        rest = list(stream)
    assert told(rest, "event") == ["succeeded"]
    assert rest[-1].name == "end" and rest[-1].data == {"state": "succeeded"} and rest[-1].id.endswith(".end")
    events = served.viewer.get(f"/v1/jobs/{job_id}/events").json()["items"]
    assert [s.data for s in [*first, *later, *rest] if s.name == "event"] == events
    again = served.viewer.get(f"/v1/jobs/{job_id}/stream", headers={"Last-Event-ID": rest[-1].id})
    assert again.status_code == 204, "a browser must not come back for ever"


def test_a_stream_goes_on_where_it_broke(served: Served) -> None:
    job_id = job(served)
    claim = take(served.database, job_id)
    log(served.database, claim, *map(str, range(30)))
    seen: list[Sent] = []
    with watching(served.viewer, f"/v1/jobs/{job_id}/stream") as stream:
        for sent in stream:
            seen.append(sent)
            if sent.name == "log" and sent.data["message"] == "7":
                break
    log(served.database, claim, *map(str, range(30, 40)))
    with watching(served.viewer, f"/v1/jobs/{job_id}/stream", last=seen[-1].id, after="e0.m0.l0") as stream:
        for sent in stream:
            seen.append(sent)
            if sent.name == "log" and sent.data["message"] == "39":
                break
    succeed(served.database, claim)
    last = [s.id for s in seen if s.id][-1]
    with watching(served.viewer, f"/v1/jobs/{job_id}/stream", after=last) as stream:
        seen += list(stream)
    assert told(seen, "log") == [str(n) for n in range(40)]
    assert told(seen, "event") == ["queued", "running", "succeeded"]
    assert len(told(seen, "metric")) == 2


def test_only_what_is_asked_for_is_sent(served: Served) -> None:
    job_id = job(served)
    claim = take(served.database, job_id)
    log(served.database, claim, "a line")
    succeed(served.database, claim)
    with watching(served.viewer, f"/v1/jobs/{job_id}/stream", include="logs, metrics") as stream:
        sent = list(stream)
    assert sorted(s.name or "" for s in sent) == ["", "end", "log", "metric"]
    document = problem(served.viewer.get(f"/v1/jobs/{job_id}/stream", params={"include": "logs,images"}), 422)
    assert document["errors"] == [
        {"pointer": "query:include", "detail": "expected some of events, metrics, logs, progress, by commas"}
    ]


@pytest.mark.parametrize(
    ("path", "params", "headers", "pointer"),
    [
        ("/v1/jobs/{job}/stream", {"after": "12"}, {}, "query:after"),
        ("/v1/jobs/{job}/stream", {}, {"Last-Event-ID": "12"}, "header:Last-Event-ID"),
        ("/v1/events", {}, {"Last-Event-ID": "e1.m1.l1"}, "header:Last-Event-ID"),
        ("/v1/events", {"after": "-1"}, {}, "query:after"),
        ("/v1/events", {"project": "none"}, {}, "query:project"),
    ],
)
def test_a_wrong_place_to_begin_is_refused(
    served: Served, path: str, params: dict[str, str], headers: dict[str, str], pointer: str
) -> None:
    answer = served.viewer.get(path.format(job=job(served)), params=params, headers=headers)
    assert [e["pointer"] for e in problem(answer, 422)["errors"]] == [pointer]


def test_streams_need_a_key_and_show_no_other_project(served: Served) -> None:
    job_id = job(served)
    with served.database.session() as session:
        north = create(session, "north")
        _, secret = create_key(session, name="n", owner="n", role=Role.VIEWER, projects=[north.id], expires_at=None)
    other = httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {secret}"})
    problem(served.stranger.get(f"/v1/jobs/{job_id}/stream"), 401)
    problem(served.stranger.get("/v1/events"), 401)
    problem(other.get(f"/v1/jobs/{job_id}/stream"), 404)
    problem(other.get("/v1/events", params={"job": job_id}), 404)
    problem(served.viewer.get("/v1/jobs/job_00000000000/stream"), 404)
    with watching(other, "/v1/events", after=0) as hidden, watching(served.viewer, "/v1/events", after=0) as seen:
        assert seen.until("event")[-1].data["job_id"] == job_id
        with served.database.session() as session:
            from services.core.jobs import NewJob, submit

            mine = submit(
                session, NewJob(kind="evaluate", spec={"model": "m", "dataset": "d"}, name="e", max_attempts=1,
                                project_id=north.id), created_by="n",
            ).id  # fmt: skip
        assert hidden.until("event")[-1].data["job_id"] == mine
    other.close()


@engines
def test_all_jobs_are_told_in_one_order(served: Served) -> None:
    with watching(served.viewer, "/v1/events") as stream, watching(served.viewer, "/v1/events", kind="export") as none:
        hello = next(iter(stream))
        assert hello.name is None and hello.id is not None
        first, second = job(served), job(served)
        claim = take(served.database, first)
        succeed(served.database, claim)
        found = [stream.until("event")[-1] for _ in range(4)]
        assert next(iter(none)).name is None
    assert [(s.data["job_id"], s.data["type"]) for s in found] == [
        (first, "queued"), (second, "queued"), (first, "running"), (first, "succeeded"),
    ]  # fmt: skip
    assert [int(s.id or 0) for s in found] == [s.data["seq"] for s in found]
    assert {"project_id", "kind", "name"} <= set(found[0].data)
    with watching(served.viewer, "/v1/events", last=found[1].id) as stream:
        assert [stream.until("event")[-1].data["type"] for _ in range(2)] == ["running", "succeeded"]
    with watching(served.viewer, "/v1/events", after=0, job=second) as stream:
        assert stream.until("event")[-1].data["job_id"] == second


def test_a_stream_shows_that_it_is_alive_and_how_far_it_has_looked(settings: Settings, serve: Serve) -> None:
    served = serve(settings.model_copy(update={"stream_heartbeat_s": 0.1, "stream_poll_s": 0.02}))
    first = job(served)
    with watching(served.viewer, "/v1/events", after=0, job=first) as stream:
        stream.until("event")
        job(served)
        ids = []
        for sent in stream:
            assert sent.comment == "alive" and sent.name is None
            ids.append(int(sent.id or 0))
            if ids[-1] == 2:
                break
    assert ids == sorted(ids), "what others have done is looked at once, not again after a reconnection"
    with served.viewer.stream("GET", f"/v1/jobs/{first}/stream") as answer:
        assert answer.headers["X-Heartbeat-S"] == "0.1"


@pytest.mark.parametrize("path", ["/v1/jobs/{job}/stream", "/v1/events"])
def test_a_revoked_key_ends_its_streams(settings: Settings, serve: Serve, path: str) -> None:
    served = serve(settings.model_copy(update={"stream_recheck_s": 0.1, "stream_poll_s": 0.02}))
    job_id = job(served)
    with served.database.session() as session:
        row, secret = create_key(session, name="leaver", owner="l", role=Role.VIEWER, projects=["prj_default"],
                                 expires_at=None)  # fmt: skip
    with (
        httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {secret}"}) as leaver,
        watching(leaver, path.format(job=job_id)) as stream,
    ):
        next(iter(stream))
        with served.database.session() as session:
            revoke_key(session, row.id)
        last = list(stream)[-1]
    assert last.name == "closed" and last.data["status"] == 401
    assert last.data["detail"] == "the key 'leaver' was revoked; ask an administrator for another one"


def test_a_key_holds_so_many_streams(settings: Settings, serve: Serve) -> None:
    served = serve(settings.model_copy(update={"streams_per_key": 2}))
    with watching(served.viewer, "/v1/events"), watching(served.viewer, "/v1/events"):
        answer = served.viewer.get("/v1/events")
        assert "2 streams" in problem(answer, 429)["detail"] and answer.headers["Retry-After"] == "5"
        with watching(served.operator, "/v1/events"):
            assert len(served.app.state.hub.watchers) == 3
    deadline = time.monotonic() + 10
    while served.app.state.hub.watchers and time.monotonic() < deadline:
        time.sleep(0.02)
    assert served.app.state.hub.watchers == [], "who has gone is forgotten"
    with watching(served.viewer, "/v1/events"):
        assert len(served.app.state.hub.watchers) == 1


def test_a_slow_client_loses_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "BUFFER", 5)
    job_id = job(served)
    claim = take(served.database, job_id)
    with watching(served.viewer, f"/v1/jobs/{job_id}/stream", include="logs") as stream:
        next(iter(stream))
        for start in range(0, 2000, 100):
            # more at once than may wait
            log(served.database, claim, *(f"{n} {'x' * 2000}" for n in range(start, start + 100)))
        succeed(served.database, claim)
        sent = list(stream)
    assert [int(str(m).split()[0]) for m in told(sent, "log")] == list(range(2000))


def test_a_client_that_takes_nothing_is_dropped(settings: Settings, serve: Serve) -> None:
    served = serve(settings.model_copy(update={"stream_stall_s": 0.3}))
    job_id = job(served)
    claim = take(served.database, job_id)
    for _ in range(10):
        log(served.database, claim, *(["x" * 8000] * 200))
    address = httpx.URL(served.url)
    with socket.create_connection((address.host, address.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lines = [f"GET /v1/jobs/{job_id}/stream HTTP/1.1", "Host: x", f"Authorization: Bearer {KEYS[Role.VIEWER]}"]
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        deadline = time.monotonic() + 10
        hub = served.app.state.hub
        while not hub.watchers and time.monotonic() < deadline:
            time.sleep(0.01)
        assert hub.watchers
        while hub.watchers and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not hub.watchers


def test_many_watchers_are_served_by_the_same_statements(settings: Settings, serve: Serve) -> None:
    served = serve(settings.model_copy(update={"stream_poll_s": 0.05}))
    job_id = job(served)
    claim = take(served.database, job_id)
    count = 40
    before = threading.active_count()
    with httpx.Client(base_url=served.url, headers=served.viewer.headers) as client:
        streams = []
        for _ in range(count):
            request = client.build_request("GET", f"/v1/jobs/{job_id}/stream", params={"include": "logs"}, timeout=20)
            streams.append(Stream(client.send(request, stream=True)))
        for stream in streams:
            next(iter(stream))
        assert threading.active_count() < before + 50 - count // 4
        statements: list[str] = []
        engine = served.app.state.parts.database.engine
        event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        log(served.database, claim, "for all")
        for stream in streams:
            assert told(stream.until("log"), "log") == ["for all"]
        assert sum("job_logs" in s for s in statements) < count / 4, "one look serves them all"
        assert engine.pool.checkedout() <= 4
        for stream in streams:
            stream.response.close()


def test_streams_end_before_the_process_does(settings: Settings, tmp_path: Path) -> None:
    """SIGTERM: the clients are told at once, and the server does not wait for them."""
    port = free_port()
    variables = environment(settings) | {
        "MEDCOSS_DATABASE_URL": settings.database_url,
        "MEDCOSS_BOOTSTRAP_ADMIN_KEY": "mk_admin_of_this_test",
    }
    command = [sys.executable, "-m", "services.core.serving", "services.api.app:create_app", "--port", str(port)]
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | variables, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    client = httpx.Client(base_url=url, headers={"Authorization": "Bearer mk_admin_of_this_test"}, trust_env=False)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if client.get("/healthz").status_code == 200:
                break
        except httpx.HTTPError:
            time.sleep(0.1)
    with watching(client, "/v1/events") as stream:
        next(iter(stream))
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert list(stream) == []
        process.wait(10)
    assert time.monotonic() - began < 5
    assert process.returncode in {0, -signal.SIGTERM}, (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    client.close()
