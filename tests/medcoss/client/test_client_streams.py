"""Jobs that are watched: each row once, over broken connections, and where there is no stream."""

import threading
from collections.abc import Iterator

import pytest

from medcoss.client import ApiError, Client, Event, Job, JobProgress, LogLine, Metric, ServerUnreachable, streams
from medcoss.client.records import Record
from medcoss.client.streams import lines
from services.core import attempts, keys
from services.core.keys import Role
from tests.medcoss.client.control_plane import KEY, ControlPlane, Relay


@pytest.fixture(scope="module")
def raw(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("raw")
    (folder / "a.png").write_bytes(b"x")
    with Client(plane.url, KEY) as client:
        return client.datasets.upload(folder, name="raw", modality="xray").id


@pytest.fixture
def job(client: Client, raw: str) -> Job:
    return client.jobs.submit("preprocess", {"dataset": raw, "recipe": {"name": "image_folder"}})


@pytest.fixture
def fence(plane: ControlPlane, job: Job) -> int:
    with plane.database.session() as session:
        claim = attempts.claim(session, job.id, "test", 60)
    assert claim is not None
    return claim.fence


def log(plane: ControlPlane, job: Job, fence: int, *lines: str) -> None:
    with plane.database.session() as session:
        assert attempts.record_rows(session, job.id, fence, logs=[("info", line) for line in lines],
                                    metrics=[(1, {"loss": 0.5})])  # fmt: skip


def succeed(plane: ControlPlane, job: Job, fence: int) -> None:
    with plane.database.session() as session:
        assert attempts.succeed(session, job.id, fence, {"outputs": {}})


def check(plane: ControlPlane, job: Job, fence: int, found: Iterator[Record], after_ten: object = None) -> None:
    """Everything is told once while the job goes on, and then it ends."""
    log(plane, job, fence, *map(str, range(10)))
    told, states, events, numbers = [], [], [], 0
    for report in found:
        if isinstance(report, LogLine):
            told.append(report.message)
            if report.message == "9":
                if callable(after_ten):
                    after_ten()
                log(plane, job, fence, *map(str, range(10, 20)))
            if report.message == "19":
                succeed(plane, job, fence)
        elif isinstance(report, JobProgress):
            states.append(report.state)
        elif isinstance(report, Metric):
            numbers += 1
        elif isinstance(report, Event):
            events.append(report.type)
    assert told == [str(n) for n in range(20)]
    assert events == ["queued", "running", "succeeded"]
    assert numbers == 2 and states[0] == "running" and states[-1] == "succeeded"


def test_a_job_is_watched_to_its_end(plane: ControlPlane, client: Client, job: Job, fence: int) -> None:
    check(plane, job, fence, client.jobs.watch(job.id))


def test_a_broken_connection_is_made_again(plane: ControlPlane, job: Job, fence: int) -> None:
    relay = Relay(plane.url.removeprefix("http://"))
    with Client(relay.address, KEY) as flaky:
        check(plane, job, fence, flaky.jobs.watch(job.id), after_ten=lambda: setattr(relay, "drops", 2))
    assert relay.dropped == 2
    relay.close()


def test_without_a_stream_the_server_is_asked_again_and_again(
    plane: ControlPlane, client: Client, job: Job, fence: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> Iterator[streams.Sent]:
        raise streams.NoStream
        yield

    monkeypatch.setattr(streams, "follow", none)
    check(plane, job, fence, client.jobs.watch(job.id))


def test_a_job_that_is_not_there_is_an_error(client: Client) -> None:
    with pytest.raises(ApiError, match="there is no job job_0000000000") as caught:
        list(client.jobs.watch("job_0000000000"))
    assert caught.value.status == 404


def test_a_server_that_was_never_there_is_not_waited_for() -> None:
    with Client("http://127.0.0.1:9", KEY) as nobody, pytest.raises(ServerUnreachable):
        list(nobody.jobs.watch("job_0000000000"))


def test_changes_of_all_jobs_are_told(plane: ControlPlane, client: Client, job: Job, fence: int) -> None:
    first = next(client.jobs.changes(after=0, job_id=job.id))
    assert (first.type, first.job_id, first.kind) == ("queued", job.id, "preprocess")
    threading.Timer(0.3, succeed, (plane, job, fence)).start()
    assert next(c.type for c in client.jobs.changes() if c.job_id == job.id) == "succeeded"


def test_a_key_that_is_not_good_is_refused(plane: ControlPlane, job: Job) -> None:
    with plane.database.session() as session:
        _, secret = keys.create_key(session, name="n", owner="n", role=Role.VIEWER, projects=[], expires_at=None)
    with Client(plane.url, secret) as other, pytest.raises(ApiError) as caught:
        next(other.jobs.watch(job.id))
    assert caught.value.status == 404


def test_lines_end_where_the_server_ends_them() -> None:
    chunks = [b"data: \xe2", b"\x80\xa8 x\x0by\r\n", b"id", b": 1\n\ntail"]
    assert list(lines(chunks)) == ["data: \u2028 x\x0by", "id: 1", ""]
